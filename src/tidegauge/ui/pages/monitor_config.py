"""Add Monitor, and its configuration afterwards: one form in four tabs."""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from fastapi import Response
from fastapi.responses import RedirectResponse

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.monitor_config.suggested import suggest
from tidegauge.errors import TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.ui import config_form
from tidegauge.ui.forms import Filled, Form, seen
from tidegauge.ui.pages import choices
from tidegauge.ui.site import HEADERS, Pages, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

_FORM = "monitors/config.html"
#: The fields for versions, each with the field of its repository.
_VERSIONS = {
    "drift.train_data.version": (RepositoryKind.DATASET, "drift.train_data.dataset"),
    "drift.predict_version": (RepositoryKind.DATASET, "drift.predict_dataset"),
    "performance.dataset_version": (RepositoryKind.DATASET, "performance.dataset"),
    "drift.custom.version": (RepositoryKind.CODE, "drift.custom.code"),
    "performance.custom.version": (RepositoryKind.CODE, "performance.custom.code"),
}

router = Pages()


@router.get("/deployments/{name}/monitor/new")
def new_monitor(caller: Changer, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    form = config_form.filled_with(_suggested(services, deployment))
    return render(_FORM, user=caller, form=form, **_shown(services, deployment, None, form))


@router.post("/deployments/{name}/monitor/new")
def create_monitor(caller: Caller, services: Everything, name: str, form: Filled) -> Response:
    deployment = services.deployments.get(caller, name)
    try:
        monitor = services.monitors.create(deployment, config_form.read(form), caller.name)
    except TidegaugeError as error:
        return _refused(services, deployment, None, form, error, caller)
    return _saved(monitor)


@router.get("/monitors/{monitor_id}/config")
def monitor_config(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    deployment = services.deployments.get(monitor.owner, monitor.deployment_id)
    form = config_form.filled_with(monitor.config)
    return render(_FORM, user=caller, form=form, **_shown(services, deployment, monitor, form))


@router.post("/monitors/{monitor_id}/config")
def configure_monitor(caller: Caller, services: Everything, monitor_id: str, form: Filled) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    try:
        form.check_seen(seen(monitor.config))
        changed = services.monitors.configure(monitor, config_form.read(form), caller.name)
    except TidegaugeError as error:
        deployment = services.deployments.get(monitor.owner, monitor.deployment_id)
        return _refused(services, deployment, monitor, form, error, caller)
    return _saved(changed)


@router.get("/monitors/{monitor_id}/saved")
def saved(caller: Caller, services: Everything, monitor_id: str) -> Response:
    """What was made and what comes next; it follows a baseline while that is made."""
    monitor = services.monitors.get(caller, monitor_id)
    return render("monitors/saved.html", user=caller, monitor=monitor)


def _saved(monitor: Monitor) -> Response:
    return RedirectResponse(f"/monitors/{monitor.id}/saved", 303, headers=HEADERS)


def _refused(
    services: Services,
    deployment: Deployment,
    monitor: Monitor | None,
    form: Form,
    error: TidegaugeError,
    caller: Any,
) -> Response:
    told = config_form.placed(error)
    shown = _shown(services, deployment, monitor, form.refused(told))
    return refuse(_FORM, form, told, user=caller, **shown)


def _shown(services: Services, deployment: Deployment, monitor: Monitor | None, form: Form) -> dict[str, Any]:
    """Return what the form shows beside its fields: what there is to choose, and the tabs with errors."""
    owner = deployment.owner
    wrong = config_form.wrong_tabs(form)
    return {
        "deployment": deployment,
        "monitor": monitor,
        "seen": seen(monitor.config) if monitor else "",
        "fields": config_form.FIELDS,
        "wrong": wrong,
        "chosen": wrong[0] if wrong else config_form.TABS[0],
        "zones": _zones(),
        "datasets": choices.repositories(services, RepositoryKind.DATASET, owner),
        "codes": choices.repositories(services, RepositoryKind.CODE, owner),
        "found": {
            field: choices.versions(services, kind, owner, form.text(of))
            for field, (kind, of) in _VERSIONS.items()
        },
    }


def _suggested(services: Services, deployment: Deployment) -> MonitorConfig:
    """Return what a new monitor of a deployment is to do, as far as its model tells it."""
    return suggest(choices.said_of_model(services, deployment))


@cache
def _zones() -> list[str]:
    return sorted(name for name in available_timezones() if "/" in name or name == "UTC")
