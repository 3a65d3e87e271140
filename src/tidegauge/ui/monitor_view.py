"""Which charts a monitor's page shows, of what range, and under which addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from tidegauge import charts
from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor import PREDICTION, Monitor, MonitorRun
from tidegauge.domain.series import Names, Series
from tidegauge.errors import InvalidInputError
from tidegauge.ui.ranges import Range

EVERY = "*"  # as the metric: all of them
_FEW = 4  # features that are all shown
_TALL = {"timeline": "low", "confusion": "square", "predictions": "square"}
_MAIN = ("accuracy", "mae", "expected_accuracy")


@dataclass(frozen=True)
class Shown:
    """A chart of the page: its address without an ending, what follows it, and how much room it takes."""

    name: str
    about: charts.About
    path: str
    query: str
    room: str


@dataclass(frozen=True)
class PageView:
    """What is shown of a monitor; ``link`` leads to exactly this, whenever it is opened."""

    range: Range
    features: tuple[str, ...]
    metrics: tuple[str, ...]
    link: str
    timeline: tuple[Shown, ...]
    scores: tuple[Shown, ...]
    evidence: tuple[Shown, ...]
    predictions: tuple[Shown, ...]
    performance: tuple[Shown, ...]
    confusion: tuple[Shown, ...]
    health: tuple[Shown, ...]


def look(monitor: Monitor, span: Range, feature: str, metric: str, last: MonitorRun | None) -> PageView:
    """Choose the charts of a page; InvalidInputError at ``feature`` or ``metric`` for an unknown one."""
    names = monitor.metric_names
    features = _of(names, MetricType.DRIFT)
    metrics = tuple(
        name
        for name in _of(names, MetricType.PERFORMANCE)
        if name not in EXPECTED or name.removeprefix("expected_") not in dict(names)
    )
    if feature and feature not in features:
        message = f"feature is {feature[:60]!r}, which has no score; choose another."
        raise InvalidInputError.of("feature", message)
    if metric and metric not in (*metrics, EVERY):
        message = f"metric is {metric[:60]!r}, which was not measured; choose another."
        raise InvalidInputError.of("metric", message)
    query = _query(span, last)

    def shown(*wanted: str) -> tuple[Shown, ...]:
        return tuple(_shown(monitor, name, query) for name in wanted)

    has_evidence = monitor.evidence is not None or (last is not None and last.evidence is not None)
    return PageView(
        range=span,
        features=features,
        metrics=metrics,
        link=_link(monitor, span, feature, metric),
        timeline=shown("timeline"),
        scores=shown(*_scores(monitor, features, feature)),
        evidence=shown("evidence") if has_evidence else (),
        predictions=shown("predictions") if PREDICTION in features else (),
        performance=shown(*map(charts.key, _performance(monitor, metrics, metric))),
        confusion=shown("confusion") if "accuracy" in metrics else (),
        health=shown(*_health(monitor, names)),
    )


def _of(names: Names, kind: MetricType) -> tuple[str, ...]:
    return tuple(name for name, its in names if its is kind)


def _scores(monitor: Monitor, features: Sequence[str], feature: str) -> list[str]:
    if feature:
        return [charts.key(feature)]
    if len(features) <= _FEW:
        return [charts.key(name) for name in features]
    bound = [name for name in features if name in monitor.thresholds and name != PREDICTION]
    rest = [PREDICTION] if PREDICTION in features else []
    return ["drift", *(charts.key(name) for name in [*bound[: _FEW - 1], *rest])]


def _performance(monitor: Monitor, metrics: Sequence[str], metric: str) -> list[str]:
    if metric == EVERY:
        return list(metrics)
    if metric:
        return [metric]
    return [name for name in metrics if name in _MAIN or name in monitor.thresholds] or list(metrics[:1])


def _health(monitor: Monitor, names: Names) -> list[str]:
    """Name the groups, and what has a threshold: groups have no bands."""
    groups = [name for name in charts.HEALTH if name != "utilization" or "cpu_utilization" in dict(names)]
    bound = [n for n in _of(names, MetricType.HEALTH) if n in monitor.thresholds]
    return [*groups, *(charts.key(n) for n in bound)]


def _shown(monitor: Monitor, name: str, query: str) -> Shown:
    about = charts.about(name, charts.View.of(monitor, Series((), monitor.metric_names)))
    path = f"/monitors/{monitor.id}/charts/{quote(name, safe='')}"
    return Shown(name, about, path, query, _TALL.get(name, ""))


def _query(span: Range, last: MonitorRun | None) -> str:
    """Return the range as charts are asked for it; the newest run names what a browser may keep."""
    if span.preset:
        parts = {"range": span.preset}
    else:
        parts = {name: at.isoformat() for name, at in (("start", span.start), ("end", span.end)) if at}
    return urlencode({**parts, "newest": last.id if last else ""})


def _link(monitor: Monitor, span: Range, feature: str, metric: str) -> str:
    parts = {
        "start": span.start.isoformat() if span.start else "",
        "end": span.end.isoformat() if span.end else "",
        "feature": feature,
        "metric": metric,
    }
    told = {name: value for name, value in parts.items() if value}
    return f"/monitors/{monitor.id}?{urlencode(told)}" if told else f"/monitors/{monitor.id}"
