"""Developer Settings: the access tokens of who is signed in."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request, Response

from tidegauge.domain.users import AccessToken, Principal, Scope
from tidegauge.errors import TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Everything
from tidegauge.web.auditing import also
from tidegauge.web.credentials import COOKIE

PATH = "/settings/developer"
_ROWS = 50

router = Pages(prefix=PATH)


@dataclass(frozen=True)
class _Typed:
    """What the form of a token has beside its name."""

    scope: Scope = Scope.WRITE
    days: int | None = None
    deployment: str = ""


@router.get("")
def developer_settings(
    request: Request,
    caller: Caller,
    services: Everything,
    q: str = "",
    sort: str = "-id",
    cursor: str = "",
) -> Response:
    query = Query(_ROWS, cursor, sort, q)
    return render(
        "settings/developer.html",
        user=caller,
        section="settings",
        path=PATH,
        query=query,
        page=services.people.tokens(caller.user, query),
        url=str(request.base_url).rstrip("/"),
    )


@router.get("/new")
def new_token(caller: Caller, services: Everything) -> Response:
    return render("settings/new_token.html", form=Form(), **_values(caller, services))


@router.post("/new")
def create_token(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    """Issue a token and show its secret, once: the answer is the page, and nothing keeps it."""
    try:
        token = _issue(caller, services, form)
    except TidegaugeError as error:
        return refuse("settings/new_token.html", form, error, **_values(caller, services))
    also(request, name=token.name, id=token.id, scope=token.scope)
    return render(
        "settings/token.html",
        user=caller,
        section="settings",
        path=PATH,
        token=token,
        url=str(request.base_url).rstrip("/"),
    )


@router.get("/{token_id}/revoke")
def confirm_revocation(caller: Caller, services: Everything, token_id: str) -> Response:
    token = services.people.token(caller.user, token_id)
    return render(
        "settings/revoke.html", user=caller, section="settings", path=PATH, token=token, form=Form()
    )


@router.post("/{token_id}/revoke")
def revoke_token(request: Request, caller: Caller, services: Everything, token_id: str) -> Response:
    services.people.revoke_own(caller.user, token_id)
    if token_id != caller.token_id:
        return go(request, PATH)
    answer = go(request, "/sign-in")
    answer.delete_cookie(COOKIE)
    return answer


def _issue(caller: Principal, services: Services, form: Form) -> AccessToken:
    name = form.text("name")
    wanted = {key: form.text(key) for key in ("scope", "days", "deployment") if form.text(key)}
    typed = parse(_Typed, wanted)
    if typed.scope is not Scope.INGEST or not typed.deployment:
        return services.people.issue_named(caller.user, name, typed.scope, typed.days, caller.token)
    deployment = services.deployments.get(caller, typed.deployment)
    return services.people.issue_ingest(caller.user, deployment.id, name, typed.days, caller.token)


def _values(caller: Principal, services: Services) -> dict[str, object]:
    deployments = services.deployments.page(caller, Query(1000, sort="name")).items
    names = [("", "choose one"), *((deployment.name, deployment.name) for deployment in deployments)]
    return {"user": caller, "section": "settings", "path": PATH, "deployments": names}
