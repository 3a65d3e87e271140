"""Code, datasets and models: ``/api/v1/code``, ``/api/v1/datasets``, ``/api/v1/models``."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.datastructures import FormData, UploadFile

from tidegauge.api.openapi import binary
from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, Version
from tidegauge.domain.content import ContentForm
from tidegauge.domain.strict import STRICT
from tidegauge.errors import InvalidInputError
from tidegauge.steps import RUN_HEADER
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Everything, Listing
from tidegauge.web.uploads import spool, uploaded

#: The form is read once it is known who sends it, by the route itself: FastAPI would read it before.
_UPLOAD: Mapping[str, Any] = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "archive": {"type": "string", "format": "binary"},
                        "meta": {"type": "string", "default": "{}"},
                    },
                }
            }
        }
    }
}

_TAR = "application/x-tar"


@dataclass(frozen=True)
class RepositoryRequest:
    __pydantic_config__ = STRICT
    name: str
    source: Source
    form: ContentForm | None = None


@dataclass(frozen=True)
class RepositoryDetail:
    repository: Repository
    versions: tuple[Version, ...]


def build_router(kind: RepositoryKind) -> APIRouter:
    """Build the routes of one kind of repository."""
    router = APIRouter(prefix=f"/api/v1/{kind.plural}", tags=[kind.plural], dependencies=CLOSED)

    @router.get("", name=f"list {kind.plural}")
    def list_(caller: Caller, services: Everything, query: Listing) -> Page[Repository]:
        return services.catalogue.page(kind, caller, query)

    @router.post("", status_code=201, name=f"create {kind.value}")
    def create(caller: Caller, services: Everything, body: RepositoryRequest) -> Repository:
        return services.catalogue.create(kind, body.name, caller.name, body.source, body.form)

    @router.get("/{name}", name=f"show {kind.value}")
    def show(caller: Caller, services: Everything, name: str) -> RepositoryDetail:
        repository = services.catalogue.get(kind, caller, name)
        return RepositoryDetail(repository, services.catalogue.versions(repository))

    @router.delete("/{name}", status_code=204, name=f"delete {kind.value}")
    def delete(caller: Caller, services: Everything, name: str) -> None:
        services.catalogue.delete(services.catalogue.get(kind, caller, name))

    @router.post(
        "/{name}/versions", status_code=202, name=f"add {kind.value} version", openapi_extra=dict(_UPLOAD)
    )
    def add_version(
        caller: Caller,
        services: Everything,
        name: str,
        sent: Annotated[FormData, Depends(uploaded)],
        run: Annotated[str, Header(alias=RUN_HEADER)] = "",
    ) -> Version:
        repository = services.catalogue.get(kind, caller, name)
        archive, meta = sent.get("archive"), sent.get("meta", "{}")
        if isinstance(archive, str) or isinstance(meta, UploadFile):
            raise InvalidInputError.of("archive", "archive is a file and meta is text; send them as that.")
        details = _parse_meta(meta) | services.pipelines.lineage(caller, run)
        if archive is None:
            return services.catalogue.add_version(repository, meta=details)
        spooled = spool(archive, services.catalogue.upload_folder())
        try:
            return services.catalogue.add_version(repository, spooled, details)
        finally:
            spooled.unlink(missing_ok=True)

    @router.get("/{name}/versions/{number}", name=f"show {kind.value} version")
    def show_version(caller: Caller, services: Everything, name: str, number: int) -> Version:
        return services.catalogue.version(services.catalogue.get(kind, caller, name), number)

    @router.get(
        "/{name}/versions/{number}/archive",
        name=f"download {kind.value} version",
        response_class=FileResponse,
        responses={200: {"content": binary(_TAR)}},
    )
    def download(caller: Caller, services: Everything, name: str, number: int) -> FileResponse:
        repository = services.catalogue.get(kind, caller, name)
        version = services.catalogue.version(repository, number)
        scratch = Path(tempfile.mkdtemp(dir=services.catalogue.upload_folder()))
        try:
            services.catalogue.export(repository, version, scratch / "files")
            with tarfile.open(scratch / "archive.tar", "w") as tar:
                tar.add(scratch / "files", arcname=".")
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        return FileResponse(
            scratch / "archive.tar",
            media_type=_TAR,
            filename=f"{repository.name}-{version.label}.tar",
            background=BackgroundTask(shutil.rmtree, scratch, ignore_errors=True),
        )

    return router


def _parse_meta(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError.of("meta", f"meta is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidInputError.of("meta", f"meta is {text[:80]!r}; send a JSON object.")
    return value
