"""What a person says to a monitor: an alarm acknowledged, a window accepted, maintenance announced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import Request, Response

from tidegauge.domain.monitor import Monitor
from tidegauge.errors import TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui import words
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

_ROWS = 50
_BEFORE = 5  # acknowledgements beside the form

router = Pages(prefix="/monitors/{monitor_id}")


@dataclass(frozen=True)
class Span:
    """The span that was typed; a time without a zone is UTC."""

    start: datetime
    end: datetime


@router.get("/acknowledge")
def acknowledge_form(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return render("watching/acknowledge.html", user=caller, form=Form(), **_alarm(services, monitor))


@router.post("/acknowledge")
def acknowledge(
    request: Request, caller: Caller, services: Everything, monitor_id: str, form: Filled
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    try:
        services.acceptance.acknowledge(monitor, caller.name, form.text("note"))
    except TidegaugeError as error:
        return refuse("watching/acknowledge.html", form, error, user=caller, **_alarm(services, monitor))
    return go(request, f"/monitors/{monitor.id}")


@router.get("/acknowledgements")
def acknowledgements(
    caller: Caller, services: Everything, monitor_id: str, sort: str = "-id", cursor: str = ""
) -> Response:
    """What was acknowledged and accepted, by whom, and what it has spent."""
    monitor = services.monitors.get(caller, monitor_id)
    query = Query(_ROWS, cursor, sort)
    page = services.monitors.acknowledgements(monitor, query)
    return render("watching/acknowledgements.html", user=caller, query=query, page=page, **_shared(monitor))


@router.get("/accept")
def accept_form(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return render("watching/accept.html", user=caller, form=Form(), **_budget(services, monitor))


@router.post("/accept")
def accept(request: Request, caller: Caller, services: Everything, monitor_id: str, form: Filled) -> Response:
    """Begin to make a baseline of a span; the page shows how far that is."""
    monitor = services.monitors.get(caller, monitor_id)
    try:
        span = parse(Span, form.nested())
        services.acceptance.accept(monitor, span.start, span.end, caller.name, form.text("note"))
    except TidegaugeError as error:
        return refuse("watching/accept.html", form, error, user=caller, **_budget(services, monitor))
    return go(request, f"/monitors/{monitor.id}/accept")


@router.get("/maintenance")
def list_maintenance(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    q: str = "",
    sort: str = "-start",
    cursor: str = "",
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    query = Query(_ROWS, cursor, sort, q)
    page = services.monitors.maintenances(monitor, query)
    return render("watching/maintenance.html", user=caller, query=query, page=page, **_upkeep(monitor))


@router.get("/maintenance/new")
def new_maintenance(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return render("watching/new_maintenance.html", user=caller, form=Form(), **_upkeep(monitor))


@router.post("/maintenance/new")
def add_maintenance(
    request: Request, caller: Caller, services: Everything, monitor_id: str, form: Filled
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    try:
        span = parse(Span, form.nested())
        services.monitors.add_maintenance(monitor, span.start, span.end, form.text("reason"), caller.name)
    except TidegaugeError as error:
        return refuse("watching/new_maintenance.html", form, error, user=caller, **_upkeep(monitor))
    return go(request, f"/monitors/{monitor.id}/maintenance")


@router.get("/maintenance/{maintenance_id}/delete")
def confirm_deletion(caller: Changer, services: Everything, monitor_id: str, maintenance_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    found = services.monitors.maintenance(monitor, maintenance_id)
    return render("watching/delete_maintenance.html", user=caller, one=found, form=Form(), **_upkeep(monitor))


@router.post("/maintenance/{maintenance_id}/delete")
def delete_maintenance(
    request: Request, caller: Caller, services: Everything, monitor_id: str, maintenance_id: str
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    services.monitors.delete_maintenance(monitor, maintenance_id)
    return go(request, f"/monitors/{monitor.id}/maintenance")


def _shared(monitor: Monitor) -> dict[str, Any]:
    return {"section": "deployments", "monitor": monitor, "back": f"/monitors/{monitor.id}"}


def _upkeep(monitor: Monitor) -> dict[str, Any]:
    return {**_shared(monitor), "path": f"/monitors/{monitor.id}/maintenance"}


def _budget(services: Services, monitor: Monitor) -> dict[str, Any]:
    """Return what has been spent of false alarms, and by whom and why."""
    before = services.monitors.acknowledgements(monitor, Query(_BEFORE)).items
    alpha = monitor.config.evidence.alpha
    spent = before[0].spent if before else alpha
    return {
        **_shared(monitor),
        "before": before,
        "alpha": alpha,
        "spent": spent,
        "after": min(1.0, spent + alpha),
        "things": "images" if monitor.config.input_data_type == "image" else "rows",
    }


def _alarm(services: Services, monitor: Monitor) -> dict[str, Any]:
    """Return what alarms there are, in words: of the whole, and of each segment."""
    state = monitor.evidence
    states = {"": state, **state.segments} if state else {}
    found = [
        (name, words.evidence(one.result, one.alpha))
        for name, one in states.items()
        if state and name in state.alarms
    ]
    return {**_budget(services, monitor), "alarms": found}
