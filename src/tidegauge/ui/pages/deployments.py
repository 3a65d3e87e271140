"""Deployments: the list, the dialogs that add one, and the page of each."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from tidegauge.domain.catalogue import RepositoryKind, Version
from tidegauge.domain.cluster_link import Followed, Through
from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.domain.identity import check_name
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config.suggested import input_shape
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, TidegaugeError, all_of
from tidegauge.services.bundle import Services
from tidegauge.services.sharing import Asker
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.pages import choices
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

_ROWS = 50
_NEW, _IMPORT, _VERSION = "deployments/new.html", "deployments/import.html", "deployments/version.html"

router = Pages(prefix="/deployments")


@router.get("")
def deployments_page(
    caller: Caller, services: Everything, q: str = "", sort: str = "-id", cursor: str = ""
) -> Response:
    query = Query(_ROWS, cursor, sort, q)
    page = services.deployments.page(caller, query)
    monitors = {
        glance.deployment_id: glance
        for glance in services.history.glances(caller.name, everything=caller.is_operator)
    }
    return render(
        "deployments/list.html",
        user=caller,
        page=page,
        query=query,
        rows=[(deployment, monitors.get(deployment.id)) for deployment in page.items],
    )


@router.get("/new")
def new_deployment(caller: Caller, services: Everything) -> Response:
    return render(_NEW, user=caller, form=Form(), **_new(services, caller.name, Form()))


@router.post("/new")
def create_deployment(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    try:
        all_of(
            lambda: check_name(form.text("name")),
            lambda: _chosen(form, "model", "choose the model to serve"),
            lambda: parse_version(form, "version"),
        )
        version = parse_version(form, "version")
        deployment = services.deployments.create(
            form.text("name"), caller.name, form.text("model"), version, logging=form.flag("logging")
        )
    except TidegaugeError as error:
        return refuse(_NEW, form, error, user=caller, **_new(services, caller.name, form))
    return go(request, _path(deployment))


@router.get("/import")
def import_dialog(caller: Caller, services: Everything) -> Response:
    return render(_IMPORT, user=caller, form=Form(), **_clusters(services))


@router.post("/import")
def import_deployment(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    try:
        all_of(
            lambda: check_name(form.text("name")),
            lambda: _chosen(form, "cluster", "choose the link to the serving cluster"),
        )
        deployment = services.importing.add(
            caller.name,
            form.text("name"),
            form.text("cluster"),
            form.text("namespace"),
            local_name=form.text("local_name"),
            through=Through(form.text("through") or Through.LINK),
        )
    except TidegaugeError as error:
        return refuse(_IMPORT, form, error, user=caller, **_clusters(services))
    return go(request, _path(deployment))


@router.get("/{name}")
def deployment_page(request: Request, caller: Caller, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    address = str(request.base_url).rstrip("/")
    tokens = services.people.ingest_tokens(deployment.id, Query(_ROWS))
    return render(
        "deployments/show.html",
        user=caller,
        deployment=deployment,
        monitor=_monitor(services, caller, deployment),
        address=address,
        predict_url=f"{address}{deployment.predict_path}",
        tokens=tokens.items,
        more=bool(tokens.cursor),
        shape=input_shape(choices.said_of_model(services, deployment))[1:],
        log=services.deployments.log(deployment),
        followed=_followed(services, deployment),
    )


@router.get("/{name}/log")
def deployment_log(caller: Caller, services: Everything, name: str) -> Response:
    """The end of the log alone, which refreshes itself."""
    deployment = services.deployments.get(caller, name)
    log = services.deployments.log(deployment)
    return render("deployments/log.html", deployment=deployment, log=log)


@router.get("/{name}/version")
def version_dialog(caller: Changer, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    form = Form({"version": (str(deployment.model_version),)})
    return render(
        _VERSION, user=caller, form=form, deployment=deployment, found=_versions(services, deployment)
    )


@router.post("/{name}/version")
def change_version(
    request: Request, caller: Caller, services: Everything, name: str, form: Filled
) -> Response:
    deployment = services.deployments.get(caller, name)
    try:
        services.deployments.update(deployment, version=parse_version(form, "version"))
    except TidegaugeError as error:
        found = _versions(services, deployment)
        return refuse(_VERSION, form, error, user=caller, deployment=deployment, found=found)
    return go(request, _path(deployment))


@router.post("/{name}/start")
def start_deployment(request: Request, caller: Caller, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    services.deployments.update(deployment, wanted=DeploymentState.RUNNING)
    return go(request, _path(deployment))


@router.post("/{name}/stop")
def stop_deployment(request: Request, caller: Caller, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    services.deployments.update(deployment, wanted=DeploymentState.STOPPED)
    return go(request, _path(deployment))


@router.post("/{name}/logging")
def switch_logging(
    request: Request, caller: Caller, services: Everything, name: str, form: Filled
) -> Response:
    deployment = services.deployments.get(caller, name)
    services.deployments.update(deployment, logging=form.text("logging") == "on")
    return go(request, _path(deployment))


@router.get("/{name}/delete")
def confirm_deletion(caller: Changer, services: Everything, name: str) -> Response:
    return render(
        "deployments/delete.html", user=caller, form=Form(), **_deletion(services, caller.name, name)
    )


@router.post("/{name}/delete")
def delete_deployment(request: Request, caller: Caller, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    try:
        services.deployments.delete(deployment)
    except TidegaugeError as error:
        known = _deletion(services, caller.name, name)
        return refuse("deployments/delete.html", Form(), error, user=caller, **known)
    return go(request, "/deployments")


def parse_version(form: Form, field: str) -> int:
    """Return the number of a version that was chosen."""
    text = form.text(field)
    if not text:
        raise InvalidInputError.of(field, f"{field} is missing; choose one.")
    return int(parse(dict[str, int], {field: text})[field])


def _new(services: Services, owner: str, form: Form) -> dict[str, Any]:
    return {"on_kserve": services.kserve.is_connected, **choices.models(services, owner, form)}


def _chosen(form: Form, field: str, remedy: str) -> None:
    if not form.text(field):
        raise InvalidInputError.of(field, f"{field} is missing; {remedy}.")


def _clusters(services: Services) -> dict[str, Any]:
    links = services.clusters.page()
    return {"clusters": [(link.name, f"{link.name} ({link.url})") for link in links]}


def _followed(services: Services, deployment: Deployment) -> Followed | None:
    try:
        return services.importing.followed(deployment)
    except ConflictError:  # it is not imported
        return None


def _versions(services: Services, deployment: Deployment) -> list[Version]:
    return choices.versions(services, RepositoryKind.MODEL, deployment.owner, deployment.model_id)


def _monitor(services: Services, asker: Asker, deployment: Deployment) -> Monitor | None:
    """Return the monitor of a deployment; none where the asker may not see it."""
    try:
        return services.monitors.get(asker, deployment.id)
    except NotFoundError:
        return None


def _deletion(services: Services, owner: str, name: str) -> dict[str, Any]:
    deployment = services.deployments.get(owner, name)
    return {"deployment": deployment, "monitor": _monitor(services, owner, deployment)}


def _path(deployment: Deployment) -> str:
    return f"/deployments/{deployment.name}"
