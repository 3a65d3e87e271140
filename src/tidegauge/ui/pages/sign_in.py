"""Signing in with a token, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from tidegauge.errors import NotSignedInError
from tidegauge.ui import words
from tidegauge.ui.site import HEADERS, Pages, render
from tidegauge.web.access import OPEN, Caller, Everything
from tidegauge.web.credentials import COOKIE

router = Pages()


@router.get("/sign-in", openapi_extra=OPEN)
def sign_in_page(next: str = "/") -> Response:  # noqa: A002 - the name in the URL
    return render("sign_in.html", next=words.own_path(next), error="")


@router.post("/sign-in", openapi_extra=OPEN)
def sign_in(
    request: Request,
    services: Everything,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002 - the name in the form
) -> Response:
    target = words.own_path(next)
    try:
        services.people.authenticate(token.strip())
    except NotSignedInError:
        error = "The token is not valid; paste it whole, it begins with tg_."
        return render("sign_in.html", 401, next=target, error=error)
    response = RedirectResponse(target, 303, headers=HEADERS)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token.strip(), httponly=True, samesite="strict", secure=secure)
    return response


@router.post("/sign-out")
def sign_out(caller: Caller) -> Response:  # noqa: ARG001 - only who is signed in can sign out
    response = RedirectResponse("/sign-in", 303, headers=HEADERS)
    response.delete_cookie(COOKIE)
    return response
