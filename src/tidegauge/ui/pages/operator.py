"""Pages of the operator: this cluster, and its users."""

from __future__ import annotations

from fastapi import Response

from tidegauge.domain.users import Principal
from tidegauge.errors import ForbiddenError
from tidegauge.storage.rows import Query
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

_ROWS = 50

router = Pages()


@router.get("/clusters")
def clusters(caller: Caller, services: Everything) -> Response:
    _check(caller)
    return render("operator/clusters.html", user=caller, facts=services.cluster.facts())


@router.get("/users")
def users(
    caller: Caller, services: Everything, q: str = "", sort: str = "name", cursor: str = ""
) -> Response:
    _check(caller)
    query = Query(_ROWS, cursor, sort, q)
    page = services.people.users(query)
    return render("operator/users.html", user=caller, page=page, query=query, path="/users")


def _check(caller: Principal) -> None:
    if not caller.is_operator:
        raise ForbiddenError("This page is the operator's alone; ask the operator of this cluster.")
