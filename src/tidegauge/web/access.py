"""Who is calling: every route depends on ``signed_in`` unless it declares itself open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from tidegauge.domain.users import Principal, Scope
from tidegauge.errors import ForbiddenError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query as ListQuery
from tidegauge.web.credentials import secret_of

#: Declares that a route needs no token, e.g. ``@router.get("/healthz", openapi_extra=OPEN)``.
OPEN = {"x-access": "open"}


def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


def principal(connection: HTTPConnection) -> Principal:
    """Recognise the caller by bearer token or by the sign-in cookie."""
    return services_of(connection).people.authenticate(secret_of(connection))


def signed_in(connection: HTTPConnection) -> Principal:
    """Recognise a caller whose token is good for everything that its user may do."""
    caller = principal(connection)
    if caller.token.scope is not Scope.ALL:
        raise ForbiddenError(f"This token is good only for {caller.token.scope.value}; use another one.")
    return caller


async def sender(connection: HTTPConnection) -> Principal:
    """Recognise who reports events; of which deployments they may, the collector knows."""
    return await services_of(connection).senders.recognise(secret_of(connection))


def list_query(
    limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: str = "", sort: str = "-id", q: str = ""
) -> ListQuery:
    return ListQuery(limit, cursor, sort, q)


Everything = Annotated[Services, Depends(services_of)]
Caller = Annotated[Principal, Depends(signed_in)]
Listing = Annotated[ListQuery, Depends(list_query)]
Requirement = Callable[..., Any]
