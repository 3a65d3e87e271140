"""How charts look: colours, axes, marks for thresholds, and what the pointer finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import altair as alt
import orjson

from tidegauge.domain.metrics import larger_is_worse
from tidegauge.domain.series import Series
from tidegauge.domain.thresholds import Threshold

WIDTH = 680  # of the plotting area, in pixels
HEIGHT = 150
FEW = 60  # spans up to which each has a point of its own
_LONG = timedelta(days=3)  # from which an axis has days and no hours

# Okabe and Ito's colours, which stay apart for colour-blind eyes; a grey that reads on white and on black.
BLUE, ORANGE, VERMILION, GREEN, PURPLE, GREY = (
    "#0b84b5", "#d99000", "#d55e00", "#009e73", "#b5679a", "#77828d",
)  # fmt: skip
STATUS = {"healthy": GREEN, "warning": ORANGE, "critical": VERMILION, "unknown": "#b9c0c7"}
_FONT = "system-ui, sans-serif"
_HIT = "window"  # the name of the layer that the pointer finds


def rows(series: Series, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row a span: ``s``, ``e`` (milliseconds since 1970), ``n`` windows, ``run``, and metrics.

    Metrics have numbers in place of names, which may hold any character: ``v0`` is the mean of the first,
    ``a0`` and ``b0`` the extremes where there are several windows, ``l0`` and ``h0`` the interval.
    """
    found = []
    for span in series.spans:
        row: dict[str, Any] = {
            "s": round(span.start.timestamp() * 1000),
            "e": round(span.end.timestamp() * 1000),
            "n": span.windows,
            "run": span.run_id,
        }
        for place, name in enumerate(names):
            point = span.points.get(name)
            if point is None:
                continue
            row[f"v{place}"] = short(point.value)
            if point.least < point.most:
                row |= {f"a{place}": short(point.least), f"b{place}": short(point.most)}
            if point.low is not None and point.high is not None:
                row |= {f"l{place}": short(point.low), f"h{place}": short(point.high)}
        found.append(row)
    return found


def short(value: float) -> float:
    """Return a number with the digits that a chart can show.

    >>> short(0.123456789)
    0.12346
    """
    return float(f"{value:.5g}")


def chart(values: list[dict[str, Any]], layers: Iterable[Any], link: str = "", height: int = HEIGHT) -> Any:
    """Lay marks over one another, on rows that ``rows`` made; the pointer finds each span as a whole.

    A click opens the page of the span's run, below ``link``; without one nothing can be clicked.
    """
    laid: Any = alt.layer(*layers)
    told = {"m": "(datum.s + datum.e) / 2", "when": _SPAN}
    if link:
        told["href"] = f"{orjson.dumps(link).decode()} + datum.run"
    laid.transform = [{"calculate": text, "as": name} for name, text in told.items()]
    laid.data = data(values)
    return dress(laid, height)


_SPAN = (
    "utcFormat(datum.s, '%b %d, %H:%M') + ' to ' + "
    "utcFormat(datum.e, datum.e - datum.s > 72e6 ? '%b %d, %H:%M' : '%H:%M') + ' UTC' + "
    "(datum.n > 1 ? ', ' + datum.n + ' windows' : '')"
)


def tips(*more: alt.Tooltip) -> list[alt.Tooltip]:
    return [alt.Tooltip("when:N", title="Window"), *more]


def hits(series: Series, shown: list[alt.Tooltip], link: str = "") -> Any:
    """Return what the pointer finds: the whole height of each span, with its numbers and its page."""
    hover = alt.selection_point(name="hover", on="pointerover", clear="pointerout", empty=False)
    encoded: dict[str, Any] = {
        "x": time(series, "s"),
        "x2": "e:T",
        "opacity": alt.when(hover).then(alt.value(0.14)).otherwise(alt.value(0)),
        "tooltip": shown,
    }
    if link:
        encoded["href"] = "href:N"
    return alt.Chart(name=_HIT).mark_rect(color=GREY).encode(**encoded).add_params(hover)


def without_hits(spec: Any) -> None:
    """Leave out of a spec what only a pointer finds: paper has none."""
    if "layer" in spec:
        spec["layer"] = [layer for layer in spec["layer"] if layer.get("name") != _HIT]
    spec.pop("params", None)


def time(series: Series, field: str = "m") -> alt.X:
    """Return the axis of time from the first window to the last, in UTC as everywhere."""
    scale, is_long = alt.Scale(type="utc", nice=False), False
    if series.spans:
        first, last = series.spans[0].start, series.spans[-1].end
        ends = [{"expr": str(round(at.timestamp() * 1000))} for at in (first, last)]
        scale = alt.Scale(type="utc", domainMin=ends[0], domainMax=ends[1], nice=False)
        is_long = last - first > _LONG
    axis = alt.Axis(
        format="%b %d" if is_long else "%b %d %H:%M",
        labelOverlap="greedy",
        labelSeparation=12,
        tickCount=6,
    )
    return alt.X(f"{field}:T", title="UTC", scale=scale, axis=axis)


