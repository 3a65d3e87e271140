"""The dashboard: every monitor at a glance, the worst first."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from fastapi import Response

from tidegauge.domain.status import ORDER
from tidegauge.services.history import Glance
from tidegauge.ui import glances, sparks
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

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
    glances.check(status, state)
    overview = services.history.overview(caller.name)
    found = glances.matching(overview.monitors, q, status, state)
    part = glances.Part.of(_ordered(found, sort), page)
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


def _ordered(found: Iterable[Glance], sort: str) -> list[Glance]:
    """Order by the last window or by name (as they are), and by default the worst first."""
    if sort == "window":
        return sorted(found, key=lambda one: one.end.timestamp() if one.end else 0.0, reverse=True)
    if sort == "name":
        return list(found)
    return sorted(found, key=lambda one: (-ORDER.index(one.status), not one.alarm, -one.firing))
