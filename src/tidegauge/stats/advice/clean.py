"""What clean windows are drawn from: the baseline's numbers and categories, held-out answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tidegauge.stats.advice.laws import (
    Distance,
    Floats,
    Indices,
    Law,
    Sizes,
    Values,
    batches,
    filled_by,
    total,
)


class Clean(Protocol):
    """What clean windows are drawn from: ``CleanNumbers``, ``CleanCategories``, ``CleanProportion``, ..."""

    @property
    def kind(self) -> str:
        """Type of the thresholds: drift or performance."""

    @property
    def larger_is_worse(self) -> bool:
        """Tell which way is worse."""

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law in windows of these sizes."""


@dataclass(frozen=True, eq=False)
class CleanNumbers:
    """Numbers ``[m]`` of the baseline, NaN left out: a column's, or ``ImageBaseline.strangeness``.

    The score is the Kolmogorov-Smirnov distance. Its law is that of m numbers and a window drawn alike: the
    baseline's own error is part of it, so the promise holds on average over baselines. Exact without ties (up
    to 50 million pairs, then the one-sample law at the effective size, within some 3%), with ties as long as
    the distinct numbers are few, else an upper bound. Source: Hodges, Arkiv for Matematik 3 (1958).
    """

    baseline: npt.ArrayLike
    kind = "drift"
    larger_is_worse = True

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:  # noqa: ARG002 - exact
        """Return the law of the distance."""
        numbers = np.asarray(self.baseline, np.float64).ravel()
        counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)[1]
        if not len(counts):
            raise ValueError("baseline has no numbers; give those of the training data")
        return Distance(counts.astype(np.int64), sizes)


@dataclass(frozen=True)
class CleanCategories:
    """Counts of the baseline by category; the score is the total variation distance.

    Shares are known as well as the counts fix them: a window is drawn from the Dirichlet-multinomial law
    with parameters count + 1/categories. Source: Perks, Journal of the Institute of Actuaries 73 (1947).
    """

    counts: Mapping[str, int]
    kind = "drift"
    larger_is_worse = True

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the distance."""
        counts = _positive(np.array(list(self.counts.values()), np.float64), "counts")
        shares = counts / counts.sum()

        def distance(filled: Indices) -> Floats:
            window = filled / filled.sum(axis=1, keepdims=True)
            return np.asarray(np.abs(window - shares).sum(axis=1) / 2, np.float64)

        return filled_by(counts + 1 / len(counts), distance, True, sizes, draws, rng)


@dataclass(frozen=True)
class CleanProportion:
    """A metric that is a share of the window, such as accuracy, with its true value ``share``.

    Binomial; where the share is only known from ``known_from`` held-out samples, beta-binomial.
    """

    share: float
    known_from: int | None = None
    kind = "performance"
    larger_is_worse = False

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the share."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}; give a number from 0 to 1")
        shares = np.array([self.share, 1 - self.share])
        if self.known_from is None:
            return filled_by(shares, _first_share, False, sizes, draws, rng, known=True)
        return filled_by(shares * self.known_from + 0.5, _first_share, False, sizes, draws, rng)


@dataclass(frozen=True, eq=False)
class CleanClassification:
    """Held-out ``labels`` and ``predictions``, both ``[m]``, and a metric of them.

    ``metric``: accuracy, precision, recall or f1_score, of ``positive`` where there are two classes, else
    the mean over the classes that have a value. A window in which it has no value passes no threshold.
    The shares of the confusion matrix are known as well as m samples fix them, as in ``CleanCategories``.
    """

    labels: Sequence[str]
    predictions: Sequence[str]
    metric: str = "accuracy"
    positive: str | None = None
    kind = "performance"
    larger_is_worse = False

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the metric."""
        if len(self.labels) != len(self.predictions) or not len(self.labels):
            raise ValueError(
                f"{len(self.labels)} labels and {len(self.predictions)} predictions; give as many of each"
            )
        if self.metric not in _METRICS:
            raise ValueError(f"metric is {self.metric!r}; use one of {', '.join(_METRICS)}")
        names = sorted({str(x) for x in self.labels} | {str(x) for x in self.predictions})
        place = {name: index for index, name in enumerate(names)}
        cells = np.zeros((len(names), len(names)))
        np.add.at(cells, ([place[str(x)] for x in self.labels], [place[str(x)] for x in self.predictions]), 1)
        if self.metric == "accuracy":
            right = float(np.trace(cells))
            parts = np.array([right, cells.sum() - right]) + 0.5
            return filled_by(parts, _first_share, False, sizes, draws, rng)
        chosen = [place[self.positive]] if self.positive in place and len(names) == 2 else None

        def metric(filled: Indices) -> Floats:
            return _METRICS[self.metric](filled.reshape(-1, len(names), len(names)), chosen)

        return filled_by(cells.ravel() + 1 / cells.size, metric, False, sizes, draws, rng)


@dataclass(frozen=True, eq=False)
class CleanSamples:
    """Any other metric of ``rows`` held-out samples (AUC, MAE, ...), by resampling them with replacement.

    ``statistic`` takes rows ``[draws, n]``, indices below ``rows``, and returns the metric ``[draws]``, NaN
    where it has no value.
    """

    statistic: Callable[[Indices], Floats]
    rows: int
    larger_is_worse: bool
    kind: str = "performance"

    def law(self, sizes: Sizes, draws: int, rng: np.random.Generator) -> Law:
        """Return the law of the metric."""
        if self.rows < 1:
            raise ValueError(f"rows is {self.rows}; give held-out samples")
        values = [
            self.statistic(rng.integers(0, self.rows, (count, size)))
            for size, share in sizes.items()
            for count in batches(round(draws * share), size)
        ]
        found = np.concatenate(values)
        return Values(found, np.full(len(found), total(sizes) / len(found)), self.larger_is_worse, draws)


def _first_share(filled: Indices) -> Floats:
    return np.asarray(filled[:, 0] / filled.sum(axis=1))


def _precision(cells: Indices, chosen: list[int] | None) -> Floats:
    return _mean_ratio(np.einsum("ijj->ij", cells), cells.sum(axis=1), chosen)


def _recall(cells: Indices, chosen: list[int] | None) -> Floats:
    return _mean_ratio(np.einsum("ijj->ij", cells), cells.sum(axis=2), chosen)


def _f1_score(cells: Indices, chosen: list[int] | None) -> Floats:
    return _mean_ratio(2 * np.einsum("ijj->ij", cells), cells.sum(axis=1) + cells.sum(axis=2), chosen)


def _accuracy(cells: Indices, _: list[int] | None) -> Floats:
    return np.asarray(np.einsum("ijj->i", cells) / cells.sum(axis=(1, 2)))


_METRICS: Mapping[str, Callable[[Indices, list[int] | None], Floats]] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1_score": _f1_score,
}


def _mean_ratio(part: Indices, whole: Indices, chosen: list[int] | None) -> Floats:
    """Average over the chosen classes, or all, those that have a value; NaN where none has."""
    places = range(part.shape[1]) if chosen is None else chosen
    known = (whole[:, places] > 0).sum(axis=1)
    ratios = part[:, places] / np.maximum(whole[:, places], 1)
    return np.where(known > 0, ratios.sum(axis=1) / np.maximum(known, 1), np.nan)


def _positive(counts: Floats, name: str) -> Floats:
    if not len(counts) or (counts < 0).any() or not counts.sum() > 0:
        raise ValueError(f"{name} must not be negative, and one must be positive; give those of the baseline")
    return counts
