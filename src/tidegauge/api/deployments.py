"""Deployments: ``/api/v1/deployments``, their labels, and their model servers at ``/serve``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.domain.erasure import Erasure
from tidegauge.domain.strict import STRICT
from tidegauge.storage.rows import Page
from tidegauge.web.access import Caller, Everything, Listing
from tidegauge.web.bodies import read_body

_LABELS_LIMIT = 64 * 2**20

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])


@dataclass(frozen=True)
class DeploymentRequest:
    __pydantic_config__ = STRICT
    name: str
    model: str
    version: int
    logging: bool = True


@dataclass(frozen=True)
class DeploymentChange:
    __pydantic_config__ = STRICT
    version: int | None = None
    logging: bool | None = None
    wanted: Literal["running", "stopped"] | None = None


@dataclass(frozen=True)
class ErasureRequest:
    """Events that are to be deleted, and why."""

    __pydantic_config__ = STRICT
    event_ids: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class LabelFile:
    path: str
    bytes: int


@router.get("")
def list_deployments(caller: Caller, services: Everything, query: Listing) -> Page[Deployment]:
    return services.deployments.page(caller.name, query)


@router.post("", status_code=201)
def create_deployment(caller: Caller, services: Everything, body: DeploymentRequest) -> Deployment:
    return services.deployments.create(body.name, caller.name, body.model, body.version, logging=body.logging)


@router.get("/{deployment_id}")
def show_deployment(caller: Caller, services: Everything, deployment_id: str) -> Deployment:
    return services.deployments.get(caller.name, deployment_id)


@router.patch("/{deployment_id}")
def change_deployment(
    caller: Caller, services: Everything, deployment_id: str, body: DeploymentChange
) -> Deployment:
    deployment = services.deployments.get(caller.name, deployment_id)
    wanted = DeploymentState(body.wanted) if body.wanted else None
    return services.deployments.update(deployment, version=body.version, logging=body.logging, wanted=wanted)


@router.delete("/{deployment_id}", status_code=204)
def delete_deployment(caller: Caller, services: Everything, deployment_id: str) -> None:
    services.deployments.delete(services.deployments.get(caller.name, deployment_id))


@router.get("/{deployment_id}/log", response_class=PlainTextResponse)
def deployment_log(caller: Caller, services: Everything, deployment_id: str) -> str:
    return services.deployments.log(services.deployments.get(caller.name, deployment_id))


@router.put("/{deployment_id}/livedata/{file}", status_code=201)
async def put_labels(
    caller: Caller, services: Everything, deployment_id: str, file: str, request: Request
) -> LabelFile:
    data = await read_body(request, _LABELS_LIMIT)

    def put() -> LabelFile:
        deployment = services.deployments.get(caller.name, deployment_id)
        return LabelFile(services.deployments.put_labels(deployment, file, data), len(data))

    return await run_in_threadpool(put)


@router.get("/{deployment_id}/erasures")
def list_erasures(caller: Caller, services: Everything, deployment_id: str, query: Listing) -> Page[Erasure]:
    """List the events that were deleted, without their ids."""
    return services.erasures.page(services.deployments.get(caller.name, deployment_id), query)


@router.post("/{deployment_id}/erasures", status_code=202)
def delete_events(
    caller: Caller, services: Everything, deployment_id: str, body: ErasureRequest
) -> tuple[Erasure, ...]:
    """Delete events from the log and from all that was made of them."""
    deployment = services.deployments.get(caller.name, deployment_id)
    return services.erasures.begin(deployment, body.event_ids, caller.name, body.note)


@router.delete("/{deployment_id}/events/{event_id:path}", status_code=202)
def delete_event(
    caller: Caller, services: Everything, deployment_id: str, event_id: str, note: str = ""
) -> Erasure:
    """Delete one event from the log and from all that was made of it."""
    deployment = services.deployments.get(caller.name, deployment_id)
    return services.erasures.begin(deployment, [event_id], caller.name, note)[0]
