"""Deployments of other servers, how much of a log is kept, and the tokens that report events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import Deployment, Origin
from tidegauge.errors import FieldError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.services.people import LOG_TOKEN
from tidegauge.ui import words
from tidegauge.ui.forms import Filled, Form, parse, seen
from tidegauge.ui.pages import choices
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything
from tidegauge.web.auditing import also

_REGISTER, _CHANGE, _NEW_TOKEN = (
    "deployments/register.html",
    "deployments/change.html",
    "deployments/new_token.html",
)

_REPLICAS = ("min_replicas", "max_replicas")
_NOT_REGISTERED = ("look", "served_model", *_REPLICAS)

router = Pages(prefix="/deployments")


@dataclass(frozen=True)
class _Typed:
    """What a form says of a deployment of another server; a field that is empty has its default."""

    name: str = ""
    model: str = ""
    version: int = 0
    classes: str = ""
    service: str = ""
    namespace: str = ""
    predict_url: str = ""
    look: bool = False  # what its server says
    served_model: str = ""  # on that server
    sampling: float = 1.0
    keep_days: int | None = None
    keep_bytes: int | None = None
    min_replicas: int = 1
    max_replicas: int = 1

    def fields(self) -> dict[str, Any]:
        given = {name: value for name, value in vars(self).items() if name not in _NOT_REGISTERED}
        return {**given, "classes": tuple(filter(None, map(str.strip, self.classes.split(","))))}


@router.get("/register")
def register_dialog(caller: Caller, services: Everything) -> Response:
    return render(_REGISTER, user=caller, form=Form(), **choices.models(services, caller.name, Form()))


@router.post("/register")
def register_deployment(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    try:
        made = _registered(services, caller.name, parse(_Typed, form.nested()))
    except TidegaugeError as error:
        return refuse(_REGISTER, form, error, user=caller, **choices.models(services, caller.name, form))
    return go(request, _path(made))


def _registered(services: Services, owner: str, typed: _Typed) -> Deployment:
    """Add the deployment, described by what its server says where that is wanted."""
    fields = typed.fields()
    if not typed.look:
        return services.deployments.register(owner=owner, **fields)
    url = fields.pop("predict_url")
    try:
        found = services.servers.look_up(owner, url, typed.served_model)
    except TidegaugeError as error:
        raise _named(error) from error
    return services.servers.bring_in_found(owner, found, **fields)


def _named(error: TidegaugeError) -> TidegaugeError:
    """Return an error of a look with the fields of this form, where a URL and a model are other things."""
    names = {"url": "predict_url", "model": "served_model"}
    errors = tuple(
        FieldError(names.get(item.field, item.field), item.message.replace(item.field, names[item.field], 1))
        if item.field in names
        else item
        for item in error.errors
    )
    return type(error)(error.message, errors)


@router.post("/{name}/look")
def look_again(request: Request, caller: Caller, services: Everything, name: str) -> Response:
    deployment = services.servers.look_again(services.deployments.get(caller, name))
    return go(request, f"{_path(deployment)}#served")


@router.get("/{name}/change")
def change_dialog(caller: Changer, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    values = {field: (_text(deployment, field),) for field in _fields(deployment)}
    return render(_CHANGE, user=caller, form=Form(values), **_shown(services, deployment))


@router.post("/{name}/change")
def change_deployment(
    request: Request, caller: Caller, services: Everything, name: str, form: Filled
) -> Response:
    deployment = services.deployments.get(caller, name)
    try:
        read = parse(_Typed, form.nested())
        typed = {**vars(read), **read.fields()}
        form.check_seen(_seen(deployment))
        services.deployments.update(deployment, **{field: typed[field] for field in _fields(deployment)})
    except TidegaugeError as error:
        return refuse(_CHANGE, form, error, user=caller, **_shown(services, deployment))
    return go(request, _path(deployment))


@router.get("/{name}/traffic")
def deployment_traffic(caller: Caller, services: Everything, name: str) -> Response:
    """How much comes alone, which refreshes itself."""
    deployment = services.deployments.get(caller, name)
    flow = services.traffic.flow(deployment.id)
    return render(
        "deployments/traffic.html",
        deployment=deployment,
        flow=flow,
        kept=_kept(deployment),
        coverage=services.captures.of_span(deployment.id).total,
    )


@router.get("/{name}/tokens/new")
def new_token(caller: Changer, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    return render(_NEW_TOKEN, user=caller, form=Form(), deployment=deployment, path=_path(deployment))


@router.post("/{name}/tokens/new")
def create_token(request: Request, caller: Caller, services: Everything, name: str, form: Filled) -> Response:
    """Issue a token and show its secret, once: the answer is the page, and nothing keeps it."""
    deployment = services.deployments.get(caller, name)
    known = {"user": caller, "deployment": deployment, "path": _path(deployment)}
    try:
        token = services.people.issue_ingest(caller.user, deployment.id, form.text("name"), by=caller.token)
    except TidegaugeError as error:
        return refuse(_NEW_TOKEN, form, error, **known)
    also(request, token=token.name, id=token.id)
    address = str(request.base_url).rstrip("/")
    return render("deployments/token.html", token=token, address=address, **known)


@router.get("/{name}/tokens/{token}/revoke")
def confirm_revocation(caller: Changer, services: Everything, name: str, token: str) -> Response:
    deployment = services.deployments.get(caller, name)
    found = services.people.ingest_token(deployment.id, token)
    return render(
        "deployments/revoke.html",
        user=caller,
        form=Form(),
        deployment=deployment,
        path=_path(deployment),
        token=found,
        is_servers=found.name == LOG_TOKEN,
    )


@router.post("/{name}/tokens/{token}/revoke")
def revoke_token(request: Request, caller: Caller, services: Everything, name: str, token: str) -> Response:
    deployment = services.deployments.get(caller, name)
    services.people.revoke(services.people.ingest_token(deployment.id, token).id)
    return go(request, _path(deployment))


def _fields(deployment: Deployment) -> tuple[str, ...]:
    """Return what the dialog changes; the version that is served here has one of its own."""
    known = deployment.changeable - ({"version"} if deployment.origin is Origin.LOCAL else set())
    return tuple(field for field in vars(_Typed()) if field in known)


def _text(deployment: Deployment, field: str) -> str:
    if field == "classes":
        return ", ".join(deployment.classes)
    if field in _REPLICAS:
        return str(getattr(deployment.kserve, field, 1))
    if field == "sampling":
        return f"{deployment.sampling:g}"
    value = deployment.model_version if field == "version" else getattr(deployment, field)
    return "" if value is None else str(value)


def _shown(services: Services, deployment: Deployment) -> dict[str, Any]:
    versions = choices.versions(services, RepositoryKind.MODEL, deployment.owner, deployment.model_id)
    return {
        "deployment": deployment,
        "fields": _fields(deployment),
        "found": versions,
        "seen": _seen(deployment),
    }


def _seen(deployment: Deployment) -> str:
    return seen([_text(deployment, field) for field in _fields(deployment)])


def _kept(deployment: Deployment) -> str:
    bounds = [f"{deployment.keep_days} days"] if deployment.keep_days else []
    bounds += [words.size(deployment.keep_bytes)] if deployment.keep_bytes else []
    unset = None in (deployment.keep_days, deployment.keep_bytes)
    return " and at most ".join(bounds) or ("as the server is set" if unset else "all")


def _path(deployment: Deployment) -> str:
    return f"/deployments/{deployment.name}"
