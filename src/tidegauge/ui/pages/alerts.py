"""The alerts of a monitor: rules in words, where they stand, and what they have told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request, Response

from tidegauge.domain.alert import Alert
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.retraining import METRICS
from tidegauge.domain.users import Principal
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui import alert_form, words
from tidegauge.ui.forms import Filled, Form, check_known, seen
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

_ROWS = 50
_TOLD = 500  # events that tell when each alert was told last
_OFFERED = 1000  # channels, Code and Datasets to choose from
_HOURS = {"1": 1, "8": 8, "24": 24, "168": 168}
_ORDERS: Mapping[str, Callable[[Alert], Any]] = {
    "name": lambda alert: alert.name,
    "firing_since": lambda alert: (alert.firing_since is None, alert.firing_since or alert.created_at),
}

router = Pages(prefix="/monitors/{monitor_id}/alerts")


@router.get("")
def list_alerts(
    caller: Caller, services: Everything, monitor_id: str, q: str = "", sort: str = "name"
) -> Response:
    sort = sort or "name"
    check_known("sort", sort.removeprefix("-"), _ORDERS)
    monitor = services.monitors.get(caller, monitor_id)
    events = services.monitors.alert_events(monitor, Query(_TOLD)).items
    return render(
        "alerts/list.html",
        user=caller,
        query=Query(q=q, sort=sort),
        alerts=_chosen(services.monitors.alerts(monitor), q, sort),
        told={event.alert_id: event for event in reversed(events)},
        now=_now(),
        **_shared(monitor),
    )


@router.get("/history")
def history(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    q: str = "",
    sort: str = "-id",
    cursor: str = "",
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    query = Query(_ROWS, cursor, sort, q)
    page = services.monitors.alert_events(monitor, query)
    return render("alerts/history.html", user=caller, query=query, page=page, **_shared(monitor))


@router.get("/new")
def new_alert(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return render("alerts/form.html", user=caller, form=Form(), **_offered(services, monitor))


@router.post("/new")
def add_alert(
    request: Request, caller: Caller, services: Everything, monitor_id: str, form: Filled
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return _submitted(request, caller, services, monitor, None, form)


@router.get("/{alert_id}")
def change_form(caller: Changer, services: Everything, monitor_id: str, alert_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    alert = services.monitors.alert(monitor, alert_id)
    form = alert_form.form_of(alert.rule, monitor)
    return render("alerts/form.html", user=caller, form=form, **_offered(services, monitor, alert))


@router.post("/{alert_id}")
def change_alert(
    request: Request,
    caller: Caller,
    services: Everything,
    monitor_id: str,
    alert_id: str,
    form: Filled,
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    alert = services.monitors.alert(monitor, alert_id)
    return _submitted(request, caller, services, monitor, alert, form)


@router.get("/{alert_id}/mute")
def mute_form(caller: Changer, services: Everything, monitor_id: str, alert_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    alert = services.monitors.alert(monitor, alert_id)
    return render("alerts/mute.html", user=caller, alert=alert, form=Form(), **_shared(monitor))


@router.post("/{alert_id}/mute")
def mute_alert(
    request: Request,
    caller: Caller,
    services: Everything,
    monitor_id: str,
    alert_id: str,
    form: Filled,
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    alert = services.monitors.alert(monitor, alert_id)
    try:
        services.monitors.mute_alert(monitor, alert.id, _until(form))
    except TidegaugeError as error:
        return refuse("alerts/mute.html", form, error, user=caller, alert=alert, **_shared(monitor))
    return go(request, _path(monitor))


@router.post("/{alert_id}/unmute")
def unmute_alert(
    request: Request, caller: Caller, services: Everything, monitor_id: str, alert_id: str
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    services.monitors.mute_alert(monitor, alert_id, None)
    return go(request, _path(monitor))


@router.get("/{alert_id}/delete")
def confirm_deletion(caller: Changer, services: Everything, monitor_id: str, alert_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    alert = services.monitors.alert(monitor, alert_id)
    return render("alerts/delete.html", user=caller, alert=alert, form=Form(), **_shared(monitor))


@router.post("/{alert_id}/delete")
def delete_alert(
    request: Request, caller: Caller, services: Everything, monitor_id: str, alert_id: str
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    services.monitors.delete_alert(monitor, alert_id)
    return go(request, _path(monitor))


def _submitted(
    request: Request,
    caller: Principal,
    services: Services,
    monitor: Monitor,
    alert: Alert | None,
    form: Form,
) -> Response:
    """Add an alert or change one; or show the form again, with another condition or with what is wrong."""
    offered = _offered(services, monitor, alert)
    if changed := alert_form.rearranged(form):
        return render("alerts/form.html", user=caller, form=changed, **offered)
    try:
        form.check_seen(offered["seen"])
        rule = alert_form.read(form)
        if alert is None:
            services.monitors.add_alert(monitor, rule)
        else:
            services.monitors.change_alert(monitor, alert.id, rule)
    except TidegaugeError as error:
        return refuse("alerts/form.html", form, alert_form.placed(form, error), user=caller, **offered)
    return go(request, _path(monitor))


def _path(monitor: Monitor) -> str:
    return f"/monitors/{monitor.id}/alerts"


def _shared(monitor: Monitor) -> dict[str, Any]:
    return {"section": "deployments", "monitor": monitor, "path": _path(monitor)}


def _offered(services: Services, monitor: Monitor, alert: Alert | None = None) -> dict[str, Any]:
    """Return what the form offers to choose from."""
    query = Query(_OFFERED, sort="name")

    def names(kind: RepositoryKind, none: str) -> list[tuple[str, str]]:
        found = services.catalogue.page(kind, monitor.owner, query).items
        return [("", none), *((repository.name, repository.name) for repository in found)]

    return {
        **_shared(monitor),
        "alert": alert,
        "seen": seen(alert.rule) if alert else "",
        "metrics": alert_form.metrics_of(monitor),
        "segments": alert_form.segments_of(monitor),
        "keys": alert_form.keys,
        "channels": services.channels.page(monitor.owner, query).items,
        "codes": names(RepositoryKind.CODE, "The one that trained the model last"),
        "datasets": names(RepositoryKind.DATASET, "That of the last retraining"),
        "retrain_metrics": [(name, words.plain(name)) for name in METRICS],
    }


def _chosen(alerts: tuple[Alert, ...], q: str, sort: str) -> list[Alert]:
    """Return the alerts whose name or rule has ``q``, in order; a monitor has few, so all are there."""
    found = [alert for alert in alerts if q.lower() in f"{alert.name} {alert.rule.text}".lower()]
    return sorted(found, key=_ORDERS[sort.removeprefix("-")], reverse=sort.startswith("-"))


def _until(form: Form) -> datetime:
    """Return until when to tell nothing."""
    now = _now()
    if (hours := form.text("for")) in _HOURS:
        return now + timedelta(hours=_HOURS[hours])
    text = form.text("until")
    try:
        until = datetime.fromisoformat(text)
    except ValueError as error:
        reason = f"until is {text!r}; give a time such as 2026-03-01T12:00."
        raise InvalidInputError.of("until", reason if text else "until is missing; give a time.") from error
    until = until.replace(tzinfo=UTC) if until.tzinfo is None else until
    if until <= now:
        raise InvalidInputError.of("until", f"until is {text}, which is past; give a later time.")
    return until


def _now() -> datetime:
    return datetime.now(UTC)
