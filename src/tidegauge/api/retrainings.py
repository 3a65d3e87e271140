"""Retrainings of a monitor: ``/api/v1/monitors/{id}/retrainings``."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from tidegauge.domain.retraining import Retraining, RetrainingPlan
from tidegauge.domain.strict import STRICT
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Everything, Listing

router = APIRouter(
    prefix="/api/v1/monitors/{monitor_id}/retrainings", tags=["retrainings"], dependencies=CLOSED
)


@dataclass(frozen=True)
class DecisionRequest:
    """Why."""

    __pydantic_config__ = STRICT
    note: str = ""


@router.get("")
def list_retrainings(
    caller: Caller, services: Everything, monitor_id: str, query: Listing
) -> Page[Retraining]:
    return services.retrainings.page(services.monitors.get(caller, monitor_id), query)


@router.post("", status_code=202)
def begin_retraining(
    caller: Caller, services: Everything, monitor_id: str, body: RetrainingPlan
) -> Retraining:
    """Collect, train and compare, in the background."""
    monitor = services.monitors.get(caller, monitor_id)
    return services.retrainings.begin(monitor, body, caller.name)


@router.get("/{retraining_id}")
def show_retraining(caller: Caller, services: Everything, monitor_id: str, retraining_id: str) -> Retraining:
    """One retraining; ``latest`` for the one that is under way, or the last one."""
    return _find(caller, services, monitor_id, retraining_id)


@router.post("/{retraining_id}/promote", status_code=202)
def promote(
    caller: Caller, services: Everything, monitor_id: str, retraining_id: str, body: DecisionRequest
) -> Retraining:
    """Serve the candidate, and have the monitor compare with its training data, in the background."""
    monitor = services.monitors.get(caller, monitor_id)
    found = _find(caller, services, monitor_id, retraining_id)
    return services.retrainings.promote(monitor, found, caller.name, body.note)


@router.post("/{retraining_id}/refuse")
def refuse(
    caller: Caller, services: Everything, monitor_id: str, retraining_id: str, body: DecisionRequest
) -> Retraining:
    """Leave all as it is, and end what is under way."""
    monitor = services.monitors.get(caller, monitor_id)
    found = _find(caller, services, monitor_id, retraining_id)
    return services.retrainings.refuse(monitor, found, caller.name, body.note)


def _find(caller: Caller, services: Everything, monitor_id: str, retraining_id: str) -> Retraining:
    monitor = services.monitors.get(caller, monitor_id)
    if retraining_id == "latest":
        return services.retrainings.latest(monitor)
    return services.retrainings.get(monitor, retraining_id)
