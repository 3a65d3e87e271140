"""Signing in with name and password, or with a token; and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from tidegauge.domain.users import Means
from tidegauge.errors import NotFoundError, NotSignedInError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.services.sign_ins import OneTimePasswordError
from tidegauge.services.single_sign_on import Returned, SingleSignOn
from tidegauge.ui import words
from tidegauge.ui.site import HEADERS, Pages, render
from tidegauge.web.access import OPEN, Everything, Reader
from tidegauge.web.auditing import signed_in_as, signing_in
from tidegauge.web.credentials import COOKIE, address_of, agent_of, sign_in_with
from tidegauge.web.errors import headers_of, status_of

_CHOOSE, _PROVIDER = "/sign-in/password", "/sign-in/provider"
_STATE = "tidegauge_state"  # cookie of a browser that is away at the provider

router = Pages()


@router.get("/sign-in", openapi_extra=OPEN)
def sign_in_page(services: Everything, next: str = "/") -> Response:  # noqa: A002 - the name in the URL
    return _ask(services, next)


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
            return _ask(services, next, error, name=name, field="password")
        return _ask(
            services, next, NotSignedInError("The token is not valid; paste it whole, it begins with tg_.")
        )
    except TidegaugeError as error:
        return _ask(services, next, error, name=name, field="password" if name or password else "token")
    signed_in_as(request, session)
    return sign_in_with(request, _go(words.own_path(next)), secret)


@router.get(_PROVIDER, openapi_extra=OPEN)
def leave_for_provider(
    request: Request,
    services: Everything,
    next: str = "/",  # noqa: A002 - the name in the URL
) -> Response:
    """Send a browser to the provider, with what it has to bring back."""
    try:
        url, state = _single_sign_on(services).begin(_callback(request), words.own_path(next))
    except TidegaugeError as error:
        return _ask(services, next, error, field="provider")
    response = RedirectResponse(url, 303, headers=HEADERS)
    secure = request.url.scheme == "https"
    response.set_cookie(
        _STATE, state, max_age=600, path=_PROVIDER, httponly=True, samesite="lax", secure=secure
    )
    return response


@router.get(f"{_PROVIDER}/callback", openapi_extra=OPEN)
def return_from_provider(
    request: Request,
    services: Everything,
    code: str = "",
    state: str = "",
    iss: str = "",
    error: str = "",
) -> Response:
    """Sign in who comes back from the provider."""
    signing_in(request, Means.PROVIDER)
    returned = Returned(code, state, request.cookies.get(_STATE, ""), iss, error)
    try:
        session, secret, target = _single_sign_on(services).finish(
            returned, address_of(request), agent_of(request)
        )
    except TidegaugeError as refused:
        page = _ask(services, "/", refused, field="provider")
        page.delete_cookie(_STATE, path=_PROVIDER)
        return page
    signed_in_as(request, session)
    response = sign_in_with(request, _go(target), secret)
    response.delete_cookie(_STATE, path=_PROVIDER)
    return response


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
def sign_out(caller: Reader, services: Everything) -> Response:
    if caller.session:
        services.sign_ins.end(caller.user, caller.session.id)
    response = _go("/sign-in")
    response.delete_cookie(COOKIE)
    return response


def _single_sign_on(services: Services) -> SingleSignOn:
    if services.single_sign_on is None:
        raise NotFoundError("This cluster has no single sign-on; sign in with a password or a token.")
    return services.single_sign_on


def _callback(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{_PROVIDER}/callback"


def _ask(
    services: Services,
    next_: str,
    error: TidegaugeError | None = None,
    *,
    name: str = "",
    field: str = "token",
) -> Response:
    """Render the sign-in, with what is wrong at its field."""
    errors = {field: error.message} if error else {}
    status = status_of(error)[0] if error else 200
    label = services.single_sign_on.label if services.single_sign_on else ""
    page = render(
        "sign_in/sign_in.html", status, next=words.own_path(next_), name=name, errors=errors, label=label
    )
    page.headers.update(headers_of(error) if error else {})
    return page


def _go(path: str) -> Response:
    return RedirectResponse(path, 303, headers=HEADERS)
