"""Who is calling: every route depends on ``signed_in`` unless it declares itself open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from tidegauge.domain.cluster import absence
from tidegauge.domain.users import Principal, Scope
from tidegauge.errors import ForbiddenError, NotFoundError
from tidegauge.services.accounts import check_operator
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query as ListQuery
from tidegauge.web.auditing import audited_of
from tidegauge.web.credentials import address_of, secret_of

#: Declares that a route needs no token, e.g. ``@router.get("/healthz", openapi_extra=OPEN)``.
OPEN = {"x-access": "open"}
_READING = ("GET", "HEAD")


def services_of(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


def principal(connection: HTTPConnection) -> Principal:
    """Recognise the caller by bearer token or by the sign-in cookie."""
    found = services_of(connection).people.authenticate(secret_of(connection), address_of(connection))
    audited_of(connection).caller = found
    return found


def reader(connection: HTTPConnection) -> Principal:
    """Recognise a caller who may read, whatever the request is for: enough to end one's own session."""
    caller = principal(connection)
    if caller.scope not in (Scope.READ, Scope.WRITE):
        raise ForbiddenError(f"This token is good only for {caller.scope.value}; use another one.")
    return caller


def signed_in(connection: HTTPConnection) -> Principal:
    """Recognise a caller who may do what the request is for: with a token that only reads, read."""
    caller = reader(connection)
    if caller.scope is Scope.READ and connection.scope.get("method") not in _READING:
        raise ForbiddenError("This token only reads and changes nothing; use one of the scope write.")
    check_place(connection)
    return replace(caller, reading=connection.scope.get("method") in _READING)


#: Of routers that are for those who are signed in.
CLOSED = [Depends(signed_in)]


def changing(caller: Annotated[Principal, Depends(signed_in)]) -> Principal:
    """Recognise who opens the form of a change, which needs as much as the change."""
    return replace(caller, reading=False)


def linked(connection: HTTPConnection) -> Principal:
    """Recognise another cluster that reads this one, by a token of the scope link or write."""
    caller = principal(connection)
    if caller.scope not in (Scope.LINK, Scope.WRITE):
        raise ForbiddenError(
            f"This token is good only for {caller.scope.value}; use one of the scope link, or write."
        )
    check_place(connection)
    return caller


def operating(caller: Annotated[Principal, Depends(signed_in)]) -> Principal:
    """Recognise an operator."""
    check_operator(caller.user)
    return caller


def check_place(connection: HTTPConnection) -> None:
    """Raise NotFoundError for what a cluster of this role does not have; every closed route comes by here."""
    if sentence := absence(services_of(connection).settings.role, connection.url.path):
        raise NotFoundError(sentence)


async def sender(connection: HTTPConnection) -> Principal:
    """Recognise who reports events; of which deployments they may, the collector knows."""
    senders = services_of(connection).senders
    return await senders.recognise(secret_of(connection), address_of(connection))


def list_query(
    limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: str = "", sort: str = "-id", q: str = ""
) -> ListQuery:
    return ListQuery(limit, cursor, sort, q)


Everything = Annotated[Services, Depends(services_of)]
Caller = Annotated[Principal, Depends(signed_in)]
Reader = Annotated[Principal, Depends(reader)]
Changer = Annotated[Principal, Depends(changing)]
Operator = Annotated[Principal, Depends(operating)]
Linked = Annotated[Principal, Depends(linked)]
Listing = Annotated[ListQuery, Depends(list_query)]
Requirement = Callable[..., Any]