def scale(values: Iterable[float | None]) -> alt.Scale:
    """Return 0 to 1 for what is a share, so that charts can be compared; else what the values need."""
    known = [value for value in values if value is not None]
    if all(0 <= value <= 1 for value in known):
        return alt.Scale(domain=[0, 1])
    low, high = min(known), max(known)
    room = (high - low) * 0.08 or abs(high) * 0.1
    return alt.Scale(domain=[0.0 if low >= 0 else short(low - room), short(high + room)], nice=True)


def bands(threshold: Threshold, y: alt.Scale) -> list[Any]:
    """Shade what lies past the soft and past the hard threshold."""
    end = 0 if larger_is_worse(threshold.name, threshold.type) else "height"
    return [
        _once().mark_rect(color=ORANGE, opacity=0.13).encode(
            y=alt.YDatum(threshold.soft, scale=y), y2=alt.Y2Datum(threshold.hard)
        ),
        _once().mark_rect(color=VERMILION, opacity=0.13).encode(
            y=alt.YDatum(threshold.hard, scale=y), y2=alt.value(end)
        ),
    ]  # fmt: skip


def bounds(threshold: Threshold, y: alt.Scale) -> list[Any]:
    """Draw the soft and the hard threshold, above all else."""
    return bound("soft", threshold.soft, ORANGE, y) + bound("hard", threshold.hard, VERMILION, y)


def bound(name: str, value: float, colour: str, y: alt.Scale, *, above: bool = True) -> list[Any]:
    """Draw a dashed line across, with its name at the right."""
    line = _once().mark_rule(color=colour, strokeDash=[6, 4], strokeWidth=1.5)
    text = _once().mark_text(
        text=name, color=colour, align="right", baseline="bottom" if above else "top", dx=-2, dy=-1,
        fontSize=11, font=_FONT,
    )  # fmt: skip
    at = alt.YDatum(value, scale=y)
    return [line.encode(y=at), text.encode(y=at, x=alt.value("width"))]


def past(value: float, y: alt.Scale) -> list[Any]:
    """Shade all above a bound, the alarm."""
    shaded = _once().mark_rect(color=VERMILION, opacity=0.13)
    return [
        shaded.encode(y=alt.YDatum(value, scale=y), y2=alt.value(0)),
        *bound("alarm", value, VERMILION, y),
    ]


def marks(
    place: int,
    values: Sequence[Mapping[str, Any]],
    x: alt.X,
    y: alt.Scale,
    colour: Any,
    *,
    dash: bool = False,
    unit: str = "",
) -> list[Any]:
    """Draw one metric of rows: its mean as a line, a band of its interval, upright lines to its extremes."""
    base = alt.Chart().transform_filter(f"isValid(datum.v{place})").encode(x=x)
    keys = {key for row in values for key in row}
    shade: dict[str, Any] = {"color": colour}

    def at(key: str) -> alt.Y:
        return alt.Y(f"{key}{place}:Q", title=unit or None, scale=y)

    drawn: list[Any] = []
    for low, high, mark in (
        ("l", "h", {"type": "area", "opacity": 0.18}),
        ("a", "b", {"type": "rule", "opacity": 0.25, "strokeWidth": 1}),
    ):
        if f"{low}{place}" in keys:
            part = base.transform_filter(f"isValid(datum.{low}{place})").encode(
                y=at(low), y2=f"{high}{place}:Q", **shade
            )
            part.mark = mark
            drawn.append(part)
    if f"v{place}" in keys:
        line = base.mark_line(
            strokeWidth=2,
            point=alt.OverlayMarkDef(filled=True, size=36) if len(values) <= FEW else False,
            strokeDash=[5, 3] if dash else alt.Undefined,
        )
        drawn.append(line.encode(y=at("v"), **shade))
    return drawn


def legend(names: Mapping[str, str]) -> dict[str, Any]:
    """Return scale and legend of names and their colours."""
    return {
        "scale": alt.Scale(domain=list(names), range=list(names.values())),
        "legend": alt.Legend(title=None, orient="top", symbolOpacity=1, symbolType="square"),
    }


def data(values: list[dict[str, Any]]) -> alt.Data:
    """Return rows as data; as text, since Altair walks through each value of a list several times."""
    text = orjson.dumps(values).decode()
    made: alt.Data = alt.Data(values=text, format=alt.DataFormat(type="json"))  # type: ignore[no-untyped-call]
    return made


def dress(made: Any, height: int, width: int = WIDTH) -> alt.TopLevelMixin:
    """Give a chart its size and the looks of all charts."""
    # Altair's own methods copy the whole chart each.
    made.width, made.height, made.background = width, height, "transparent"
    made.config = {
        "view": {"stroke": None},
        "axis": {
            "labelColor": GREY,
            "titleColor": GREY,
            "gridColor": GREY,
            "gridOpacity": 0.25,
            "domainColor": GREY,
            "tickColor": GREY,
            "labelFont": _FONT,
            "titleFont": _FONT,
            "titleFontWeight": "normal",
            "labelFontSize": 12,
        },
        "axisY": {"minExtent": 36},
        "legend": {"labelColor": GREY, "labelFont": _FONT, "labelFontSize": 12},
    }
    dressed: alt.TopLevelMixin = made
    return dressed


def _once() -> Any:
    return alt.Chart(data([{}]))
