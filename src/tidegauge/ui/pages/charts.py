"""The charts of a monitor: for the page's script, as pictures, and as numbers."""

from __future__ import annotations

from enum import StrEnum

import orjson
from fastapi import Response

from tidegauge import charts
from tidegauge.domain.monitor import Monitor
from tidegauge.errors import NotFoundError
from tidegauge.services.bundle import Services
from tidegauge.ui.ranges import Range, chosen
from tidegauge.ui.site import Pages
from tidegauge.web.access import Caller, Everything

_KEPT_SECONDS = 300  # by a browser; a page names its newest window in the address

router = Pages()


class Form(StrEnum):
    JSON = "json"
    SVG = "svg"
    PNG = "png"
    CSV = "csv"


_TYPES = {
    Form.JSON: "application/json",
    Form.SVG: "image/svg+xml",
    Form.PNG: "image/png",
    Form.CSV: "text/csv; charset=utf-8",
}


@router.get("/monitors/{monitor_id}/charts/{file:path}")
def chart(
    caller: Caller,
    services: Everything,
    monitor_id: str,
    file: str,
    range: str = "all",  # noqa: A002 - the name in the URL
    start: str = "",
    end: str = "",
) -> Response:
    """A chart over a range of windows, in the form that its name ends with."""
    monitor = services.monitors.get(caller, monitor_id)
    name, _, ending = file.rpartition(".")
    if ending not in set(Form) or not charts.known(name, monitor.metric_names):
        raise NotFoundError(f"There is no chart {file!r} of this monitor.")
    last = services.monitors.last_run(monitor)
    span = chosen(range, start, end, last.end if last else None)
    view = _view(services, monitor, name, span)
    form = Form(ending)
    headers = {
        "Cache-Control": f"private, max-age={_KEPT_SECONDS}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'",  # of an SVG that is opened by itself
    }
    if form is not Form.JSON:
        saved = "".join(letter if letter.isalnum() else "-" for letter in f"{monitor.name}-{name}")
        kind = "attachment" if form is Form.CSV else "inline"
        headers["Content-Disposition"] = (
            f'{kind}; filename="{saved.encode("ascii", "replace").decode()}.{form}"'
        )
    return Response(_drawn(form, name, view), media_type=_TYPES[form], headers=headers)


def _view(services: Services, monitor: Monitor, name: str, span: Range) -> charts.View:
    """Look up what a chart is drawn from."""
    series = services.history.series(monitor, span.start, span.end)
    answers = None
    if name in charts.OF_ANSWERS:
        since = charts.newest(series, charts.WINDOWS) or span.start
        answers = charts.Answers.of(services.monitors.runs(monitor, since, span.end)[-charts.WINDOWS :])
    return charts.View.of(monitor, series, answers, f"/monitors/{monitor.id}/runs/")


def _drawn(form: Form, name: str, view: charts.View) -> str | bytes:
    if form is Form.CSV:
        return charts.numbers(name, view).to_csv()
    drawn = charts.draw(name, view)
    if form is Form.SVG:
        return charts.to_svg(drawn)
    if form is Form.PNG:
        return charts.to_png(drawn)
    told = charts.about(name, view)
    return orjson.dumps(
        {"spec": charts.to_spec(drawn), "note": told.note, "empty": charts.is_empty(name, view)}
    )
