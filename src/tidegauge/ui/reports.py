"""The report of a monitor, as a page and for programs: ``/api/v1/monitors/{id}/report``.

It stands here and not in ``api``, which may not import the drawing: charts and templates are of ``ui``. One
address gives all three forms, so that a link, the SDK and the command line ask in the same way.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from fastapi import APIRouter, Response

from tidegauge.domain.report import document
from tidegauge.domain.users import Principal
from tidegauge.services.bundle import Services
from tidegauge.ui.pages import monitors
from tidegauge.ui.report import to_html
from tidegauge.ui.report_pdf import to_pdf
from tidegauge.web.access import CLOSED, Caller, Everything

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Format(StrEnum):
    HTML = "html"
    PDF = "pdf"
    JSON = "json"


_TYPES = {Format.HTML: "text/html", Format.PDF: "application/pdf", Format.JSON: "application/json"}

router = APIRouter(prefix="/api/v1/monitors", tags=["monitors"], dependencies=CLOSED)


@router.get(
    "/{monitor_id}/report",
    response_class=Response,
    responses={200: {"content": {media_type: {} for media_type in _TYPES.values()}}},
)
def report_on_monitor(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    start: datetime,
    end: datetime,
    format: Format = Format.HTML,  # noqa: A002 - the name in the URL
    images: bool = False,
) -> Response:
    """Everything about the windows that begin in [start, end), as one file to keep."""
    return _answer(caller, services, monitor_id, start, end, format, images=images)


@monitors.router.get("/monitors/{monitor_id}/report")
def report_page(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    start: datetime,
    end: datetime,
    format: Format = Format.HTML,  # noqa: A002 - the name in the URL
) -> Response:
    """The same, for the form of the monitor's page: its errors are pages."""
    return _answer(caller, services, monitor_id, start, end, format, images=False)


def _answer(
    caller: Principal,
    services: Services,
    monitor_id: str,
    start: datetime,
    end: datetime,
    form: Format,
    *,
    images: bool,
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    report, made = services.reports.make(monitor, start, end, caller.name, images=images)
    content: str | bytes
    if form is Format.JSON:
        content = document(report, made)
    else:
        content = to_html(report, made)
        if form is Format.PDF:
            content = to_pdf(content, document(report, made))
    name = re.sub(r"[^A-Za-z0-9-]+", "-", monitor.name).strip("-") or "monitor"
    days = f"{report.span.start:%Y-%m-%d}-to-{report.span.end:%Y-%m-%d}"
    disposition = f'inline; filename="{name}-{days}.{form.value}"'
    return Response(
        content, media_type=_TYPES[form], headers={**_HEADERS, "Content-Disposition": disposition}
    )
