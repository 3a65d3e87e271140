"""Charts over time: statuses, scores and metrics, evidence, and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log10
from typing import Any

import altair as alt

from tidegauge.charts import look
from tidegauge.domain.series import Series
from tidegauge.domain.thresholds import Threshold

TIMELINE_HEIGHT = 84
PARTS = ("drift", "performance", "health")
LEAST_EVIDENCE = -3.0  # powers of ten; what is less is as good as none
_SHADES = (look.BLUE, look.ORANGE, look.VERMILION)
_NUMBER = ".4~g"


def timeline(series: Series, link: str = "") -> alt.TopLevelMixin:
    """Draw the status of each part in each span: the worst of its windows."""
    values = look.rows(series, ())
    for row, span in zip(values, series.spans, strict=True):
        row |= {part: getattr(span, part).value for part in PARTS}
    stretches = [row for part in PARTS for row in _stretches(values, part)]
    rects = (
        alt.Chart(look.data(stretches))
        .mark_rect()
        .encode(
            x=look.time(series, "s"),
            x2="e:T",
            y=alt.Y("part:N", title=None, sort=list(PARTS), axis=alt.Axis(labelLimit=200, minExtent=78)),
            color=alt.Color("status:N", **look.legend(look.STATUS)),
        )
    )
    shown = [alt.Tooltip(f"{part}:N", title=part.capitalize()) for part in PARTS]
    hits = look.hits(series, look.tips(*shown), link)
    return look.chart(values, [rects, hits], link, TIMELINE_HEIGHT)  # type: ignore[no-any-return]


def _stretches(values: Sequence[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """Join spans that follow each other with the same status: slivers would blur."""
    joined: list[dict[str, Any]] = []
    for row in values:
        last = joined[-1] if joined else None
        if last and last["e"] == row["s"] and last["status"] == row[part]:
            last["e"] = row["e"]
        else:
            joined.append({"s": row["s"], "e": row["e"], "part": part, "status": row[part]})
    return joined


def metric(
    series: Series, name: str, threshold: Threshold | None = None, estimated: str = "", link: str = ""
) -> alt.TopLevelMixin:
    """Draw a score or metric with its interval or extremes, in bands of its soft and hard thresholds.

    ``estimated`` is the metric that was expected before labels came, drawn beside it.
    """
    names = [name, *([estimated] if estimated else [])]
    values = look.rows(series, names)
    bounds = [threshold.soft, threshold.hard] if threshold else []
    y = look.scale([number for row in values for key, number in row.items() if key[0] in "vablh"] + bounds)
    x = look.time(series)
    if estimated:
        shades = look.legend({"realised": look.BLUE, "estimated": look.PURPLE})
        colours: list[Any] = [alt.ColorDatum("realised", **shades), alt.ColorDatum("estimated", **shades)]
    else:
        colours = [alt.ColorValue(look.BLUE)]
    layers = look.bands(threshold, y) if threshold else []
    for place, colour in reversed(list(enumerate(colours))):
        layers += look.marks(place, values, x, y, colour, dash=place > 0)
    layers += look.bounds(threshold, y) if threshold else []
    shown = _tips(0, "realised" if estimated else _words(name), values)
    shown += _tips(1, "estimated", values) if estimated else []
    layers.append(look.hits(series, look.tips(*shown), link))
    return look.chart(values, layers, link)  # type: ignore[no-any-return]


def farthest(series: Series, names: Sequence[str], link: str = "") -> alt.TopLevelMixin:
    """Draw the largest score of any of these features in each span."""
    values = look.rows(series, ())
    for row, span in zip(values, series.spans, strict=True):
        scores = {name: span.points[name].most for name in names if name in span.points}
        if scores:
            leader = max(scores, key=scores.__getitem__)
            row |= {"v0": look.short(scores[leader]), "feature": leader}
    y, x = look.scale([row.get("v0") for row in values]), look.time(series)
    layers = look.marks(0, values, x, y, alt.ColorValue(look.BLUE))
    shown = [
        alt.Tooltip("feature:N", title="Feature"),
        alt.Tooltip("v0:Q", title="Score", format=_NUMBER),
    ]
    return look.chart(values, [*layers, look.hits(series, look.tips(*shown), link)], link)  # type: ignore[no-any-return]


def lines(series: Series, names: Sequence[str], unit: str = "", link: str = "") -> alt.TopLevelMixin:
    """Draw up to three metrics of the same unit; thin upright lines reach to the extremes of a span."""
    values = look.rows(series, names)
    numbers = [number for row in values for key, number in row.items() if key[0] in "vab"]
    y = alt.Scale(domain=[0, max([*numbers, 0.0]) or 1.0], nice=True)
    x = look.time(series)
    titles = [_words(name) for name in names]
    shades = look.legend(dict(zip(titles, _SHADES, strict=False)))
    layers: list[Any] = []
    for place, title in enumerate(titles):
        layers += look.marks(place, values, x, y, alt.ColorDatum(title, **shades), unit=unit)
    shown = [tip for place, title in enumerate(titles) for tip in _tips(place, title, values)]
    layers.append(look.hits(series, look.tips(*shown), link))
    return look.chart(values, layers, link)  # type: ignore[no-any-return]


def evidence(series: Series, alpha: float, link: str = "") -> alt.TopLevelMixin:
    """Draw the evidence of drift after each span, against its life-long bound, in powers of ten."""
    values = look.rows(series, ())
    for row, span in zip(values, series.spans, strict=True):
        if span.evidence is not None:
            row["v0"] = look.short(power(span.evidence))
    alarm = -log10(alpha)
    known = [row["v0"] for row in values if "v0" in row]
    y = alt.Scale(domain=[min([*known, 0.0]), max([*known, alarm]) * 1.1], nice=True)
    x = look.time(series)
    beyond = look.past(alarm, y)
    line = look.marks(0, values, x, y, alt.ColorValue(look.BLUE))
    shown = [alt.Tooltip("v0:Q", title="Evidence, power of ten", format=_NUMBER)]
    layers = [*beyond, *line, look.hits(series, look.tips(*shown), link)]
    return look.chart(values, layers, link)  # type: ignore[no-any-return]


def power(log_e: float) -> float:
    """Return evidence as a power of ten, from its natural logarithm.

    >>> round(power(6.9078), 3), power(-100.0)
    (3.0, -3.0)
    """
    return max(log_e / log(10), LEAST_EVIDENCE)


def _tips(place: int, title: str, values: Sequence[dict[str, Any]]) -> list[alt.Tooltip]:
    """Return what the pointer tells of a metric: only what some span has."""
    parts = [
        (f"v{place}", title),
        (f"l{place}", "95% interval from"),
        (f"h{place}", "to"),
        (f"a{place}", f"{title}, least"),
        (f"b{place}", f"{title}, most"),
    ]
    keys = {key for row in values for key in row}
    return [
        alt.Tooltip(f"{key}:Q", title=word, format=_NUMBER)
        for key, word in parts
        if key in keys or key == f"v{place}"
    ]


def _words(name: str) -> str:
    return name.removeprefix("latency_").replace("_", " ")
