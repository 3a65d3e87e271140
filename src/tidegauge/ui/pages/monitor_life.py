"""What happens to one monitor: starting, stopping, deleting, and looking at its past."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from tidegauge.domain.monitor import Monitor
from tidegauge.errors import InvalidInputError, TidegaugeError, all_of
from tidegauge.services.bundle import Services
from tidegauge.ui import words
from tidegauge.ui.forms import Filled, Form
from tidegauge.ui.pages.monitor_list import deletion
from tidegauge.ui.site import HEADERS, Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

_BACKFILL = "monitors/backfill.html"

router = Pages(prefix="/monitors/{monitor_id}")


@router.post("/start")
def start_monitor(
    request: Request, caller: Caller, services: Everything, monitor_id: str, form: Filled
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    services.monitors.start(monitor, caller.name)
    return _back(request, monitor, form)


@router.post("/stop")
def stop_monitor(
    request: Request, caller: Caller, services: Everything, monitor_id: str, form: Filled
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    services.monitors.stop(monitor, caller.name)
    return _back(request, monitor, form)


@router.get("/delete")
def confirm_deletion(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return render("monitors/delete.html", user=caller, form=Form(), **deletion(services, [monitor]))


@router.get("/backfill")
def backfill_dialog(caller: Changer, services: Everything, monitor_id: str, made: int = 0) -> Response:
    """Ask for a span of time; ``made`` windows of a span that was asked for are looked at meanwhile."""
    monitor = services.monitors.get(caller, monitor_id)
    return render(_BACKFILL, user=caller, form=Form(), made=made, **_shown(services, monitor))


@router.get("/backfill/count")
def backfill_count(
    caller: Changer, services: Everything, monitor_id: str, start: str = "", end: str = ""
) -> Response:
    """Say how many windows a span has, while it is typed."""
    monitor = services.monitors.get(caller, monitor_id)
    try:
        said = f"{services.schedule.windows(monitor, *_span(monitor, start, end)):,} windows"
    except TidegaugeError:
        said = ""  # it is not typed to the end, or told when it is sent
    return render("monitors/backfill_count.html", said=said)


@router.post("/backfill")
def backfill(caller: Caller, services: Everything, monitor_id: str, form: Filled) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    try:
        made = services.schedule.backfill(monitor, *_span(monitor, form.text("start"), form.text("end")))
    except TidegaugeError as error:
        return refuse(_BACKFILL, form, error, user=caller, made=0, **_shown(services, monitor))
    return RedirectResponse(f"/monitors/{monitor.id}/backfill?made={made}", 303, headers=HEADERS)


def _back(request: Request, monitor: Monitor, form: Form) -> Response:
    """Lead back to the page that the form stood on, else to the monitor's."""
    return go(request, words.own_path(form.text("back")) if form.text("back") else f"/monitors/{monitor.id}")


def _span(monitor: Monitor, start: str, end: str) -> tuple[datetime, datetime]:
    """Read two times of the monitor's time zone."""
    zone = ZoneInfo(monitor.config.time_zone)
    all_of(lambda: _time(start, "start", zone), lambda: _time(end, "end", zone))
    return _time(start, "start", zone), _time(end, "end", zone)


def _time(text: str, field: str, zone: ZoneInfo) -> datetime:
    if not text:
        raise InvalidInputError.of(field, f"{field} is missing; give a date and a time.")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError.of(
            field, f"{field} is {text!r}; give a date and a time such as 2026-03-01T12:00."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _shown(services: Services, monitor: Monitor) -> dict[str, Any]:
    return {"monitor": monitor, "waiting": services.schedule.waiting(monitor), "said": ""}
