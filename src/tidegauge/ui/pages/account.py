"""The account of who is signed in: password and sessions."""

from __future__ import annotations

from fastapi import Request, Response

from tidegauge.domain.users import Principal
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Everything
from tidegauge.web.credentials import COOKIE, address_of

PATH = "/settings/account"
_ROWS = 50

router = Pages(prefix=PATH)


@router.get("")
def show_account(caller: Caller, services: Everything, cursor: str = "") -> Response:
    query = Query(_ROWS, cursor)
    sessions = services.sign_ins.sessions(caller.user, query, caller)
    return render("settings/account.html", query=query, page=sessions, **_values(caller, services))


@router.get("/password")
def password_form(caller: Caller, services: Everything) -> Response:
    return render("settings/password.html", form=Form(), **_values(caller, services))


@router.post("/password")
def change_password(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    chosen = _raw(form, "chosen")
    try:
        if chosen != _raw(form, "again"):
            raise InvalidInputError.of("again", "again is not what you chose above; type it twice the same.")
        services.sign_ins.change(caller, _raw(form, "password"), chosen, address_of(request))
    except TidegaugeError as error:
        # Nothing that was typed comes back.
        return refuse("settings/password.html", Form(), error, **_values(caller, services))
    return go(request, PATH)


@router.get("/sessions/{session_id}/end")
def confirm_end(caller: Caller, services: Everything, session_id: str) -> Response:
    return render(
        "settings/end_session.html", form=Form(), session_id=session_id, **_values(caller, services)
    )


@router.post("/sessions/{session_id}/end")
def end_session(request: Request, caller: Caller, services: Everything, session_id: str) -> Response:
    services.sign_ins.end(caller.user, session_id)
    if caller.session is None or caller.session.id != session_id:
        return go(request, PATH)
    answer = go(request, "/sign-in")
    answer.delete_cookie(COOKIE)
    return answer


def _raw(form: Form, name: str) -> str:
    """Return a password as it was typed, spaces around it too."""
    return form.all(name)[-1] if form.all(name) else ""


def _values(caller: Principal, services: Services) -> dict[str, object]:
    has_password = services.sign_ins.has_password(caller.user)
    return {"user": caller, "section": "settings", "path": PATH, "has_password": has_password}
