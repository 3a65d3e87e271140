"""The charts of a monitor by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import altair as alt

from tidegauge.charts import over_time
from tidegauge.charts.answers import Answers, confusion, predictions
from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor import PREDICTION, Monitor
from tidegauge.domain.series import Names, Series
from tidegauge.domain.thresholds import Threshold

REQUESTS = ("requests", "4xx_requests", "5xx_requests")
LATENCIES = ("latency_p50", "latency_p95", "latency_p99")
UTILISATION = ("cpu_utilization", "memory_utilization")
#: Charts that are of no single metric. A feature with such a name is reached as ``score:<name>``.
OWN = ("timeline", "evidence", "drift", "requests", "latency", "utilization", "predictions", "confusion")
HEALTH = ("requests", "latency", "utilization")
OF_ANSWERS = ("predictions", "confusion")
WINDOWS = 200  # that those are of at most, the newest
_SCORE = "score:"


@dataclass(frozen=True)
class View:
    """What charts are drawn from; ``link`` is where the pages of runs are, empty where there are none."""

    series: Series
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    alpha: float = 0.001
    answers: Answers = field(default_factory=Answers)
    link: str = ""

    @classmethod
    def of(cls, monitor: Monitor, series: Series, answers: Answers | None = None, link: str = "") -> View:
        """Return what is to be drawn of a monitor."""
        alpha = monitor.evidence.alpha if monitor.evidence else monitor.config.evidence.alpha
        return cls(series, monitor.thresholds, alpha, answers or Answers(), link)


def known(name: str, names: Names) -> bool:
    """Tell whether a monitor whose windows have these metrics has a chart of this name."""
    return name in OWN or metric_of(name) in dict(names)


def names_of(names: Names) -> str:
    """Name all charts that there are, for an error."""
    return ", ".join([*OWN, *(key(name) for name, _ in names)])


def key(name: str) -> str:
    """Return the name of the chart of a metric.

    >>> key("image"), key("latency")
    ('image', 'score:latency')
    """
    return f"{_SCORE}{name}" if name in OWN else name


def metric_of(name: str) -> str:
    """Return the metric of a chart.

    >>> metric_of("score:latency")
    'latency'
    """
    return name.removeprefix(_SCORE)


def estimate_of(name: str, names: Names) -> str:
    """Return the metric that was expected in place of this one; empty where there is none."""
    expected = f"expected_{name}"
    return expected if expected in EXPECTED and expected in dict(names) else ""


def features(names: Names) -> tuple[str, ...]:
    """Return the features of inputs that have a score."""
    return tuple(name for name, kind in names if kind is MetricType.DRIFT and name != PREDICTION)


def columns(name: str, names: Names) -> tuple[str, ...]:
    """Return the metrics that a chart over time shows."""
    groups = {"requests": REQUESTS, "latency": LATENCIES, "utilization": UTILISATION}
    if name in groups:
        return tuple(one for one in groups[name] if one in dict(names)) or groups[name]
    found = metric_of(name)
    estimated = estimate_of(found, names)
    return (found, estimated) if estimated else (found,)


def draw(name: str, view: View) -> alt.TopLevelMixin:
    """Draw the chart of this name."""
    series, link = view.series, view.link
    if name == "timeline":
        return over_time.timeline(series, link)
    if name == "evidence":
        return over_time.evidence(series, view.alpha, link)
    if name == "drift":
        return over_time.farthest(series, features(series.names), link)
    if name == "predictions":
        return predictions(view.answers)
    if name == "confusion":
        return confusion(view.answers)
    shown = columns(name, series.names)
    if name in OWN:
        unit = {"requests": "in a window", "latency": "ms", "utilization": "share"}[name]
        return over_time.lines(series, shown, unit, link)
    return over_time.metric(series, shown[0], view.thresholds.get(shown[0]), "".join(shown[1:]), link)


def is_empty(name: str, view: View) -> bool:
    """Tell whether a chart of this name has nothing to show."""
    if name == "predictions":
        return not view.answers.told and view.answers.means is None
    if name == "confusion":
        return not view.answers.confusion
    if name == "timeline":
        return not view.series.spans
    if name == "evidence":
        return all(span.evidence is None for span in view.series.spans)
    names = view.series.names
    return not set(features(names) if name == "drift" else columns(name, names)) & set(dict(names))
