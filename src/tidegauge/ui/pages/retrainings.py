"""Retrainings on a monitor's page: where the last one stands, its comparison, and the decision."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Response
from fastapi.responses import RedirectResponse

from tidegauge.ui.pages import monitors
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

router = Pages()
Note = Annotated[str, Form(max_length=2000)]


@router.get("/monitors/{monitor_id}/retraining")
def retraining_panel(caller: Caller, services: Everything, monitor_id: str) -> Response:
    """The panel alone, which refreshes itself while something is under way."""
    monitor = services.monitors.get(caller, monitor_id)
    return render("retraining.html", monitor=monitor, retrainings=monitors.retrainings(services, monitor))


@router.post("/monitors/{monitor_id}/retrainings/{retraining_id}/promote")
def promote(
    caller: Caller, services: Everything, monitor_id: str, retraining_id: str, note: Note = ""
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    found = services.retrainings.get(monitor, retraining_id)
    services.retrainings.promote(monitor, found, caller.name, note)
    return RedirectResponse(f"/monitors/{monitor.id}#retraining", 303)


@router.post("/monitors/{monitor_id}/retrainings/{retraining_id}/refuse")
def refuse(
    caller: Caller, services: Everything, monitor_id: str, retraining_id: str, note: Note = ""
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    found = services.retrainings.get(monitor, retraining_id)
    services.retrainings.refuse(monitor, found, caller.name, note)
    return RedirectResponse(f"/monitors/{monitor.id}#retraining", 303)
