"""What a day adds up to: proportions with bounds that hold all day, and windows by status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorRun, Tally
from tidegauge.domain.status import Status
from tidegauge.domain.windows import window_of
from tidegauge.services import measuring
from tidegauge.storage.database import Database

Counts = dict[str, tuple[int, int]]
_DAY = 1440  # minutes


class Tallying:
    """Adds each run to the tally of its day, in the place of what was found in its window before."""

    def __init__(self, database: Database) -> None:
        self._tallies = database.tallies

    def tallied(self, monitor: Monitor, run: MonitorRun, last: MonitorRun | None) -> MonitorRun:
        """Give proportions the bounds that hold all day, from all labels of the day that have come so far.

        ``last`` is what the same window had before; call it in the transaction that saves the run.
        """
        day, _ = window_of(run.start, _DAY, monitor.config.time_zone)
        old = {segment.name: segment.metrics for segment in last.segments} if last else {}
        counts = self._add(
            f"{monitor.id}/{day.isoformat()}",
            monitor,
            day,
            (measuring.hits(run.metrics), measuring.hits(last.metrics if last else ())),
            (run.status, last.status if last else None),
        )
        return replace(
            run,
            metrics=_sure(run.metrics, counts),
            segments=tuple(
                replace(
                    one,
                    metrics=_sure(
                        one.metrics,
                        self._add(
                            f"{monitor.id}/{day.isoformat()}/{one.name}",
                            monitor,
                            day,
                            (measuring.hits(one.metrics), measuring.hits(old.get(one.name, ()))),
                        ),
                    ),
                )
                for one in run.segments
            ),
        )

    def _add(
        self,
        id_: str,
        monitor: Monitor,
        day: datetime,
        hits: tuple[Counts, Counts],
        statuses: tuple[Status, Status | None] | None = None,
    ) -> Mapping[str, tuple[int, int]]:
        """Add what is new and take away what was before; return the counts of the day."""
        found, old = hits
        if not found and not old and statuses is None:
            return {}
        known = self._tallies.find(id=id_)
        tally = known or Tally(id_, monitor.id, day, {})
        counts = dict(tally.counts)
        for name in {*found, *old}:
            sums = zip(counts.get(name, (0, 0)), found.get(name, (0, 0)), old.get(name, (0, 0)), strict=True)
            right, n = (total + new - gone for total, new, gone in sums)
            counts[name] = (right, n)
        shown = dict(tally.statuses)
        for status, change in zip(statuses or (), (1, -1), strict=False):
            if status is not None:
                # Windows of before there was such a count are not taken away from it.
                shown[status.value] = max(0, shown.get(status.value, 0) + change)
        if known:
            self._tallies.update(id_, counts=counts, statuses=shown)
        else:
            self._tallies.add(replace(tally, counts=counts, statuses=shown))
        return counts


def _sure(metrics: tuple[Metric, ...], counts: Mapping[str, tuple[int, int]]) -> tuple[Metric, ...]:
    """Give the proportions among the metrics their bounds of the day."""
    bounds = {name: measuring.surely(counts[name]) for name in measuring.hits(metrics)}
    return tuple(
        replace(metric, surely_low=known[0], surely_high=known[1])
        if metric.type is MetricType.PERFORMANCE and (known := bounds.get(metric.name))
        else metric
        for metric in metrics
    )
