"""Developer Settings: the access tokens of who is signed in."""

from __future__ import annotations

from fastapi import Request, Response

from tidegauge.errors import TidegaugeError
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Everything
from tidegauge.web.credentials import COOKIE

PATH = "/settings/developer"
_ROWS = 50

router = Pages(prefix=PATH)


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
def new_token(caller: Caller) -> Response:
    return render("settings/new_token.html", user=caller, section="settings", path=PATH, form=Form())


@router.post("/new")
def create_token(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    """Issue a token and show its secret, once: the answer is the page, and nothing keeps it."""
    try:
        token, secret = services.people.issue_named(caller.user, form.text("name"))
    except TidegaugeError as error:
        return refuse("settings/new_token.html", form, error, user=caller, section="settings", path=PATH)
    return render(
        "settings/token.html",
        user=caller,
        section="settings",
        path=PATH,
        token=token,
        secret=secret,
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
    if token_id != caller.token.id:
        return go(request, PATH)
    answer = go(request, "/sign-in")
    answer.delete_cookie(COOKIE)
    return answer
