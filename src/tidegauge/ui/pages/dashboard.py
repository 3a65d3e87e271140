"""The dashboard: every monitor at a glance, the worst first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response

from tidegauge.domain.status import ORDER
from tidegauge.services.history import Glance
from tidegauge.ui import glances, sparks
from tidegauge.ui.forms import check_known
from tidegauge.ui.site import Pages, go, has, render
from tidegauge.web.access import Caller, Everything

_SORTS: Mapping[str, Callable[[Glance], Any]] = {
    "status": lambda one: (-ORDER.index(one.status), not one.alarm, -one.firing),  # the worst first
    "name": lambda one: one.name,
    "window": lambda one: -one.end.timestamp() if one.end else 0.0,  # the last first
}

router = Pages()


@router.get("/")
def dashboard(
    request: Request,
    caller: Caller,
    services: Everything,
    q: str = "",
    status: str = "",
    state: str = "",
    sort: str = "status",
    page: int = 1,
) -> Response:
    if not has("/monitors"):
        return go(request, "/deployments")
    sort = sort or "status"
    glances.check(status, state)
    check_known("sort", sort, _SORTS)
    overview = services.history.overview(caller.name, everything=caller.is_operator)
    found = glances.matching(overview.monitors, q, status, state)
    part = glances.Part.of(sorted(found, key=_SORTS[sort]), page)
    given = {"q": q, "status": status, "state": state, "sort": sort if sort != "status" else ""}
    return render(
        "dashboard.html",
        user=caller,
        overview=overview,
        counts={status: overview.count(status) for status in reversed(ORDER)},
        part=part,
        rows=[(glance, sparks.of_days(glance.days)) for glance in part.rows],
        fired=sparks.of_alerts(overview.fired),
        given=given,
        link=lambda **changes: f"/?{urlencode({k: v for k, v in {**given, **changes}.items() if v})}",
    )
