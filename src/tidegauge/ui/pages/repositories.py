"""Code, Datasets and Models: lists, dialogs, and a page for each with its versions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, SourceType, VersionState
from tidegauge.domain.content import ContentForm
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Archived, Form, parse
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything
from tidegauge.web.uploads import spool

_TITLES = {
    RepositoryKind.CODE: "Code",
    RepositoryKind.DATASET: "Datasets",
    RepositoryKind.MODEL: "Models",
}
_ROWS = 50
_FILES = 200  # of a version, listed on its repository's page


def build_router(kind: RepositoryKind) -> APIRouter:
    """Build the pages of one kind of repository."""
    router = Pages(prefix=f"/{kind.plural}")
    shared: dict[str, Any] = {
        "kind": kind,
        "title": _TITLES[kind],
        "path": f"/{kind.plural}",
        "section": kind.plural,
    }

    @router.get("")
    def list_(
        caller: Caller, services: Everything, q: str = "", sort: str = "-id", cursor: str = ""
    ) -> Response:
        query = Query(_ROWS, cursor, sort, q)
        page = services.catalogue.page(kind, caller, query)
        rows = [(repository, services.catalogue.versions(repository)) for repository in page.items]
        return render("repositories/list.html", user=caller, page=page, query=query, rows=rows, **shared)

    @router.get("/new")
    def new(caller: Caller) -> Response:
        return render("repositories/new.html", user=caller, form=Form(), **shared)

    @router.post("/new")
    def create(request: Request, caller: Caller, services: Everything, form: Archived) -> Response:
        try:
            repository = _create(services, kind, caller.name, form)
        except TidegaugeError as error:
            return refuse("repositories/new.html", form, error, user=caller, **shared)
        return go(request, f"/{kind.plural}/{repository.name}")

    @router.get("/{name}")
    def show(caller: Caller, services: Everything, name: str) -> Response:
        repository = services.catalogue.get(kind, caller, name)
        versions = services.catalogue.versions(repository)
        newest = next((version for version in versions if version.state is VersionState.READY), None)
        files = services.catalogue.manifest(repository, newest).files[:_FILES] if newest else ()
        return render(
            "repositories/show.html",
            user=caller,
            repository=repository,
            versions=versions,
            newest=newest,
            files=files,
            **shared,
        )

    @router.get("/{name}/versions/new")
    def new_version(caller: Changer, services: Everything, name: str) -> Response:
        repository = services.catalogue.get(kind, caller, name)
        return render("repositories/version.html", user=caller, repository=repository, form=Form(), **shared)

    @router.post("/{name}/versions/new")
    def add_version(
        request: Request, caller: Caller, services: Everything, name: str, form: Archived
    ) -> Response:
        repository = services.catalogue.get(kind, caller, name)
        try:
            _add_version(services, repository, form)
        except TidegaugeError as error:
            return refuse(
                "repositories/version.html", form, error, user=caller, repository=repository, **shared
            )
        return go(request, f"/{kind.plural}/{repository.name}")

    @router.get("/{name}/delete")
    def confirm_deletion(caller: Changer, services: Everything, name: str) -> Response:
        repository = services.catalogue.get(kind, caller, name)
        versions = services.catalogue.versions(repository)
        return render(
            "repositories/delete.html",
            user=caller,
            repository=repository,
            versions=versions,
            form=Form(),
            **shared,
        )

    @router.post("/{name}/delete")
    def delete(request: Request, caller: Caller, services: Everything, name: str) -> Response:
        repository = services.catalogue.get(kind, caller, name)
        try:
            services.catalogue.delete(repository)
        except TidegaugeError as error:
            return refuse(
                "repositories/delete.html",
                Form(),
                error,
                user=caller,
                repository=repository,
                versions=services.catalogue.versions(repository),
                **shared,
            )
        return go(request, f"/{kind.plural}")

    return router


def _create(services: Services, kind: RepositoryKind, owner: str, form: Form) -> Repository:
    """Add a repository with its first version."""
    source = parse(Source, {"type": SourceType.GIT, **form.nested("source.")})
    if source.type is SourceType.UPLOAD and kind is not RepositoryKind.MODEL and "archive" not in form.files:
        raise InvalidInputError.of("archive", "archive is missing; choose a .tar, .tar.gz or .zip file.")
    shape = form.text("saved_as") if kind is RepositoryKind.DATASET else ""
    repository = services.catalogue.create(
        kind, form.text("name"), owner, source, ContentForm(shape) if shape else None
    )
    try:
        if source.type is not SourceType.UPLOAD or "archive" in form.files:
            _add_version(services, repository, form)
    except TidegaugeError:
        services.catalogue.delete(repository)  # nothing half made: the same form can be sent again
        raise
    return repository


def _add_version(services: Services, repository: Repository, form: Form) -> None:
    archive = form.files.get("archive")
    if archive is None:
        services.catalogue.add_version(repository)
        return
    spooled = spool(archive, services.catalogue.upload_folder())
    try:
        services.catalogue.add_version(repository, spooled)
    finally:
        spooled.unlink(missing_ok=True)
