"""The dashboard: every monitor at a glance, the worst first."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Response

from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.status import ORDER, Status
from tidegauge.errors import InvalidInputError
from tidegauge.services.history import Filters
from tidegauge.ui import sparks
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

_ROWS = 50

router = Pages()


@router.get("/")
def dashboard(
    caller: Caller,
    services: Everything,
    q: str = "",
    status: str = "",
    state: str = "",
    sort: str = "status",
    page: int = 1,
) -> Response:
    for name, value, known in (("status", status, Status), ("state", state, MonitorState)):
        if value and value not in list(known):
            words = ", ".join(known)
            raise InvalidInputError.of(name, f"{name} is {value!r}; use one of {words}, or leave it out.")
    overview = services.history.overview(caller.name)
    found = overview.filtered(Filters(q, status, state, sort))
    page = max(1, min(page, -(-len(found) // _ROWS)))
    given = {"q": q, "status": status, "state": state, "sort": sort if sort != "status" else ""}
    return render(
        "dashboard.html",
        user=caller,
        overview=overview,
        counts={status: overview.count(status) for status in reversed(ORDER)},
        found=len(found),
        rows=[(glance, sparks.of_days(glance.days)) for glance in found[(page - 1) * _ROWS : page * _ROWS]],
        fired=sparks.of_alerts(overview.fired),
        page=page,
        pages=-(-len(found) // _ROWS),
        given=given,
        link=lambda **changes: f"/?{urlencode({k: v for k, v in {**given, **changes}.items() if v})}",
    )
