"""The list of monitors: a tab of the deployments."""

from __future__ import annotations

from fastapi import Request, Response

from tidegauge.storage.rows import Query
from tidegauge.ui.site import Pages, here, render
from tidegauge.web.access import Caller, Everything

_SORTS = (("-id", "newest first"), ("name", "name"), ("status", "status"), ("state", "state"))

router = Pages()


@router.get("/monitors")
def monitors_page(
    request: Request, caller: Caller, services: Everything, q: str = "", sort: str = "-id", cursor: str = ""
) -> Response:
    page = services.monitors.page(caller.name, Query(50, cursor, sort, q))
    rows = [(monitor, services.monitors.last_run(monitor)) for monitor in page.items]
    return render(
        "monitors.html",
        user=caller,
        rows=rows,
        cursor=page.cursor,
        q=q,
        sort=sort,
        sorts=_SORTS,
        here=here(request),
    )
