"""Drift of tables: a score for each selected feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric
from tidegauge.domain.status import Status
from tidegauge.stats.scores import score_of_categories, score_of_numbers
from tidegauge.stats.tables import ColumnDrift, TableBaseline, compare
from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.storage.observations import Observations


def table_drift(algorithm: str, baseline: TableBaseline, observed: Observations) -> list[Metric]:
    """Return the score of each feature of the baseline, in its order; without rows no score has a value."""
    rows = np.flatnonzero(observed.seen)
    if observed.table is None or not len(rows):
        return [Metric(name, MetricType.DRIFT, None, 0, Status.UNKNOWN) for name in baseline.summaries]
    window = {name: observed.table[name][rows] for name in baseline.summaries}
    found = compare(
        baseline,
        window,
        np.random.default_rng(0),
        numbers=score_of_numbers(algorithm),
        categories=score_of_categories(algorithm),
    )
    return [
        Metric(
            name,
            MetricType.DRIFT,
            column.score,
            len(rows),
            Status.UNKNOWN,
            detail=_detail(column, baseline.summaries[name], window[name]),
        )
        for name, column in found.columns.items()
    ]


def _detail(column: ColumnDrift, before: Numbers | Categories, now: npt.NDArray[Any]) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "p_value": column.p_value,
        "psi": column.psi,
        "missing": column.missing,
        "known": column.n,
    }
    if isinstance(before, Numbers):
        detail |= {"mean": mean_of(now), "baseline_mean": mean_of(before.values)}
    else:
        detail |= _most_moved(before, Categories.of(now))
    return detail


def mean_of(values: npt.NDArray[np.floating]) -> float | None:
    """Return the mean of the finite numbers; None where there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _most_moved(before: Categories, now: Categories) -> dict[str, Any]:
    """Name the category whose share has changed most, with both shares."""
    left, right = before.beside(now)
    if not left.sum() or not right.sum():
        return {}
    shares = right / right.sum(), left / left.sum()
    names = sorted(before.counts.keys() | now.counts.keys())
    place = int(np.argmax(np.abs(shares[0] - shares[1])))
    return {
        "category": names[place],
        "share": float(shares[0][place]),
        "baseline_share": float(shares[1][place]),
    }
