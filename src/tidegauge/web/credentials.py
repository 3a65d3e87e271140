"""What callers show of who they are: a token in a header, or the cookie of a sign-in."""

from __future__ import annotations

from base64 import b64decode

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

COOKIE = "tidegauge_token"

COLLECTOR = "/v1/"

#: Where programs come in; everywhere else people do, in a browser.
PROGRAMS = ("/api/", COLLECTOR, "/serve/")


def address_of(connection: HTTPConnection) -> str:
    """Return where a request comes from, as the server was told by a proxy that it trusts, or sees."""
    return connection.client.host if connection.client else ""


def agent_of(connection: HTTPConnection) -> str:
    """Return what a browser says of itself."""
    return connection.headers.get("user-agent", "")


def sign_in_with(request: Request, response: Response, secret: str) -> Response:
    """Let a browser keep the secret of a session, out of the reach of scripts and of other sites' forms.

    Not SameSite=Strict: who follows a link to a page, as from a mail or from a provider of sign-ins, is
    signed in there.
    """
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, secret, httponly=True, samesite="lax", secure=secure)
    return response


def secret_of(connection: HTTPConnection) -> str:
    """Return the token of a request, from its header or from the cookie of a sign-in; empty without."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic" and connection.url.path.startswith(COLLECTOR):
        return _of_basic(value)
    # Browsers send cookies by themselves, so a cookie changes things only through the pages' own forms,
    # which check where they come from.
    changes = connection.scope.get("method") not in ("GET", "HEAD")
    if changes and connection.url.path.startswith(PROGRAMS):
        return ""
    return connection.cookies.get(COOKIE, "")


def _of_basic(credentials: str) -> str:
    """Return the token of user information in a URL, which is all that KServe's logger can send.

    It is the password beside any name, or the name where there is no password.
    """
    try:
        name, _, password = b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return ""
    return password or name
