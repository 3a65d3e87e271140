"""Signing in with name and password, or with a token; and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from tidegauge.domain.users import Means
from tidegauge.errors import NotSignedInError, TidegaugeError
from tidegauge.services.sign_ins import OneTimePasswordError
from tidegauge.ui import words
from tidegauge.ui.site import HEADERS, Pages, render
from tidegauge.web.access import OPEN, Caller, Everything
from tidegauge.web.auditing import signed_in_as, signing_in
from tidegauge.web.credentials import COOKIE, address_of, agent_of, sign_in_with
from tidegauge.web.errors import headers_of, status_of

_CHOOSE = "/sign-in/password"

router = Pages()


@router.get("/sign-in", openapi_extra=OPEN)
def sign_in_page(next: str = "/") -> Response:  # noqa: A002 - the name in the URL
    return _ask(next)


@router.post("/sign-in", openapi_extra=OPEN)
def sign_in(
    request: Request,
    services: Everything,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002 - the name in the form
) -> Response:
    token = token.strip()
    place = address_of(request), agent_of(request)
    by_token = bool(token) or not (name or password)
    signing_in(request, Means.TOKEN if by_token else Means.PASSWORD, name.strip())
    try:
        if by_token:
            session, secret = services.sign_ins.by_token(token, *place)
        else:
            session, secret = services.sign_ins.by_password(name, password, *place)
    except OneTimePasswordError:
        return _go(f"{_CHOOSE}?name={words.quoted(name.strip())}&next={words.quoted(words.own_path(next))}")
    except NotSignedInError as error:
        if name or password:
            return _ask(next, error, name=name, field="password")
        return _ask(next, NotSignedInError("The token is not valid; paste it whole, it begins with tg_."))
    except TidegaugeError as error:
        return _ask(next, error, name=name, field="password" if name or password else "token")
    signed_in_as(request, session)
    return sign_in_with(request, _go(words.own_path(next)), secret)


@router.get(_CHOOSE, openapi_extra=OPEN)
def choose_password_page(name: str = "", next: str = "/") -> Response:  # noqa: A002 - the name in the URL
    return render("sign_in/password.html", name=name, next=words.own_path(next), errors={})


@router.post(_CHOOSE, openapi_extra=OPEN)
def choose_password(
    request: Request,
    services: Everything,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    chosen: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002 - the name in the form
) -> Response:
    """Replace a password, one that is good once above all, and sign in with the new one."""
    signing_in(request, Means.PASSWORD, name.strip())
    errors: dict[str, str] = {}
    status, headers = 422, {}
    address, agent = address_of(request), agent_of(request)
    if chosen != again:
        errors["again"] = "This is not what you chose above; type it twice the same."
    else:
        try:
            services.sign_ins.choose(name, password, chosen, address)
            _, secret = services.sign_ins.by_password(name, chosen, address, agent)
            return sign_in_with(request, _go(words.own_path(next)), secret)
        except TidegaugeError as error:
            status, headers = status_of(error)[0], headers_of(error)
            told = {item.field: item.message for item in error.errors} or {"password": error.message}
            errors = {field: text.replace("chosen", "The new password", 1) for field, text in told.items()}
    page = render("sign_in/password.html", status, name=name, next=words.own_path(next), errors=errors)
    page.headers.update(headers)
    return page


@router.post("/sign-out")
def sign_out(caller: Caller, services: Everything) -> Response:
    if caller.session:
        services.sign_ins.end(caller.user, caller.session.id)
    response = _go("/sign-in")
    response.delete_cookie(COOKIE)
    return response


def _ask(
    next_: str, error: TidegaugeError | None = None, *, name: str = "", field: str = "token"
) -> Response:
    """Render the sign-in, with what is wrong at its field."""
    errors = {field: error.message} if error else {}
    status = status_of(error)[0] if error else 200
    page = render("sign_in/sign_in.html", status, next=words.own_path(next_), name=name, errors=errors)
    page.headers.update(headers_of(error) if error else {})
    return page


def _go(path: str) -> Response:
    return RedirectResponse(path, 303, headers=HEADERS)
