"""What monitors have found so far: one over a span of time, or all of a person at a glance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, cast

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import PREDICTION, Monitor, MonitorRun, MonitorState, by_labels, with_late
from tidegauge.domain.series import (
    COLUMNS,
    MOST_POINTS,
    Names,
    Series,
    WindowResult,
    named,
    series,
    values_of,
)
from tidegauge.domain.status import ORDER, Status, worst
from tidegauge.storage.database import Database
from tidegauge.storage.history import SeenBy

DAYS = 30  # that a glance at all monitors looks back


@dataclass(frozen=True)
class Day:
    """The windows of a day by status."""

    day: date
    windows: Mapping[Status, int] = field(default_factory=dict)

    @property
    def status(self) -> Status | None:
        """The worst status of the day; None where no window was looked at."""
        return max((s for s, count in self.windows.items() if count), key=ORDER.index, default=None)

    def share(self, status: Status) -> float:
        """Return which part of the windows had a status."""
        total = sum(self.windows.values())
        return self.windows.get(status, 0) / total if total else 0.0


@dataclass(frozen=True)
class Glance:
    """A monitor as a list shows it: where it stands, its newest window, and its last days.

    ``score`` is the largest score of inputs in that window, of ``feature``; ``alarm`` tells a drift alarm,
    and ``firing`` counts the alerts that fire now.
    """

    id: str
    deployment_id: str
    name: str
    state: MonitorState
    status: Status
    progress: str
    message: str
    run_id: str | None
    start: datetime | None
    end: datetime | None
    drift: Status
    performance: Status
    health: Status
    alarm: bool
    score: float | None
    feature: str
    firing: int
    owner: str = ""
    shared: bool = False
    days: tuple[Day, ...] = ()


@dataclass(frozen=True)
class Overview:
    """All monitors that a person sees; ``fired`` counts the alerts of each day by severity."""

    monitors: tuple[Glance, ...]
    days: tuple[date, ...]
    fired: Mapping[date, Mapping[str, int]]

    def count(self, status: Status) -> int:
        """Return how many monitors have a status."""
        return sum(monitor.status is status for monitor in self.monitors)


class History:
    """Keeps the result of each window in short, and reads many of them at once."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def note(self, monitor: Monitor, run: MonitorRun) -> None:
        """Keep what a run found in short; call it in the transaction that saves the run."""
        names = monitor.metric_names  # those of a moment ago have their places still
        if named(names, [run]) != names:
            names = named(self._names(monitor.id), [run])
            self._database.monitors.update(monitor.id, metric_names=names)
        self._database.window_results.put(WindowResult.of(run, names))
        found = run.realised()
        if found is not None and run.end >= (self._realised_at(monitor.id) or run.end):
            self._database.monitors.update(monitor.id, realised=found, realised_at=run.end)

    def series(
        self,
        monitor: Monitor,
        start: datetime | None = None,
        end: datetime | None = None,
        most: int = MOST_POINTS,
    ) -> Series:
        """Return what a monitor found in the windows that begin in [start, end), in at most so many spans."""
        return series(self._database.window_results.of(monitor.id, start, end), monitor.metric_names, most)

    def glances(self, owner: str, *, everything: bool = False) -> tuple[Glance, ...]:
        """Return every monitor that a person sees, by name, without its days.

        They see their own and those shared; ``everything`` is for operators.
        """
        seen_by = SeenBy(owner, everything)
        firing = self._database.window_results.firing(seen_by)
        rows = self._database.window_results.at_a_glance(seen_by)
        return tuple(sorted((_glance(row, firing) for row in rows), key=lambda glance: glance.name))

    def overview(self, owner: str, *, everything: bool = False) -> Overview:
        """Return every monitor that a person sees with its last days, and how often alerts fired on each."""
        seen_by = SeenBy(owner, everything)
        today = self._now().date()
        days = tuple(today - timedelta(days=back) for back in range(DAYS - 1, -1, -1))
        since = self._now() - timedelta(days=DAYS + 1)  # a day of another time zone may have begun earlier
        found: dict[str, dict[date, Mapping[Status, int]]] = defaultdict(dict)
        for monitor_id, day, statuses in self._database.window_results.days(seen_by, since):
            if statuses:
                middle = (day + timedelta(hours=12)).date()
                found[monitor_id][middle] = {Status(name): count for name, count in statuses.items()}
        fired: dict[date, Counter[str]] = {day: Counter() for day in days}
        for day_text, severity, count in self._database.window_results.fired(seen_by, since):
            fired.setdefault(date.fromisoformat(day_text), Counter())[severity] += count
        monitors = []
        for glance in self.glances(owner, everything=everything):
            of_days = tuple(Day(day, found[glance.id].get(day, {})) for day in days)
            monitors.append(replace(glance, days=of_days))
        return Overview(tuple(monitors), days, {day: fired[day] for day in days})

    def _realised_at(self, monitor_id: str) -> datetime | None:
        [(end,)] = self._database.monitors.columns("realised_at", id=monitor_id)
        return cast("datetime | None", end)

    def _names(self, monitor_id: str) -> Names:
        [(stored,)] = self._database.monitors.columns("metric_names", id=monitor_id)
        return _names(stored)


def _names(stored: Sequence[Sequence[str]]) -> Names:
    return tuple((name, MetricType(kind)) for name, kind in stored)


def _glance(row: Mapping[str, Any], firing: Mapping[str, int]) -> Glance:
    window = {name: row[f"window_{name}"] for name in COLUMNS}
    seen = window["run_id"] is not None
    score, feature = _score(row, window) if seen else (None, "")
    late = by_labels(Status(row["realised"]), row["realised_at"], window["end"]) if seen else Status.UNKNOWN
    return Glance(
        id=row["id"],
        deployment_id=row["deployment_id"],
        name=row["name"],
        state=MonitorState(row["state"]),
        status=with_late(Status(row["status"]), late),
        progress=row["progress"],
        message=row["message"],
        run_id=window["run_id"],
        start=window["start"],
        end=window["end"],
        drift=Status(window["drift"]) if seen else Status.UNKNOWN,
        performance=worst([Status(window["performance"]), late]) if seen else Status.UNKNOWN,
        health=Status(window["health"]) if seen else Status.UNKNOWN,
        alarm=bool(window["alarm"]),
        score=score,
        feature=feature,
        firing=firing.get(row["id"], 0),
        owner=row["owner"],
        shared=row["shared"],
    )


def _score(row: Mapping[str, Any], window: Mapping[str, Any]) -> tuple[float | None, str]:
    """Return the largest score of inputs in a window, and of which feature it is."""
    names = _names(row["metric_names"])
    values = values_of(window["packed"], names)
    scores = {
        name: values[name]
        for name, kind in names
        if kind is MetricType.DRIFT and name != PREDICTION and name in values
    }
    if not scores:
        return None, ""
    feature = max(scores, key=scores.__getitem__)
    return scores[feature], feature
