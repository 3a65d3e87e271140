"""The parts of a report: each a function from the rows of a span to what the report says of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from pydantic_core import to_jsonable_python

from tidegauge.domain.metrics import MetricType, larger_is_worse
from tidegauge.domain.monitor import (
    ConfigVersion,
    Metric,
    MonitorRun,
    MonitorState,
    SegmentResult,
    Transition,
)
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.pooling import pool
from tidegauge.domain.report import (
    Absent,
    AlarmPeriod,
    Change,
    ConfigChange,
    Episode,
    EvidenceSummary,
    MetricSummary,
    Pooled,
    Revision,
    SegmentSummary,
    Shares,
)
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold
from tidegauge.domain.windows import Window, windows_between

PARTS: Mapping[str, Callable[[MonitorRun], Status]] = {
    "monitor": lambda run: run.status,
    "drift": lambda run: run.drift,
    "performance": lambda run: run.performance,
    "health": lambda run: run.health,
}


def shares(runs: Sequence[MonitorRun]) -> tuple[Shares, ...]:
    """Count the statuses of the monitor and of each part."""
    return tuple(
        Shares(part, **Counter(read(run).value for run in runs)) for part, read in PARTS.items() if runs
    )


def episodes(runs: Sequence[MonitorRun]) -> tuple[Episode, ...]:
    """Return the critical windows of each part, those in a row as one, in order of time."""
    found = [
        Episode(part, row[0].start, row[-1].end, len(row))
        for part in ("drift", "performance", "health")
        for row in _rows(runs, part, Status.CRITICAL)
    ]
    return tuple(sorted(found, key=lambda episode: (episode.start, episode.part)))


def _rows(runs: Sequence[MonitorRun], part: str, status: Status) -> list[list[MonitorRun]]:
    """Return the runs with a status, those in a row together; a gap in time parts them."""
    rows: list[list[MonitorRun]] = []
    last: MonitorRun | None = None
    for run in runs:
        if PARTS[part](run) is status:
            if last is not None and run.start <= last.end:
                rows[-1].append(run)
            else:
                rows.append([run])
            last = run
        else:
            last = None
    return rows


def evidence(runs: Sequence[MonitorRun]) -> EvidenceSummary | None:
    """Return where evidence stood highest, and the alarms; None without any evidence."""
    known = [(run, run.evidence) for run in runs if run.evidence is not None]
    if not known:
        return None
    run, highest = max(known, key=lambda item: item[1].log_e)
    alarms: dict[datetime | None, list[MonitorRun]] = {}
    for each, found in known:
        if found.alarm:
            alarms.setdefault(found.alarm_at, []).append(each)
    return EvidenceSummary(
        len(known),
        highest.log_e,
        run.end,
        highest.feature,
        highest.effect,
        highest.since,
        tuple(_period(raised_at, group) for raised_at, group in alarms.items()),
    )


def _period(raised_at: datetime | None, runs: list[MonitorRun]) -> AlarmPeriod:
    peak = max((run.evidence for run in runs if run.evidence), key=lambda found: found.log_e)
    return AlarmPeriod(raised_at, runs[0].start, runs[-1].end, len(runs), peak.feature, peak.effect)


def segments(runs: Sequence[MonitorRun]) -> tuple[SegmentSummary, ...]:
    """Sum up every segment that was met, by name."""
    found: dict[str, list[tuple[MonitorRun, SegmentResult]]] = {}
    for run in runs:
        for segment in run.segments:
            found.setdefault(segment.name, []).append((run, segment))
    return tuple(_segment(name, found[name]) for name in sorted(found))


def _segment(name: str, results: list[tuple[MonitorRun, SegmentResult]]) -> SegmentSummary:
    statuses = Counter(segment.status for _, segment in results)
    pooled = pool(replace(run, metrics=segment.metrics) for run, segment in results)
    return SegmentSummary(
        name,
        sum(segment.n for _, segment in results),
        len(results),
        statuses[Status.HEALTHY],
        statuses[Status.WARNING],
        statuses[Status.CRITICAL],
        statuses[Status.UNKNOWN],
        sum(bool(segment.evidence and segment.evidence.alarm) for _, segment in results),
        pooled.get("accuracy"),
    )


def metrics(
    runs: Sequence[MonitorRun], pooled: Mapping[str, Pooled], thresholds: Mapping[str, Threshold]
) -> tuple[MetricSummary, ...]:
    """Sum up every metric that has a value in some window, by type and in the order of the runs."""
    found: dict[tuple[MetricType, str], list[tuple[MonitorRun, Metric, float]]] = {}
    for run in runs:
        for metric in run.metrics:
            if metric.value is not None and math.isfinite(metric.value):
                found.setdefault((metric.type, metric.name), []).append((run, metric, metric.value))
    return tuple(
        _metric(kind, name, rows, pooled, thresholds)
        for part in MetricType
        for (kind, name), rows in found.items()
        if kind is part
    )


def _metric(
    kind: MetricType,
    name: str,
    rows: list[tuple[MonitorRun, Metric, float]],
    pooled: Mapping[str, Pooled],
    thresholds: Mapping[str, Threshold],
) -> MetricSummary:
    sign = 1 if larger_is_worse(name, kind) else -1
    run, _, worst = max(rows, key=lambda row: sign * row[2])
    threshold = thresholds.get(name)
    statuses = Counter(metric.status for _, metric, _ in rows)
    return MetricSummary(
        name=name,
        type=kind,
        windows=len(rows),
        n=sum(metric.n for _, metric, _ in rows),
        worst=worst,
        worst_at=run.start,
        median=median(value for _, _, value in rows),
        best=min((value for _, _, value in rows), key=lambda value: sign * value),
        warnings=statuses[Status.WARNING],
        criticals=statuses[Status.CRITICAL],
        pooled=pooled.get(name) if kind is MetricType.PERFORMANCE else None,
        threshold=threshold if threshold and threshold.type is kind else None,
    )


def revisions(runs: Iterable[MonitorRun]) -> tuple[Revision, ...]:
    """Return every further look at a window, from all revisions in the order in which they were made."""
    last: dict[Window, MonitorRun] = {}
    found = []
    for run in runs:
        before = last.get((run.start, run.end))
        if before is not None:
            found.append(
                Revision(
                    run.start,
                    run.end,
                    run.revision,
                    run.cause.value,
                    run.created_at,
                    before.status,
                    run.status,
                )
            )
        last[run.start, run.end] = run
    return tuple(sorted(found, key=lambda revision: (revision.start, revision.revision)))


def active(transitions: Iterable[Transition], start: datetime, end: datetime) -> list[Window]:
    """Return when in [start, end) the monitor was active, by its transitions in order of time."""
    found: list[Window] = []
    since: datetime | None = None
    for change in transitions:
        if change.after is MonitorState.ACTIVE:
            since = change.at if since is None else since
        elif since is not None:
            found.append((since, change.at))
            since = None
    if since is not None:
        found.append((since, end))
    clipped = [(max(low, start), min(high, end)) for low, high in found]
    return [(low, high) for low, high in clipped if low < high]


def governed(
    spans: Iterable[Window], versions: Sequence[ConfigVersion], now: MonitorConfig
) -> list[tuple[Window, MonitorConfig]]:
    """Part spans of time where the configuration changed; without any version the one of ``now`` counts."""
    found = []
    bounds = [*(version.at for version in versions[1:]), None]
    configs = [version.config for version in versions] or [now]
    for low, high in spans:
        begin: datetime | None = None
        for config, until in zip(configs, bounds, strict=True):
            part = (max(low, begin or low), min(high, until or high))
            if part[0] < part[1]:
                found.append((part, config))
            begin = until
    return found


def absent(
    runs: Iterable[MonitorRun],
    start: datetime,
    spans: Iterable[tuple[Window, MonitorConfig]],
    waiting: Iterable[Window],
) -> tuple[Absent, ...]:
    """Return the windows of the schedule in these spans that begin at ``start`` or later without a result.

    Only whole windows count, since the schedule begins with the window that is under way at the start and
    looks at none that had not ended at the stop.
    """
    have, waits = {(run.start, run.end) for run in runs}, set(waiting)
    rows: list[Absent] = []
    for (low, high), config in spans:
        for window in windows_between(low, high, config.frequency_minutes, config.time_zone):
            if window in have or window[0] < start:
                continue
            if rows and rows[-1].end == window[0]:
                last = rows.pop()
                begin, windows, waited = last.start, last.windows, last.waiting
            else:
                begin, windows, waited = window[0], 0, 0
            rows.append(Absent(begin, window[1], windows + 1, waited + (window in waits)))
    return tuple(rows)


def config_changes(
    versions: Sequence[ConfigVersion], start: datetime, end: datetime
) -> tuple[ConfigChange, ...]:
    """Return the versions of the configuration made in [start, end), and what each of them changed."""
    return tuple(
        ConfigChange(after.number, after.by, after.at, differences(before.config, after.config))
        for before, after in pairwise(versions)
        if start <= after.at < end
    )


def differences(before: MonitorConfig, after: MonitorConfig) -> tuple[Change, ...]:
    """Name the fields in which two configurations differ.

    >>> differences(MonitorConfig(), MonitorConfig(frequency_minutes=1))
    (Change(field='frequency_minutes', before=5, after=1),)
    """
    old, new = (dict(_fields(to_jsonable_python(config))) for config in (before, after))
    names = [*new, *(name for name in old if name not in new)]
    return tuple(
        Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
    )


def _fields(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
