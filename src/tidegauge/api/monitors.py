"""Monitors: ``/api/v1/monitors``, with their schema, thresholds, alerts and runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Query as QueryParameter
from starlette.concurrency import run_in_threadpool

from tidegauge.api.openapi import binary
from tidegauge.api.watching import THRESHOLDS, THRESHOLDS_LIMIT
from tidegauge.domain.alert import Alert, AlertEvent, AlertRule
from tidegauge.domain.monitor import ConfigVersion, Feature, Monitor, MonitorRun
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.series import MOST_POINTS, Series
from tidegauge.domain.strict import STRICT
from tidegauge.services.monitors import MonitorDetail
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Everything, Listing
from tidegauge.web.bodies import read_body

router = APIRouter(prefix="/api/v1/monitors", tags=["monitors"], dependencies=CLOSED)


@dataclass(frozen=True)
class MonitorRequest:
    __pydantic_config__ = STRICT
    deployment: str
    config: MonitorConfig = field(default_factory=MonitorConfig)


@dataclass(frozen=True)
class MuteRequest:
    """Until when nothing is told of an alert; null ends that."""

    __pydantic_config__ = STRICT
    until: datetime | None = None


@dataclass(frozen=True)
class WindowRequest:
    """The window [start, end) to look at."""

    __pydantic_config__ = STRICT
    start: datetime
    end: datetime


@router.get("")
def list_monitors(caller: Caller, services: Everything, query: Listing) -> Page[Monitor]:
    return services.monitors.page(caller, query)


@router.post("", status_code=201)
def create_monitor(caller: Caller, services: Everything, body: MonitorRequest) -> Monitor:
    deployment = services.deployments.get(caller, body.deployment)
    return services.monitors.create(deployment, body.config, caller.name)


@router.get("/{monitor_id}")
def show_monitor(caller: Caller, services: Everything, monitor_id: str) -> MonitorDetail:
    return services.monitors.detail(services.monitors.get(caller, monitor_id))


@router.delete("/{monitor_id}", status_code=204)
def delete_monitor(caller: Caller, services: Everything, monitor_id: str) -> None:
    services.monitors.delete(services.monitors.get(caller, monitor_id))


@router.put("/{monitor_id}/config")
def configure_monitor(caller: Caller, services: Everything, monitor_id: str, body: MonitorConfig) -> Monitor:
    return services.monitors.configure(services.monitors.get(caller, monitor_id), body, caller.name)


@router.post("/{monitor_id}/baseline", status_code=202)
def baseline_monitor(caller: Caller, services: Everything, monitor_id: str) -> Monitor:
    return services.monitors.rebaseline(services.monitors.get(caller, monitor_id), caller.name)


@router.post("/{monitor_id}/schema", status_code=201)
def add_feature(caller: Caller, services: Everything, monitor_id: str, body: Feature) -> Monitor:
    return services.monitors.add_feature(services.monitors.get(caller, monitor_id), body, caller.name)


@router.put("/{monitor_id}/schema")
def set_schema(caller: Caller, services: Everything, monitor_id: str, body: tuple[Feature, ...]) -> Monitor:
    """Replace the whole schema."""
    return services.monitors.set_schema(services.monitors.get(caller, monitor_id), body, caller.name)


@router.delete("/{monitor_id}/schema/{name}")
def remove_feature(caller: Caller, services: Everything, monitor_id: str, name: str) -> Monitor:
    return services.monitors.remove_feature(services.monitors.get(caller, monitor_id), name, caller.name)


@router.put("/{monitor_id}/thresholds", openapi_extra=THRESHOLDS)
async def set_thresholds(caller: Caller, services: Everything, monitor_id: str, request: Request) -> Monitor:
    """Replace the thresholds; the body is the JSON file as it is."""
    body = await read_body(request, THRESHOLDS_LIMIT)

    def put() -> Monitor:
        return services.monitors.set_thresholds(services.monitors.get(caller, monitor_id), body)

    return await run_in_threadpool(put)


@router.post("/{monitor_id}/start")
def start_monitor(caller: Caller, services: Everything, monitor_id: str) -> Monitor:
    return services.monitors.start(services.monitors.get(caller, monitor_id), caller.name)


@router.post("/{monitor_id}/stop")
def stop_monitor(caller: Caller, services: Everything, monitor_id: str) -> Monitor:
    return services.monitors.stop(services.monitors.get(caller, monitor_id), caller.name)


@router.get("/{monitor_id}/alerts")
def list_alerts(caller: Caller, services: Everything, monitor_id: str) -> tuple[Alert, ...]:
    return services.monitors.alerts(services.monitors.get(caller, monitor_id))


@router.post("/{monitor_id}/alerts", status_code=201)
def add_alert(caller: Caller, services: Everything, monitor_id: str, body: AlertRule) -> Alert:
    return services.monitors.add_alert(services.monitors.get(caller, monitor_id), body)


@router.put("/{monitor_id}/alerts/{alert_id}")
def change_alert(
    caller: Caller, services: Everything, monitor_id: str, alert_id: str, body: AlertRule
) -> Alert:
    return services.monitors.change_alert(services.monitors.get(caller, monitor_id), alert_id, body)


@router.post("/{monitor_id}/alerts/{alert_id}/mute")
def mute_alert(
    caller: Caller, services: Everything, monitor_id: str, alert_id: str, body: MuteRequest
) -> Alert:
    return services.monitors.mute_alert(services.monitors.get(caller, monitor_id), alert_id, body.until)


@router.delete("/{monitor_id}/alerts/{alert_id}", status_code=204)
def delete_alert(caller: Caller, services: Everything, monitor_id: str, alert_id: str) -> None:
    services.monitors.delete_alert(services.monitors.get(caller, monitor_id), alert_id)


@router.get("/{monitor_id}/alert-events")
def list_alert_events(
    caller: Caller, services: Everything, monitor_id: str, query: Listing
) -> Page[AlertEvent]:
    return services.monitors.alert_events(services.monitors.get(caller, monitor_id), query)


@router.post("/{monitor_id}/runs", status_code=201)
def run_monitor(caller: Caller, services: Everything, monitor_id: str, body: WindowRequest) -> MonitorRun:
    monitor = services.monitors.get(caller, monitor_id)
    return services.runs.run(monitor, body.start, body.end)


@router.get("/{monitor_id}/runs")
def list_runs(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    start: datetime | None = None,
    end: datetime | None = None,
) -> tuple[MonitorRun, ...]:
    return services.monitors.runs(services.monitors.get(caller, monitor_id), start, end)


@router.get("/{monitor_id}/series")
def show_series(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    start: datetime | None = None,
    end: datetime | None = None,
    most: Annotated[int, QueryParameter(ge=1, le=5000)] = MOST_POINTS,
) -> Series:
    """What was found in the windows that begin in [start, end), in at most so many spans, extremes kept."""
    monitor = services.monitors.get(caller, monitor_id)
    return services.history.series(monitor, start, end, most)


@router.get("/{monitor_id}/runs/{run_id}")
def show_run(caller: Caller, services: Everything, monitor_id: str, run_id: str) -> MonitorRun:
    return services.monitors.run(services.monitors.get(caller, monitor_id), run_id)


@router.get(
    "/{monitor_id}/runs/{run_id}/images/{event_id}/{index}",
    response_class=Response,
    responses={200: {"content": binary("image/png")}},
)
def run_image(
    caller: Caller, services: Everything, monitor_id: str, run_id: str, event_id: str, index: int
) -> Response:
    """The image of an event in the run's window, as PNG."""
    monitor = services.monitors.get(caller, monitor_id)
    run = services.monitors.run(monitor, run_id)
    return Response(services.showing.image(monitor, run, event_id, index), media_type="image/png")


@router.get("/{monitor_id}/configs")
def list_configs(
    caller: Caller, services: Everything, monitor_id: str, query: Listing
) -> Page[ConfigVersion]:
    """What the monitor was told to do, by whom and when."""
    return services.monitors.configs(services.monitors.get(caller, monitor_id), query)
