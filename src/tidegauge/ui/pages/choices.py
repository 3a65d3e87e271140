"""What can be chosen in forms: repositories, and the versions of the one that was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from tidegauge.domain.catalogue import RepositoryKind, Version, VersionState
from tidegauge.domain.deployment import Deployment
from tidegauge.errors import NotFoundError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Form
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

_MOST = 1000  # repositories to choose from
_LABELS = {RepositoryKind.CODE: "Code Version", RepositoryKind.DATASET: "Dataset Version"}

router = Pages()


@router.get("/choices/versions")
def versions_choice(
    request: Request,
    caller: Caller,
    services: Everything,
    kind: RepositoryKind,
    of: str,
    field: str,
    optional: bool = False,
) -> Response:
    """The field for a version alone, once a repository was chosen in the field ``of``."""
    found = versions(services, kind, caller.name, request.query_params.get(of, ""))
    return render(
        "choices/versions.html",
        form=Form(),
        field=field,
        label=_LABELS.get(kind, "Version"),
        found=found,
        optional=optional,
    )


def repositories(services: Services, kind: RepositoryKind, owner: str) -> list[str]:
    """Return the names of a person's repositories of one kind."""
    page = services.catalogue.page(kind, owner, Query(_MOST, sort="name"))
    return [repository.name for repository in page.items]


def models(services: Services, owner: str, form: Form) -> dict[str, Any]:
    """Return the models of a person, and the versions of the one that a form names."""
    kind = RepositoryKind.MODEL
    return {
        "names": repositories(services, kind, owner),
        "found": versions(services, kind, owner, form.text("model")),
    }


def versions(services: Services, kind: RepositoryKind, owner: str, name: str) -> list[Version]:
    """Return the versions of a repository that can be used, newest first; none where there is none."""
    if not name:
        return []
    try:
        repository = services.catalogue.get(kind, owner, name)
    except NotFoundError:
        return []
    found = services.catalogue.versions(repository)
    return [version for version in found if version.state is VersionState.READY]


def said_of_model(services: Services, deployment: Deployment) -> Mapping[str, Any]:
    """Return what the model version that a deployment serves says of itself, or what is known of it."""
    if not deployment.model_id:
        return deployment.said
    try:
        repository = services.catalogue.get(RepositoryKind.MODEL, deployment.owner, deployment.model_id)
        return services.catalogue.version(repository, deployment.model_version).meta
    except NotFoundError:
        return {}
