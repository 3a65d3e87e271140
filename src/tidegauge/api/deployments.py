"""Deployments: ``/api/v1/deployments``, their labels, and their model servers at ``/serve``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from tidegauge.api.openapi import raw_body
from tidegauge.domain.capture import SpanCoverage
from tidegauge.domain.cluster_link import Followed, Through
from tidegauge.domain.deployment import Deployment, DeploymentChanges, Placed
from tidegauge.domain.erasure import Erasure
from tidegauge.domain.log_size import LogSize
from tidegauge.domain.served import ServedModel
from tidegauge.domain.strict import STRICT
from tidegauge.domain.users import AccessToken
from tidegauge.services.kserve import KServeRequest
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Changer, Everything, Listing
from tidegauge.web.bodies import read_body

_LABELS_LIMIT = 64 * 2**20

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"], dependencies=CLOSED)


@dataclass(frozen=True)
class DeploymentRequest:
    __pydantic_config__ = STRICT
    name: str
    model: str
    version: int
    logging: bool = True


@dataclass(frozen=True)
class Registration:
    """A deployment that is served elsewhere; see ``Deployments.register`` for the fields."""

    __pydantic_config__ = STRICT
    name: str
    model: str = ""
    version: int = 0
    classes: tuple[str, ...] = ()
    service: str = ""
    namespace: str = ""
    predict_url: str = ""
    sampling: float = 1.0
    keep_days: int | None = None
    keep_bytes: int | None = None


@dataclass(frozen=True)
class ImportRequest:
    """A deployment of a serving cluster; see ``Importing.add`` for the fields."""

    __pydantic_config__ = STRICT
    name: str
    cluster: str
    namespace: str = ""
    local_name: str = ""
    through: Through = Through.LINK


@dataclass(frozen=True)
class LookRequest:
    """Where a model server is, and which model of it is meant; see ``Servers.look_up``."""

    __pydantic_config__ = STRICT
    url: str
    model: str = ""


@dataclass(frozen=True)
class UrlImport:
    """What is served at a URL; see ``Servers.bring_in`` for the fields."""

    __pydantic_config__ = STRICT
    url: str
    model: str = ""
    name: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TokenRequest:
    __pydantic_config__ = STRICT
    name: str


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
    return services.deployments.page(caller, query)


@router.post("", status_code=201)
def create_deployment(caller: Caller, services: Everything, body: DeploymentRequest) -> Deployment:
    return services.deployments.create(body.name, caller.name, body.model, body.version, logging=body.logging)


@router.post("/register", status_code=201)
def register_deployment(caller: Caller, services: Everything, body: Registration) -> Deployment:
    """Add a deployment that is nothing but its events: a server not ours has the model."""
    return services.deployments.register(owner=caller.name, **vars(body))


@router.post("/kserve", status_code=201)
def create_on_kserve(caller: Caller, services: Everything, body: KServeRequest) -> Placed:
    """Serve a version of a model by KServe; with `manifest_only` the InferenceService is only written."""
    return services.deployments.create_on_kserve(caller.name, body)


@router.post("/import", status_code=201)
def import_deployment(caller: Caller, services: Everything, body: ImportRequest) -> Deployment:
    """Import a deployment of a serving cluster; its model and training data come in the background."""
    return services.importing.add(
        caller.name,
        body.name,
        body.cluster,
        body.namespace,
        local_name=body.local_name,
        through=body.through,
    )


@router.get("/{deployment_id}/import")
def show_import(caller: Caller, services: Everything, deployment_id: str) -> Followed:
    """Tell how far an imported deployment is followed."""
    return services.importing.followed(services.deployments.get(caller, deployment_id))


@router.post("/look")
def look_up(caller: Caller, services: Everything, body: LookRequest) -> ServedModel:
    """Tell what a server not ours serves at a URL; nothing is kept."""
    return services.servers.look_up(caller.name, body.url, body.model)


@router.post("/import-url", status_code=201)
def import_url(caller: Caller, services: Everything, body: UrlImport) -> Deployment:
    """Add an external deployment of what a server not ours serves at a URL, and watch it from now on."""
    return services.servers.bring_in(caller.name, **vars(body))


@router.post("/{deployment_id}/look")
def look_again(caller: Caller, services: Everything, deployment_id: str) -> Deployment:
    """Look at the server of an external deployment now; what is wrong there is told in ``served``."""
    return services.servers.look_again(services.deployments.get(caller, deployment_id))


@router.get("/{deployment_id}")
def show_deployment(caller: Caller, services: Everything, deployment_id: str) -> Deployment:
    return services.deployments.get(caller, deployment_id)


@router.patch("/{deployment_id}")
def change_deployment(
    caller: Caller, services: Everything, deployment_id: str, body: DeploymentChanges
) -> Deployment:
    """Change the fields given; ``keep_days`` and ``keep_bytes``: 0 keeps all, null does as the server."""
    return services.deployments.update(services.deployments.get(caller, deployment_id), **body)


@router.delete("/{deployment_id}", status_code=204)
def delete_deployment(caller: Caller, services: Everything, deployment_id: str) -> None:
    services.deployments.delete(services.deployments.get(caller, deployment_id))


@router.get("/{deployment_id}/tokens")
def list_tokens(
    caller: Changer, services: Everything, deployment_id: str, query: Listing
) -> Page[AccessToken]:
    """List the tokens that report events of the deployment, without their secrets."""
    deployment = services.deployments.get(caller, deployment_id)
    return services.people.ingest_tokens(deployment.id, query)


@router.post("/{deployment_id}/tokens", status_code=201)
def create_token(caller: Caller, services: Everything, deployment_id: str, body: TokenRequest) -> AccessToken:
    """Issue a token that reports events of the deployment; its secret is told here and never again."""
    deployment = services.deployments.get(caller, deployment_id)
    return services.people.issue_ingest(caller.user, deployment.id, body.name, by=caller.token)


@router.delete("/{deployment_id}/tokens/{token}", status_code=204)
def revoke_token(caller: Caller, services: Everything, deployment_id: str, token: str) -> None:
    """Revoke a token, by its id or name."""
    deployment = services.deployments.get(caller, deployment_id)
    found = services.people.ingest_token(deployment.id, token)
    services.people.revoke(found.id)


@router.get("/{deployment_id}/log", response_class=PlainTextResponse)
def deployment_log(caller: Caller, services: Everything, deployment_id: str) -> str:
    return services.deployments.log(services.deployments.get(caller, deployment_id))


@router.get("/{deployment_id}/inference-log")
def show_inference_log(caller: Caller, services: Everything, deployment_id: str) -> LogSize:
    """Tell how large the inference log is, how much of it was merged, and what was deleted with its hour."""
    return services.retention.size(services.deployments.get(caller, deployment_id))


@router.get("/{deployment_id}/captures")
def show_captures(
    caller: Caller,
    services: Everything,
    deployment_id: str,
    start: datetime | None = None,
    end: datetime | None = None,
) -> SpanCoverage:
    """Compare what was served in [start, end), by default the last day, with what the log has.

    Counts are of the whole minutes that the span meets; `start` and `end` of the answer say which.
    """
    return services.captures.of_span(services.deployments.get(caller, deployment_id).id, start, end)


@router.put(
    "/{deployment_id}/livedata/{file}",
    status_code=201,
    openapi_extra=raw_body("text/csv", "application/octet-stream"),
)
async def put_labels(
    caller: Caller, services: Everything, deployment_id: str, file: str, request: Request
) -> LabelFile:
    data = await read_body(request, _LABELS_LIMIT)

    def put() -> LabelFile:
        deployment = services.deployments.get(caller, deployment_id)
        return LabelFile(services.deployments.put_labels(deployment, file, data), len(data))

    return await run_in_threadpool(put)


@router.get("/{deployment_id}/erasures")
def list_erasures(caller: Caller, services: Everything, deployment_id: str, query: Listing) -> Page[Erasure]:
    """List the events that were deleted, without their ids."""
    return services.erasures.page(services.deployments.get(caller, deployment_id), query)


@router.post("/{deployment_id}/erasures", status_code=202)
def delete_events(
    caller: Caller, services: Everything, deployment_id: str, body: ErasureRequest
) -> tuple[Erasure, ...]:
    """Delete events from the log and from all that was made of them."""
    deployment = services.deployments.get(caller, deployment_id)
    return services.erasures.begin(deployment, body.event_ids, caller.name, body.note)


@router.delete("/{deployment_id}/events/{event_id:path}", status_code=202)
def delete_event(
    caller: Caller, services: Everything, deployment_id: str, event_id: str, note: str = ""
) -> Erasure:
    """Delete one event from the log and from all that was made of it."""
    deployment = services.deployments.get(caller, deployment_id)
    return services.erasures.begin(deployment, [event_id], caller.name, note)[0]
