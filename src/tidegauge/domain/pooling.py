"""Windows taken together: the hours or days of a chart, and performance over a whole span."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from statistics import median

import numpy as np

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, MonitorRun
from tidegauge.domain.report import Pooled, Step
from tidegauge.domain.status import worst
from tidegauge.domain.windows import window_of
from tidegauge.stats.performance.classification import classify

#: Metrics that add up; of the others an hour has the median.
SUMS = frozenset({"requests", "4xx_requests", "5xx_requests"})
#: Metrics that do not depend on which class is the positive one.
_WITHOUT_POSITIVE = frozenset({"accuracy", "balanced_accuracy", "mcc"})
_MINUTES = {Step.HOUR: 60, Step.DAY: 1440}
_KEPT = ("confusion", "classes", "positive")


def slim(run: MonitorRun) -> MonitorRun:
    """Return a run without its images and without details that no report needs: a span has many."""
    return replace(
        run,
        metrics=tuple(map(_slim, run.metrics)),
        images=(),
        segments=tuple(replace(one, metrics=tuple(map(_slim, one.metrics))) for one in run.segments),
    )


def _slim(metric: Metric) -> Metric:
    if not metric.detail:
        return metric
    return replace(metric, detail={key: metric.detail[key] for key in _KEPT if key in metric.detail})


def overlap(runs: Sequence[MonitorRun]) -> bool:
    """Tell whether some of these windows, in order of their begin, share time: then nothing adds up."""
    return any(after.start < before.end for before, after in pairwise(runs))


def pool(runs: Iterable[MonitorRun]) -> dict[str, Pooled]:
    """Return the performance metrics of all labels together, from the confusion matrices of windows.

    Windows that speak of different positive classes give only what does not depend on that class.
    """
    cells: Counter[tuple[str, str]] = Counter()
    positives: set[str | None] = set()
    windows = 0
    for run in runs:
        accuracy = run.metric("accuracy")
        if accuracy is None or "confusion" not in accuracy.detail or not accuracy.n:
            continue
        windows += 1
        positives.add(accuracy.detail.get("positive"))
        classes = accuracy.detail["classes"]
        for label, row in zip(classes, accuracy.detail["confusion"], strict=True):
            for prediction, count in zip(classes, row, strict=True):
                cells[label, prediction] += int(count)
    counts = list(cells.values())
    if not sum(counts):
        return {}
    labels = np.repeat(np.array([label for label, _ in cells]), counts)
    predictions = np.repeat(np.array([prediction for _, prediction in cells]), counts)
    positive = next(iter(positives)) if len(positives) == 1 else None
    found = classify(labels, predictions, positive).metrics
    return {
        name: Pooled(metric.value, metric.low, metric.high, metric.n, windows)
        for name, metric in found.items()
        if len(positives) == 1 or name in _WITHOUT_POSITIVE
    }


def step_of(runs: Sequence[MonitorRun], zone: str, most: int) -> Step:
    """Return the finest step with at most ``most`` points; days where even these are more."""
    if len(runs) <= most:
        return Step.WINDOW
    hours = {window_of(run.start, _MINUTES[Step.HOUR], zone)[0] for run in runs}
    return Step.HOUR if len(hours) <= most else Step.DAY


def condense(runs: Sequence[MonitorRun], step: Step, zone: str) -> tuple[MonitorRun, ...]:
    """Return one run for each hour or day of the time zone that has windows.

    Statuses are the worst of its windows. Performance is that of all its labels together; requests add up;
    any other metric is the median of its windows, between the lowest and the highest.
    """
    if step is Step.WINDOW:
        return tuple(runs)
    groups: dict[tuple[datetime, datetime], list[MonitorRun]] = defaultdict(list)
    for run in runs:
        groups[window_of(run.start, _MINUTES[step], zone)].append(run)
    return tuple(_together(start, end, group) for (start, end), group in sorted(groups.items()))


def _together(start: datetime, end: datetime, runs: list[MonitorRun]) -> MonitorRun:
    pooled = {} if overlap(runs) else pool(runs)
    by_name: dict[tuple[MetricType, str], list[Metric]] = defaultdict(list)
    for run in runs:
        for metric in run.metrics:
            by_name[metric.type, metric.name].append(metric)
    return replace(
        runs[-1],
        id="",
        start=start,
        end=end,
        revision=max(run.revision for run in runs),
        status=worst(run.status for run in runs),
        health=worst(run.health for run in runs),
        drift=worst(run.drift for run in runs),
        performance=worst(run.performance for run in runs),
        metrics=tuple(_merged(found, pooled.get(found[0].name)) for found in by_name.values()),
        problems=(),
        evidence=next((run.evidence for run in reversed(runs) if run.evidence), None),
        late=sum(run.late for run in runs),
    )


def _merged(found: list[Metric], pooled: Pooled | None) -> Metric:
    first = replace(
        found[0],
        status=worst(metric.status for metric in found),
        n=sum(metric.n for metric in found),
        detail={},
        low=None,
        high=None,
        surely_low=None,
        surely_high=None,
    )
    if pooled is not None and first.type is MetricType.PERFORMANCE:
        return replace(first, value=pooled.value, low=pooled.low, high=pooled.high, n=pooled.n)
    values = [metric.value for metric in found if metric.value is not None]
    if not values:
        return replace(first, value=None)
    if first.name in SUMS:
        return replace(first, value=sum(values))
    if first.type is MetricType.HEALTH:  # drawn as lines, without a band
        return replace(first, value=median(values))
    return replace(first, value=median(values), low=min(values), high=max(values))
