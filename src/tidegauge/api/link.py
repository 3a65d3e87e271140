"""What another cluster reads of this one, with a token of the scope link: ``/api/v1/link``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from tidegauge.api.openapi import binary
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.cluster_link import Exported, Greeting, LabelFileInfo
from tidegauge.domain.observation import HealthSample
from tidegauge.storage.log_stream import MEDIA_TYPE
from tidegauge.web.access import Everything, Linked

router = APIRouter(prefix="/api/v1/link", tags=["link"])

_BYTES: dict[int | str, dict[str, Any]] = {200: {"content": binary("application/octet-stream")}}
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": binary(MEDIA_TYPE)}}


@router.get("")
def greet(caller: Linked, services: Everything) -> Greeting:
    """Say which version this is, and whose token was sent."""
    return services.exporting.greeting(caller.user)


@router.get("/deployments")
def find_deployments(
    caller: Linked, services: Everything, namespace: str = "", name: str = ""
) -> tuple[Exported, ...]:
    """List the deployments that may be imported elsewhere; ``namespace`` is their owner's name."""
    return services.exporting.find(caller.user, namespace, name)


@router.get("/deployments/{deployment_id}")
def show_deployment(caller: Linked, services: Everything, deployment_id: str) -> Exported:
    return services.exporting.described(caller.user, services.exporting.get(caller.user, deployment_id))


@router.get("/deployments/{deployment_id}/{kind}/manifest")
def show_manifest(caller: Linked, services: Everything, deployment_id: str, kind: RepositoryKind) -> Response:
    """Return the files of the model, or of the dataset that it was trained on, by path and hash."""
    deployment = services.exporting.get(caller.user, deployment_id)
    manifest = services.exporting.manifest(caller.user, deployment, kind)
    return Response(manifest.to_json(), media_type="application/json")


@router.get("/deployments/{deployment_id}/{kind}/blobs/{digest}", responses=_BYTES, response_class=Response)
def read_blob(
    caller: Linked, services: Everything, deployment_id: str, kind: RepositoryKind, digest: str
) -> Response:
    """Return the content of one of these files."""
    deployment = services.exporting.get(caller.user, deployment_id)
    data = services.exporting.blob(caller.user, deployment, kind, digest)
    return Response(data, media_type="application/octet-stream")


@router.get("/deployments/{deployment_id}/log", responses=_STREAM, response_class=StreamingResponse)
def read_log(
    caller: Linked, services: Everything, deployment_id: str, after: int = 0, file: str = ""
) -> StreamingResponse:
    """Stream the files of the inference log after the number ``after``, some at once, as Arrow.

    Answers 409 where no file has that number, or another than ``file``: the log was set back meanwhile.
    """
    deployment = services.exporting.get(caller.user, deployment_id)
    return StreamingResponse(services.exporting.log(deployment, after, file), media_type=MEDIA_TYPE)


@router.get("/deployments/{deployment_id}/erased")
def list_erased(caller: Linked, services: Everything, deployment_id: str) -> tuple[str, ...]:
    """Return digests of the events that were deleted."""
    return services.exporting.erased(services.exporting.get(caller.user, deployment_id))


@router.get("/deployments/{deployment_id}/health")
def list_samples(
    caller: Linked, services: Everything, deployment_id: str, after: str = ""
) -> tuple[HealthSample, ...]:
    """Return what was seen of the served process after the sample ``after``, some at once."""
    return services.exporting.samples(services.exporting.get(caller.user, deployment_id), after)


@router.get("/deployments/{deployment_id}/livedata")
def list_livedata(caller: Linked, services: Everything, deployment_id: str) -> tuple[LabelFileInfo, ...]:
    """List the label files that were dropped for the deployment."""
    deployment = services.exporting.get(caller.user, deployment_id)
    start = len(deployment.livedata) + 1
    return tuple(
        LabelFileInfo(info.path[start:], info.size, info.modified)
        for info in services.exporting.livedata(deployment)
    )


@router.get("/deployments/{deployment_id}/livedata/{name:path}", responses=_BYTES, response_class=Response)
def read_label_file(caller: Linked, services: Everything, deployment_id: str, name: str) -> Response:
    deployment = services.exporting.get(caller.user, deployment_id)
    return Response(services.exporting.label_file(deployment, name), media_type="application/octet-stream")
