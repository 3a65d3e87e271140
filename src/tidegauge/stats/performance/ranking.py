"""Scores in order: what ROC AUC and average precision count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from tidegauge.stats.performance.wilson import Estimate, wilson_bounds

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Positives and negatives ``[g]`` at each of g different scores, rising; ``order`` sorts the n rows."""

    positives: Counts
    negatives: Counts
    order: Counts

    @property
    def smaller(self) -> int:
        """How many there are of positives or of negatives, whichever are fewer."""
        return int(min(self.positives.sum(), self.negatives.sum()))

    def to_rows(self, of_positives: Floats, of_negatives: Floats, is_positive: Bools) -> Floats:
        """Give each of the n rows, in their own order, what belongs to its class and score."""
        group = np.empty(len(self.order), np.int64)
        group[self.order] = np.repeat(np.arange(len(self.positives)), self.positives + self.negatives)
        return np.where(is_positive, of_positives[group], of_negatives[group])


def rank(is_positive: npt.ArrayLike, scores: npt.ArrayLike) -> Ranking:
    """Count positives and negatives ``[n]`` at each different score ``[n]``.

    >>> found = rank([True, False, True], [0.7, 0.2, 0.2])
    >>> found.positives.tolist(), found.negatives.tolist()
    ([1, 1], [1, 0])
    """
    truth, values = np.asarray(is_positive, np.bool_), np.asarray(scores, np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(
            f"is_positive and scores have shapes {truth.shape} and {values.shape}; give [n] both"
        )
    if np.isnan(values).any():
        raise ValueError("scores has NaN; leave out rows without a score")
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.append(len(values) > 0, ordered[1:] != ordered[:-1])[: len(values)])
    if not len(starts):
        return Ranking(np.zeros(0, np.int64), np.zeros(0, np.int64), order)
    positives = np.add.reduceat(truth[order], starts, dtype=np.int64)
    return Ranking(positives, np.diff(starts, append=len(values)) - positives, order)


def rank_classes(truth: Counts, scores: Floats) -> list[Ranking]:
    """Rank each class against the rest: places of classes ``[n]`` by scores ``[n, classes]``.

    >>> [found.smaller for found in rank_classes(np.array([0, 1, 1]), np.eye(3)[:, :2])]
    [1, 1]
    """
    return [rank(truth == place, column) for place, column in enumerate(scores.T)]


def macro_area(
    truth: Counts,
    rankings: Sequence[Ranking],
    influence: Callable[[Ranking], tuple[float, Floats, Floats]],
    quantile: Callable[[int], float],
) -> Estimate:
    """Average an area over the classes that have one; ``truth`` ``[n]`` are places of classes.

    ``influence`` gives the area of a class and what one more positive or negative at each score would add to
    it. Classes share their rows, so the variance is that of the rows' influences, summed over classes first.
    ``quantile`` is of the smallest number of positives or negatives of a class.
    """
    n = len(truth)
    values, smallest = [], n
    parts = np.zeros(n)
    for place, ranking in enumerate(rankings):
        if not ranking.smaller:
            continue
        value, of_positives, of_negatives = influence(ranking)
        parts += ranking.to_rows(of_positives, of_negatives, truth == place)
        values.append(value)
        smallest = min(smallest, ranking.smaller)
    if not values:
        return Estimate(None, None, None, n)
    deviation = sqrt(float(parts @ parts) * n / (n - 1)) / len(values)
    return on_logit_scale(float(np.mean(values)), deviation, smallest, n, quantile(smallest))


def on_logit_scale(value: float, deviation: float, smaller: int, n: int, quantile: float) -> Estimate:
    """Return an estimate in (0, 1) whose interval is symmetric on the scale of log-odds.

    ``deviation`` is the standard error. Where it says nothing (a value of 0 or 1, a single positive or
    negative, scores that are all the same) the interval is Wilson's of ``smaller`` samples.

    >>> found = on_logit_scale(0.8, 0.05, 40, 100, 1.96)
    >>> round(found.low, 3), round(found.high, 3)
    (0.684, 0.881)
    """
    if smaller < 2 or deviation == 0 or not 0 < value < 1:
        return Estimate(value, *wilson_bounds(min(1.0, max(0.0, value)), smaller), n)
    reach = quantile * deviation / (value * (1 - value))
    centre = float(logit(value))
    return Estimate(value, float(expit(centre - reach)), float(expit(centre + reach)), n)
