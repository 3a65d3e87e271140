"""What thresholds would do on clean data, before anyone saves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from tidegauge.domain.monitor import PREDICTION, Monitor, MonitorRun, farthest
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.services import measuring
from tidegauge.services.baselines import Baselines
from tidegauge.services.monitor_checks import check_thresholds
from tidegauge.stats.advice import (
    CleanCategories,
    CleanNumbers,
    CleanProportion,
    expected_alerts,
    suggest_thresholds,
)
from tidegauge.stats.advice.clean import Clean
from tidegauge.stats.advice.thresholds import Alerts
from tidegauge.stats.scores import score_of_categories, score_of_numbers
from tidegauge.stats.tables import TableBaseline
from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.total_variation import total_variation
from tidegauge.storage.database import Database

_MINUTES_A_DAY = 1440
_WEEK, _YEAR = 7, 365
_DRAWS = 200_000
_MOST_SIZE = 1_000_000  # of a window
_LOOKED_AT = 500  # runs that tell the usual size of a window
_LEAST_LABELS = 30
_PROPORTIONS = ("accuracy", "precision", "recall", "specificity")


@dataclass(frozen=True)
class Preview:
    """What thresholds would do on clean data.

    ``alerts``: by name, how often soft and hard would be passed; None where nothing is known of clean values.
    ``sizes``: images of the windows that this is about; ``sentences`` say it in words; ``notes`` where a wish
    could not be met.
    """

    thresholds: Mapping[str, Mapping[str, Any]]
    alerts: Mapping[str, Alerts | None]
    sizes: tuple[int, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def together(self) -> str:
        """How often all of them together cry on clean data, at most; empty where nothing is known."""
        known = [expected for expected in self.alerts.values() if expected is not None]
        if not known:
            return ""
        soft, hard = (sum(getattr(e, side).per_day for e in known) for side in ("soft", "hard"))
        return f"On clean data they cry at most {_often(soft)} past soft, {_often(hard)} past hard."


class Advice:
    """Knows of a monitor what clean windows are like: from its baseline, and from labels that have come."""

    def __init__(self, database: Database, baselines: Baselines) -> None:
        self._database = database
        self._baselines = baselines

    def suggest(
        self, monitor: Monitor, size: int | None, soft_per_week: float, hard_per_year: float
    ) -> Preview:
        """Suggest thresholds that clean windows pass as rarely as wished."""
        runs = self._runs(monitor)
        clean, sizes = self._clean(monitor, runs), self._sizes(runs, size)
        if not clean:
            raise ConflictError(
                "The monitor has no baseline of drift and no labels yet; there is nothing to go by."
            )
        try:
            found = suggest_thresholds(
                clean,
                sizes,
                self._per_day(monitor),
                rng=np.random.default_rng(0),
                soft_per_day=soft_per_week / _WEEK,
                hard_per_day=hard_per_year / _YEAR,
                draws=_DRAWS,
            )
        except ValueError as error:
            raise InvalidInputError(f"{error}.") from error
        return Preview(found.thresholds, found.alerts, tuple(sizes), _sentences(found.alerts), found.notes)

    def preview(self, monitor: Monitor, thresholds: bytes | Mapping[str, Any], size: int | None) -> Preview:
        """Say how often given thresholds would cry on clean data; nothing is saved."""
        parsed = parse_thresholds(thresholds)
        check_thresholds(monitor, parsed)
        runs = self._runs(monitor)
        sizes = self._sizes(runs, size)
        asked = {t.name: {"type": t.type.value, "soft": t.soft, "hard": t.hard} for t in parsed.values()}
        alerts = expected_alerts(
            asked,
            self._clean(monitor, runs),
            sizes,
            self._per_day(monitor),
            rng=np.random.default_rng(0),
            draws=_DRAWS,
        )
        return Preview(asked, alerts, tuple(sizes), _sentences(alerts))

    def _clean(self, monitor: Monitor, runs: tuple[MonitorRun, ...]) -> dict[str, Clean]:
        found: dict[str, Clean] = {}
        baseline = self._baselines.load(monitor) if monitor.baseline else None
        algorithm = monitor.config.drift.algorithm
        ours = algorithm != "custom" and score_of_numbers(algorithm) is kolmogorov_smirnov
        if baseline and baseline.image is not None and ours:
            found["image"] = CleanNumbers(baseline.image.strangeness)
        if baseline and baseline.table is not None:
            found |= _columns(baseline.table, algorithm)
        if baseline and baseline.outputs is not None and score_of_numbers(algorithm) is kolmogorov_smirnov:
            found[PREDICTION] = CleanNumbers(baseline.outputs.values)
        if baseline and baseline.predictions and score_of_categories(algorithm) is total_variation:
            found[PREDICTION] = CleanCategories(baseline.predictions)
        for name in _PROPORTIONS:
            pairs = [measuring.hits(run.metrics).get(name, (0, 0)) for run in runs]
            right, n = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (0, 0)
            if n >= _LEAST_LABELS:
                found[name] = CleanProportion(right / n, n)
        return found

    def _runs(self, monitor: Monitor) -> tuple[MonitorRun, ...]:
        found = self._database.monitor_runs.where(monitor_id=monitor.id, sort="-start", limit=_LOOKED_AT)
        latest: dict[tuple[datetime, datetime], MonitorRun] = {}
        for run in found:  # of one window the last revision comes first
            latest.setdefault((run.start, run.end), run)
        return tuple(latest.values())

    @staticmethod
    def _sizes(runs: tuple[MonitorRun, ...], size: int | None) -> list[int]:
        if size is not None:
            if not 1 <= size <= _MOST_SIZE:
                raise InvalidInputError.of(
                    "size", f"size is {size}; give the images or rows of a window, from 1 to {_MOST_SIZE:,}."
                )
            return [size]
        seen = [metric.n for run in runs if (metric := farthest(run.metrics)) and metric.n]
        if not seen:
            raise InvalidInputError.of(
                "size", "size is missing, and no window had images or rows yet; give how many a window has."
            )
        return seen

    @staticmethod
    def _per_day(monitor: Monitor) -> float:
        return _MINUTES_A_DAY / monitor.config.frequency_minutes


def _columns(table: TableBaseline, algorithm: str) -> dict[str, Clean]:
    """Return the laws of columns; nothing is known of the score of those with missing values."""
    found: dict[str, Clean] = {}
    for name, summary in table.summaries.items():
        if summary.missing:
            continue
        if (
            isinstance(summary, Numbers)
            and len(summary)
            and score_of_numbers(algorithm) is kolmogorov_smirnov
        ):
            found[name] = CleanNumbers(summary.values)
        elif (
            isinstance(summary, Categories)
            and summary.n
            and score_of_categories(algorithm) is total_variation
        ):
            found[name] = CleanCategories(summary.counts)
    return found


def _sentences(alerts: Mapping[str, Alerts | None]) -> tuple[str, ...]:
    found = []
    for name, expected in alerts.items():
        if expected is None:
            found.append(f"{name}: nothing is known of its values on clean data yet.")
        else:
            found.append(
                f"{name}: on clean data {_often(expected.soft.per_day)} past soft, "
                f"{_often(expected.hard.per_day)} past hard."
            )
    return tuple(found)


def _often(per_day: float) -> str:
    """Word a frequency.

    >>> [_often(x) for x in (34.1, 2 / 7, 1 / 365, 0.0, 1e-6)]
    ['about 34 a day', 'about 2 a week', 'about 1 a year', 'never', 'less than one in 10 years']
    """
    if per_day <= 0:
        return "never"
    for scale, name in ((1, "day"), (_WEEK, "week"), (_YEAR, "year")):
        if per_day * scale >= 0.95:
            return f"about {per_day * scale:.0f} a {name}"
    return "about one in some years" if per_day * _YEAR >= 0.1 else "less than one in 10 years"
