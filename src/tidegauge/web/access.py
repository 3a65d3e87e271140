"""Who is calling: every route depends on ``signed_in`` unless it declares itself open."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.requests import HTTPConnection

from tidegauge.domain.users import Principal, Scope
from tidegauge.errors import ForbiddenError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query as ListQuery

COOKIE = "tidegauge_token"

COLLECTOR = "/v1/"

#: Where programs come in; everywhere else people do, in a browser.
PROGRAMS = ("/api/", COLLECTOR, "/serve/")

#: Declares that a route needs no token, e.g. ``@router.get("/healthz", openapi_extra=OPEN)``.
OPEN = {"x-access": "open"}


def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


def _secret(connection: HTTPConnection) -> str:
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


def principal(connection: HTTPConnection) -> Principal:
    """Recognise the caller by bearer token or by the sign-in cookie."""
    return services_of(connection).people.authenticate(_secret(connection))


def signed_in(connection: HTTPConnection) -> Principal:
    """Recognise a caller whose token is good for everything that its user may do."""
    caller = principal(connection)
    if caller.token.scope is not Scope.ALL:
        raise ForbiddenError(f"This token is good only for {caller.token.scope.value}; use another one.")
    return caller


def may_ingest(request: Request) -> Principal:
    """Recognise a caller that may report events of the deployment in the path (or of any, without one)."""
    caller = principal(request)
    deployment_id = request.path_params.get("deployment_id", "")
    owner = services_of(request).deployments.owner_of(deployment_id) if deployment_id else None
    # A full token is told by the collector that there is no such deployment.
    if not caller.may_ingest(deployment_id, caller.name if owner is None else owner):
        raise ForbiddenError(
            "This token reports events of another deployment; use the one that was issued for it."
        )
    return caller


def list_query(
    limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: str = "", sort: str = "-id", q: str = ""
) -> ListQuery:
    return ListQuery(limit, cursor, sort, q)


Everything = Annotated[Services, Depends(services_of)]
Caller = Annotated[Principal, Depends(signed_in)]
Listing = Annotated[ListQuery, Depends(list_query)]
Requirement = Callable[..., Any]
