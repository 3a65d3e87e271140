"""What a monitor found over a span of time, in no more points than a chart can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isnan

import numpy as np
import numpy.typing as npt

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import MonitorRun
from tidegauge.domain.status import ORDER, Status

MOST_POINTS = 480  # of a series: a chart of 960 pixels has two for each
#: The metrics that windows have a value of, each with its type; a name keeps its place.
Names = tuple[tuple[str, MetricType], ...]
Floats = npt.NDArray[np.float64]
_PARTS = ("status", "health", "drift", "performance")
_PLACE = {status.value: place for place, status in enumerate(ORDER)}


@dataclass(frozen=True)
class WindowResult:
    """The latest result of one window, without what only the page of its run shows.

    ``evidence`` is the natural logarithm of the e-process at its end. ``packed`` has value and 95% interval
    of each metric of the whole, float32 ``[metrics, 3]`` in the order of the monitor's ``metric_names``, NaN
    for none: a month of windows is read in one piece.
    """

    id: str  # <monitor id>/<start>/<end>
    monitor_id: str
    run_id: str
    start: datetime
    end: datetime
    status: Status
    health: Status
    drift: Status
    performance: Status
    evidence: float | None
    alarm: bool
    packed: bytes

    @classmethod
    def of(cls, run: MonitorRun, names: Names) -> WindowResult:
        """Return what a run found, in short."""
        return cls(
            id=f"{run.monitor_id}/{run.start.isoformat()}/{run.end.isoformat()}",
            monitor_id=run.monitor_id,
            run_id=run.id,
            start=run.start,
            end=run.end,
            status=run.status,
            health=run.health,
            drift=run.drift,
            performance=run.performance,
            evidence=run.evidence.log_e if run.evidence else None,
            alarm=run.evidence.alarm if run.evidence else False,
            packed=_packed(run, names),
        )


def named(names: Names, runs: Iterable[MonitorRun]) -> Names:
    """Return the names with those that the runs have besides, at the end."""
    found = dict(names)
    for run in runs:
        for metric in run.metrics:
            found.setdefault(metric.name, metric.type)
    return tuple(found.items())


@dataclass(frozen=True)
class Point:
    """A metric over the windows of one span: their mean, the extremes, and the mean interval."""

    value: float
    least: float
    most: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Span:
    """Windows that follow each other and are shown as one; the statuses are the worst of theirs.

    ``run_id`` is the run of the worst window, and of several such the last. ``evidence`` is the largest.
    """

    start: datetime
    end: datetime
    windows: int
    run_id: str
    status: Status
    health: Status
    drift: Status
    performance: Status
    evidence: float | None
    alarm: bool
    points: Mapping[str, Point] = field(default_factory=dict)


@dataclass(frozen=True)
class Series:
    """Spans in order of time, and the metrics that any of them has a value of."""

    spans: tuple[Span, ...]
    names: Names = ()

    def metrics(self, type_: MetricType) -> tuple[str, ...]:
        """Return the names of the metrics of a type."""
        return tuple(name for name, of in self.names if of is type_)


def series(windows: Sequence[Sequence[object]], names: Names, most: int = MOST_POINTS) -> Series:
    """Join windows, in order of time, to at most ``most`` spans, extremes kept.

    Each window has what ``COLUMNS`` names, as the database has it. Every span has as many windows as the
    others, but for the last, which may have fewer.
    """
    if not windows:
        return Series(())
    starts, ends, run_ids, *rest = zip(*windows, strict=True)
    statuses = np.array([[_PLACE[str(status)] for status in part] for part in rest[:4]], np.int8)
    evidence = np.array([np.nan if e is None else e for e in rest[4]], np.float64)
    alarm = np.array(rest[5], np.bool_)
    values = _unpacked(rest[6], len(names))
    size = max(1, -(-len(windows) // most))
    first = np.arange(0, len(windows), size)
    worst = np.maximum.reduceat(statuses, first, axis=1)
    largest = np.fmax.reduceat(evidence, first)
    alarmed = np.logical_or.reduceat(alarm, first)
    points = _points(values, first)
    spans = []
    for place, begin in enumerate(first.tolist()):
        stop = min(begin + size, len(windows))
        last = stop - 1 - int(np.argmax(statuses[0, begin:stop][::-1] == worst[0, place]))
        status, health, drift, performance = (ORDER[part] for part in worst[:, place].tolist())
        spans.append(
            Span(
                start=_time(starts[begin]),
                end=_time(ends[stop - 1]),
                windows=int(stop - begin),
                run_id=str(run_ids[last]),
                status=status,
                health=health,
                drift=drift,
                performance=performance,
                evidence=_known(float(largest[place])),
                alarm=bool(alarmed[place]),
                points={
                    name: Point(value, least, most, _known(low), _known(high))
                    for (name, _), (value, least, most, low, high) in zip(
                        names, points[place].tolist(), strict=True
                    )
                    if not isnan(value)
                },
            )
        )
    used = {name for span in spans for name in span.points}
    return Series(tuple(spans), tuple(item for item in names if item[0] in used))


#: What ``series`` needs of each window, in this order.
COLUMNS = ("start", "end", "run_id", *_PARTS, "evidence", "alarm", "packed")


def series_of(runs: Sequence[MonitorRun], most: int = MOST_POINTS) -> Series:
    """Return the series of runs, the latest of each window, in order of time."""
    names = named((), runs)
    results = [WindowResult.of(run, names) for run in runs]
    return series([tuple(getattr(result, name) for name in COLUMNS) for result in results], names, most)


def values_of(packed: bytes, names: Names) -> dict[str, float]:
    """Return the metrics of one window that have a value."""
    values = _unpacked([packed], len(names))[0, :, 0].tolist()
    return {name: value for (name, _), value in zip(names, values, strict=True) if not isnan(value)}


def _packed(run: MonitorRun, names: Names) -> bytes:
    table = np.full((len(names), 3), np.nan, np.float32)
    places = {name: place for place, (name, _) in enumerate(names)}
    for metric in run.metrics:
        numbers = [metric.value, metric.low, metric.high]
        table[places[metric.name]] = [np.nan if number is None else number for number in numbers]
    return table.tobytes()


def _unpacked(packed: Sequence[bytes], count: int) -> Floats:
    """Return values and intervals ``[windows, count, 3]``; what was written before a name came lacks it."""
    width = count * 12
    whole = b"".join(one if len(one) == width else one.ljust(width, b"\0")[:width] for one in packed)
    table = np.frombuffer(whole, np.float32).reshape(len(packed), count, 3).astype(np.float64)
    for row, one in enumerate(packed):
        if len(one) < width:
            table[row, len(one) // 12 :] = np.nan
    return table


def _points(values: Floats, first: npt.NDArray[np.integer]) -> Floats:
    """Return mean, least, most, mean low and mean high of each span and metric, ``[spans, metrics, 5]``."""
    known = ~np.isnan(values)
    counts = np.maximum(np.add.reduceat(known, first, axis=0, dtype=np.int64), 0)
    sums = np.add.reduceat(np.where(known, values, 0.0), first, axis=0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    least = np.fmin.reduceat(values[:, :, 0], first, axis=0)
    most = np.fmax.reduceat(values[:, :, 0], first, axis=0)
    return np.stack([means[:, :, 0], least, most, means[:, :, 1], means[:, :, 2]], axis=2)


def _known(number: float) -> float | None:
    return None if isnan(number) else number


def _time(value: object) -> datetime:
    """Return a time, or a text that is one as databases have it, in UTC."""
    time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
