"""What a monitor is asked beside its runs: backfill, due windows, labels by event, alarms, maintenance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool

from tidegauge.domain.monitor import Acknowledgement, DueWindow, Monitor
from tidegauge.domain.observation import DeadLetter, Maintenance
from tidegauge.domain.strict import STRICT
from tidegauge.services.advice import Preview
from tidegauge.services.labels import PostedLabel, Receipt
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Everything, Listing
from tidegauge.web.bodies import read_body

router = APIRouter(tags=["monitors"], dependencies=CLOSED)
THRESHOLDS_LIMIT = 2**20
#: What routes say whose body is the JSON file as it is.
THRESHOLDS = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}
_MONITOR = "/api/v1/monitors/{monitor_id}"


@dataclass(frozen=True)
class SpanRequest:
    """The span [start, end)."""

    __pydantic_config__ = STRICT
    start: datetime
    end: datetime


@dataclass(frozen=True)
class NoteRequest:
    """Why."""

    __pydantic_config__ = STRICT
    note: str = ""


@dataclass(frozen=True)
class AcceptRequest:
    """The span [start, end) whose images become the baseline, and why."""

    __pydantic_config__ = STRICT
    start: datetime
    end: datetime
    note: str = ""


@dataclass(frozen=True)
class MaintenanceRequest:
    """The span [start, end) in which no alert is told, and why."""

    __pydantic_config__ = STRICT
    start: datetime
    end: datetime
    reason: str = ""


def _is_scalar(value: Any) -> Any:
    """Refuse in one sentence, where every type of a label would have one of its own."""
    if isinstance(value, str | int | float | None):
        return value
    raise PydanticCustomError("label", "a label is text, a number, true, false, or null where it is empty")


def _some(value: Any) -> Any:
    if value == []:
        raise PydanticCustomError("no_labels", "there is no label in it; give one or more")
    return value


@dataclass(frozen=True)
class LabelRequest(PostedLabel):
    """The true answer to one request; an empty one is a dead letter."""

    __pydantic_config__ = STRICT
    label: Annotated[str | int | float | bool | None, BeforeValidator(_is_scalar)]


@dataclass(frozen=True)
class LabelsRequest:
    """True answers by event id; the last of an event counts."""

    __pydantic_config__ = STRICT
    labels: Annotated[list[LabelRequest], BeforeValidator(_some), Field(min_length=1, max_length=100_000)]


@dataclass(frozen=True)
class Backfilled:
    """How many windows are due now."""

    windows: int


@router.post(f"{_MONITOR}/backfill", status_code=202)
def backfill(caller: Caller, services: Everything, monitor_id: str, body: SpanRequest) -> Backfilled:
    """Make every window of a span due; they are looked at in the background."""
    monitor = services.monitors.get(caller, monitor_id)
    return Backfilled(services.schedule.backfill(monitor, body.start, body.end))


@router.get(f"{_MONITOR}/due-windows")
def due_windows(caller: Caller, services: Everything, monitor_id: str, query: Listing) -> Page[DueWindow]:
    """The windows that wait to be looked at, with what went wrong where they were tried."""
    return services.monitors.due(services.monitors.get(caller, monitor_id), query)


@router.post(f"{_MONITOR}/acknowledge", status_code=201)
def acknowledge(caller: Caller, services: Everything, monitor_id: str, body: NoteRequest) -> Acknowledgement:
    """Acknowledge a drift alarm: evidence begins again, and spends a further share of false alarms."""
    monitor = services.monitors.get(caller, monitor_id)
    return services.acceptance.acknowledge(monitor, caller.name, body.note)


@router.post(f"{_MONITOR}/accept", status_code=202)
def accept(caller: Caller, services: Everything, monitor_id: str, body: AcceptRequest) -> Monitor:
    """Make what was observed in a span the baseline, in the background; the monitor goes on meanwhile."""
    monitor = services.monitors.get(caller, monitor_id)
    return services.acceptance.accept(monitor, body.start, body.end, caller.name, body.note)


@router.get(f"{_MONITOR}/acknowledgements")
def list_acknowledgements(
    caller: Caller, services: Everything, monitor_id: str, query: Listing
) -> Page[Acknowledgement]:
    """The alarms that were acknowledged and the windows that were accepted, with what each has spent."""
    return services.monitors.acknowledgements(services.monitors.get(caller, monitor_id), query)


@router.get(f"{_MONITOR}/thresholds/suggestion")
def suggest_thresholds(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    size: int | None = None,
    soft_per_week: Annotated[float, Query(gt=0, allow_inf_nan=False)] = 1.0,
    hard_per_year: Annotated[float, Query(gt=0, allow_inf_nan=False)] = 1.0,
) -> Preview:
    """Suggest thresholds that clean windows pass as rarely as wished."""
    monitor = services.monitors.get(caller, monitor_id)
    return services.advice.suggest(monitor, size, soft_per_week, hard_per_year)


@router.post(f"{_MONITOR}/thresholds/preview", openapi_extra=THRESHOLDS)
async def preview_thresholds(
    caller: Caller, services: Everything, monitor_id: str, request: Request, size: int | None = None
) -> Preview:
    """Say how often thresholds would cry on clean data; the body is the JSON file, and nothing is saved."""
    body = await read_body(request, THRESHOLDS_LIMIT)

    def preview() -> Preview:
        return services.advice.preview(services.monitors.get(caller, monitor_id), body, size)

    return await run_in_threadpool(preview)


@router.get(f"{_MONITOR}/maintenance")
def list_maintenance(
    caller: Caller, services: Everything, monitor_id: str, query: Listing
) -> Page[Maintenance]:
    return services.monitors.maintenances(services.monitors.get(caller, monitor_id), query)


@router.post(f"{_MONITOR}/maintenance", status_code=201)
def add_maintenance(
    caller: Caller, services: Everything, monitor_id: str, body: MaintenanceRequest
) -> Maintenance:
    monitor = services.monitors.get(caller, monitor_id)
    return services.monitors.add_maintenance(monitor, body.start, body.end, body.reason, caller.name)


@router.delete(f"{_MONITOR}/maintenance/{{maintenance_id}}", status_code=204)
def delete_maintenance(caller: Caller, services: Everything, monitor_id: str, maintenance_id: str) -> None:
    services.monitors.delete_maintenance(services.monitors.get(caller, monitor_id), maintenance_id)


@router.get(f"{_MONITOR}/dead-letters")
def list_dead_letters(
    caller: Caller, services: Everything, monitor_id: str, query: Listing
) -> Page[DeadLetter]:
    """Events and labels that could not be used, and why."""
    return services.monitors.dead_letters(services.monitors.get(caller, monitor_id), query)


@router.post("/v1/deployments/{deployment_id}/labels", status_code=201)
def post_labels(caller: Caller, services: Everything, deployment_id: str, body: LabelsRequest) -> Receipt:
    """Take in labels by event id, durable on return; the windows that they touch are looked at again."""
    deployment = services.deployments.get(caller, deployment_id)
    monitor = services.monitors.get(caller, deployment.id)
    receipt = services.runs.post_labels(monitor, [*body.labels], caller.name)
    services.schedule.kick()
    return receipt
