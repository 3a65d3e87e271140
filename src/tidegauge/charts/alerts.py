"""The chart that goes with an alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tidegauge.charts.rendering import to_png
from tidegauge.charts.view import View, draw, key
from tidegauge.domain.alert import EVERY, Alert, Subject
from tidegauge.domain.monitor import Monitor, MonitorRun
from tidegauge.domain.series import series_of
from tidegauge.domain.thresholds import Threshold


def of_alert(alert: Alert, monitor: Monitor, runs: Sequence[MonitorRun]) -> bytes:
    """Draw what an alert is about in these windows, as PNG on white: mails have no theme."""
    condition = alert.rule.conditions[0]
    if condition.segment not in ("", EVERY):
        runs = [of_segment(run, condition.segment) for run in runs]
    view = View.of(monitor, series_of(runs))
    name = {Subject.EVIDENCE: "evidence", Subject.STATUS: "timeline", Subject.QUIET: "requests"}.get(
        condition.on, "timeline" if condition.name == EVERY else key(condition.name)
    )
    if condition.on is Subject.METRIC and condition.bound is not None:
        bound = Threshold(condition.name, alert.rule.type, condition.bound, condition.bound)
        view = replace(view, thresholds={condition.name: bound, **view.thresholds})
    chart: Any = draw(name, view)
    return to_png(chart.properties(title=alert.rule.text))


def of_segment(run: MonitorRun, name: str) -> MonitorRun:
    """Return a run as if the segment were the whole of it."""
    segment = next((segment for segment in run.segments if segment.name == name), None)
    return replace(
        run,
        metrics=segment.metrics if segment else (),
        evidence=segment.evidence if segment else None,
    )
