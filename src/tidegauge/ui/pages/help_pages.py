"""Help: the manual within the product."""

from __future__ import annotations

from fastapi import Response

from tidegauge.ui import manual
from tidegauge.ui.site import HEADERS, Pages, render
from tidegauge.web.access import Caller

PATH = "/help"

router = Pages(prefix=PATH)


@router.get("")
def help_page(caller: Caller, q: str = "") -> Response:
    return render(
        "help/contents.html", user=caller, path=PATH, q=q, groups=manual.contents(), hits=manual.search(q)
    )


@router.get("/pictures/{name}")
def picture(caller: Caller, name: str) -> Response:  # noqa: ARG001 - for who is signed in
    return Response(manual.picture(name), media_type="image/svg+xml", headers=HEADERS)


@router.get("/{name:path}")
def manual_page(caller: Caller, name: str) -> Response:
    return render(
        "help/page.html", user=caller, path=PATH, page=manual.page(name), groups=manual.contents(), q=""
    )
