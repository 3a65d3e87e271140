"""The switch by which somebody shares what is theirs."""

from __future__ import annotations

from fastapi import Request, Response

from tidegauge.ui.forms import Filled
from tidegauge.ui.site import Pages, go
from tidegauge.web.access import Caller, Everything
from tidegauge.web.auditing import also
from tidegauge.web.sharing import SHARED, share

router = Pages()


def _add(plural: str) -> None:
    @router.post(f"/{plural}/{{key}}/share")
    def switch(request: Request, caller: Caller, services: Everything, key: str, form: Filled) -> Response:
        also(request, shared=form.text("shared"))
        share(services, caller, plural, key, shared=form.text("shared") == "on")
        return go(request, f"/{plural}/{key}")


for _plural in SHARED:
    _add(_plural)
