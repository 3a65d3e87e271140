"""The charts of a monitor: one function a chart, from domain objects to an Altair chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import log, log10
from typing import Any

import altair as alt
import vl_convert

from tidegauge.domain.alert import EVERY, Alert, Subject
from tidegauge.domain.monitor import Monitor, MonitorRun
from tidegauge.domain.thresholds import Threshold

WIDTH = 680  # of the plotting area, in pixels
HEIGHT = 150
TIMELINE_HEIGHT = 84
_LEAST_EVIDENCE = -3.0  # powers of ten; what is less is as good as none

# Okabe and Ito's colours, which stay apart for colour-blind eyes; greys that read on white and on black.
BLUE, ORANGE, VERMILION, GREEN, GREY = "#0b84b5", "#d99000", "#d55e00", "#009e73", "#8a949e"
_STATUS = {"healthy": GREEN, "warning": ORANGE, "critical": VERMILION, "unknown": "#b9c0c7"}
_LATENCIES = ("latency_p50", "latency_p95", "latency_p99")
_REQUESTS = ("requests", "4xx_requests", "5xx_requests")


def to_svg(chart: alt.TopLevelMixin) -> str:
    """Render a chart as SVG, on this machine and without a browser."""
    return str(vl_convert.vegalite_to_svg(chart.to_json(validate=False)))


def of_alert(alert: Alert, monitor: Monitor, runs: Sequence[MonitorRun]) -> bytes:
    """Draw what an alert is about in these windows, as PNG on white: mails have no theme."""
    condition = alert.rule.conditions[0]
    if condition.segment not in ("", EVERY):
        runs = [_of_segment(run, condition.segment) for run in runs]
    name = {Subject.EVIDENCE: "evidence", Subject.STATUS: "timeline", Subject.QUIET: "requests"}.get(
        condition.on, condition.name
    )
    if name == EVERY:
        name = "timeline"
    alpha = monitor.evidence.alpha if monitor.evidence else monitor.config.evidence.alpha
    thresholds = dict(monitor.thresholds)
    if condition.on is Subject.METRIC and condition.bound is not None and name not in thresholds:
        thresholds[name] = Threshold(name, alert.rule.type, condition.bound, condition.bound)
    chart = draw(name, runs, thresholds, alpha).properties(background="white", title=alert.rule.text)
    return bytes(vl_convert.vegalite_to_png(chart.to_json(validate=False), scale=2))


def _of_segment(run: MonitorRun, name: str) -> MonitorRun:
    """Return a run as if the segment were the whole of it."""
    segment = next((segment for segment in run.segments if segment.name == name), None)
    return replace(
        run,
        metrics=segment.metrics if segment else (),
        evidence=segment.evidence if segment else None,
    )


def timeline(runs: Sequence[MonitorRun]) -> alt.TopLevelMixin:
    """Draw the status of each part in each window."""
    rows = [
        {"start": run.start.isoformat(), "end": run.end.isoformat(), "part": part, "status": status.value}
        for run in runs
        for part, status in (
            ("drift", run.drift),
            ("performance", run.performance),
            ("health", run.health),
        )
    ]
    chart = (
        alt.Chart(_data(rows))
        .mark_rect(stroke="white", strokeOpacity=0.25)
        .encode(
            x=_time("start"),
            x2="end:T",
            y=alt.Y(
                "part:N",
                title=None,
                sort=["drift", "performance", "health"],
                axis=alt.Axis(labelLimit=200, minExtent=78),
            ),
            color=alt.Color(
                "status:N",
                scale=alt.Scale(domain=list(_STATUS), range=list(_STATUS.values())),
                legend=alt.Legend(title=None, orient="top"),
            ),
        )
    )
    return _dress(chart, TIMELINE_HEIGHT)


def metric(runs: Sequence[MonitorRun], name: str, threshold: Threshold | None) -> alt.TopLevelMixin:
    """Draw a score or metric with its interval, and the soft and hard thresholds."""
    rows = []
    for run in runs:
        found = run.metric(name)
        if found is not None and found.value is not None:
            rows.append(
                {
                    "time": _middle(run),
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "status": found.status.value,
                }
            )
    base = alt.Chart(_data(rows)).encode(x=_time("time"))
    bounds = [threshold.soft, threshold.hard] if threshold else []
    scale = _scale([value for row in rows for value in (row["value"], row["low"], row["high"])] + bounds)
    layers: list[Any] = []
    if any(row["low"] is not None for row in rows):
        layers.append(
            base.mark_area(color=BLUE, opacity=0.22).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
        )
        layers.append(base.mark_rule(color=BLUE, opacity=0.5).encode(y="low:Q", y2="high:Q"))
    y = alt.Y("value:Q", title=None, scale=scale)
    layers.append(base.mark_line(color=BLUE, strokeWidth=2).encode(y=y))
    layers.append(
        base.mark_point(filled=True, size=70, opacity=1).encode(
            y=y,
            color=alt.Color(
                "status:N", scale=alt.Scale(domain=list(_STATUS), range=list(_STATUS.values())), legend=None
            ),
        )
    )
    for bound, shade in ((threshold.soft, ORANGE), (threshold.hard, VERMILION)) if threshold else ():
        line = alt.Chart(_data([{"bound": bound}]))
        dashed = line.mark_rule(color=shade, strokeDash=[6, 4], strokeWidth=1.5)
        layers.append(dashed.encode(y=alt.Y("bound:Q", scale=scale)))
    return _dress(alt.layer(*layers), HEIGHT)


def lines(runs: Sequence[MonitorRun], names: Sequence[str]) -> alt.TopLevelMixin:
    """Draw several metrics of the same unit in each window."""
    rows = [
        {
            "time": _middle(run),
            "value": found.value,
            "metric": name.removeprefix("latency_").replace("_", " "),
        }
        for run in runs
        for name in names
        if (found := run.metric(name)) is not None and found.value is not None
    ]
    chart = (
        alt.Chart(_data(rows))
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(filled=True, size=30))
        .encode(
            x=_time("time"),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=True)),
            color=alt.Color(
                "metric:N",
                sort=None,
                scale=alt.Scale(range=[BLUE, ORANGE, VERMILION]),
                legend=alt.Legend(title=None, orient="top"),
            ),
        )
    )
    return _dress(chart, HEIGHT)


def evidence(runs: Sequence[MonitorRun], alpha: float) -> alt.TopLevelMixin:
    """Draw the evidence of drift after each window, and where its alarm is, in powers of ten."""
    rows = [
        {"time": _middle(run), "value": max(run.evidence.log_e / log(10), _LEAST_EVIDENCE)}
        for run in runs
        if run.evidence is not None
    ]
    line = (
        alt.Chart(_data(rows))
        .mark_line(strokeWidth=2, color=BLUE, point=alt.OverlayMarkDef(filled=True, size=24))
        .encode(x=_time("time"), y=alt.Y("value:Q", title="log10", scale=alt.Scale(zero=False)))
    )
    alarm = (
        alt.Chart(_data([{"value": -log10(alpha)}]))
        .mark_rule(color=VERMILION, strokeDash=[6, 4], strokeWidth=1.5)
        .encode(y="value:Q")
    )
    return _dress(line + alarm, HEIGHT)


def draw(
    name: str, runs: Sequence[MonitorRun], thresholds: dict[str, Threshold], alpha: float = 0.001
) -> alt.TopLevelMixin:
    """Draw the chart of this name."""
    if name == "timeline":
        return timeline(runs)
    if name in ("requests", "latency"):
        return lines(runs, _REQUESTS if name == "requests" else _LATENCIES)
    if name == "evidence":
        return evidence(runs, alpha)
    return metric(runs, name, thresholds.get(name))


def columns(name: str) -> tuple[str, ...]:
    """Return the metrics whose numbers stand in the table of a chart."""
    return {"requests": _REQUESTS, "latency": _LATENCIES}.get(name, (name,))


def _scale(values: Iterable[Any]) -> alt.Scale:
    """Return 0 to 1 for what is a share, so that charts can be compared; else what the values need."""
    known = [value for value in values if value is not None]
    if all(0 <= value <= 1 for value in known):
        return alt.Scale(domain=[0, 1])
    return alt.Scale(zero=min(known) >= 0, nice=True)


def _data(values: list[dict[str, Any]]) -> alt.Data:
    data: alt.Data = alt.Data(values=values)  # type: ignore[no-untyped-call]
    return data


def _middle(run: MonitorRun) -> str:
    return (run.start + (run.end - run.start) / 2).isoformat()


def _time(field: str) -> alt.X:
    # UTC on the axis as everywhere; the label says so once.
    return alt.X(
        f"{field}:T",
        title="UTC",
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format="%b %d %H:%M", labelOverlap="greedy", labelSeparation=12, tickCount=6),
    )


def _dress(chart: Any, height: int) -> alt.TopLevelMixin:
    dressed: alt.TopLevelMixin = (
        chart.properties(width=WIDTH, height=height, background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=GREY,
            titleColor=GREY,
            gridColor=GREY,
            gridOpacity=0.25,
            domainColor=GREY,
            tickColor=GREY,
            labelFont="system-ui, sans-serif",
            titleFont="system-ui, sans-serif",
            labelFontSize=12,
        )
        .configure_legend(labelColor=GREY, labelFont="system-ui, sans-serif", labelFontSize=12)
    )
    return dressed
