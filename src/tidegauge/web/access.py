"""Who is calling: every route depends on ``signed_in`` unless it declares itself open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.requests import HTTPConnection

from tidegauge.domain.users import Principal, Scope
from tidegauge.errors import ForbiddenError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query as ListQuery

COOKIE = "tidegauge_token"

#: Where programs come in; everywhere else people do, in a browser.
PROGRAMS = ("/api/", "/v1/", "/serve/")

#: Declares that a route needs no token, e.g. ``@router.get("/healthz", openapi_extra=OPEN)``.
OPEN = {"x-access": "open"}


def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


def _secret(connection: HTTPConnection) -> str:
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    # Browsers send cookies by themselves, so a cookie changes things only through the pages' own forms,
    # which check where they come from.
    changes = connection.scope.get("method") not in ("GET", "HEAD")
    if changes and connection.url.path.startswith(PROGRAMS):
        return ""
    return connection.cookies.get(COOKIE, "")


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
    if not caller.may_ingest(request.path_params.get("deployment_id", "")):
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
