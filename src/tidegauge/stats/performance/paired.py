"""Two models on the same samples: the difference of a proportion with its interval, and McNemar's test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import binomtest

from tidegauge.stats.performance.wilson import Estimate

Right = npt.NDArray[np.bool_]
_NEAR = 1e-9


@dataclass(frozen=True)
class Paired:
    """The metric of the second model less that of the first, on ``difference.n`` samples.

    ``better`` samples only the second has right, ``worse`` only the first; ``p_value`` is that of McNemar's
    exact test, two-sided: how likely is so uneven a split, or one more so, if neither is the better one.
    """

    difference: Estimate
    better: int
    worse: int
    p_value: float


def compare_paired(
    metric: str,
    truth: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    positive: str | None = None,
    confidence: float = 0.95,
) -> Paired:
    """Compare two models by accuracy, balanced_accuracy, recall or specificity of the same samples.

    Each is a proportion of right answers: of all, of each true class averaged, of the true ``positive``, of
    the other ones. Disagreements are counted on the samples that the metric speaks of. Raises ValueError for
    another metric, for sequences of unequal length and for recall or specificity without ``positive``.

    >>> truth = ["a"] * 60 + ["b"] * 40
    >>> found = compare_paired("accuracy", truth, ["a"] * 100, ["a"] * 55 + ["b"] * 45)
    >>> found.difference.value, found.better, found.worse, found.difference.low > 0
    (0.35, 40, 5, True)
    """
    if not len(truth) == len(first) == len(second):
        raise ValueError("truth, first and second differ in length; give one answer of each to each sample")
    if metric in ("recall", "specificity") and positive is None:
        raise ValueError(f"positive is missing; {metric} speaks of one class")
    true = np.asarray(truth, object)
    one, other = (np.asarray(answers, object) == true for answers in (first, second))
    if metric == "balanced_accuracy":
        return _balanced(true, one, other, confidence)
    chosen = {"recall": true == positive, "specificity": true != positive, "accuracy": np.ones(true.shape)}
    if metric not in chosen:
        raise ValueError(f"metric is {metric!r}; use accuracy, balanced_accuracy, recall or specificity")
    rows = np.asarray(chosen[metric], np.bool_).reshape(true.shape)
    better, worse = _disagreements(one[rows], other[rows])
    difference = paired_difference(better, worse, int(rows.sum()), confidence)
    return Paired(difference, better, worse, mcnemar(better, worse))


def paired_difference(better: int, worse: int, n: int, confidence: float = 0.95) -> Estimate:
    """Return (better - worse) / n with Tango's score interval.

    It holds its level for few samples and few disagreements, where Wald's interval is far too narrow, and is
    not empty where there is none. Source: Tango, "Equivalence test and confidence interval for the difference
    in proportions for the paired-sample design", Statistics in Medicine 17 (1998).

    >>> found = paired_difference(1, 7, 21)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (-0.286, -0.517, -0.026)
    """
    if n == 0:
        return Estimate(None, None, None, 0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    value = (better - worse) / n

    def excess(delta: float, bound: float) -> float:
        spread = sqrt(max(0.0, n * _variance(better, worse, n, delta)))
        return better - worse - n * delta + bound * spread

    # At the value itself, and at -1 and 1, the root may be the trivial one where nothing varies.
    inside, low, high = _NEAR, -1.0, 1.0
    if value - inside > -1 and excess(value - inside, -z) < 0:
        low = float(brentq(excess, -1 + inside / 2, value - inside, args=(-z,), xtol=1e-12))
    if value + inside < 1 and excess(value + inside, z) > 0:
        high = float(brentq(excess, value + inside, 1 - inside / 2, args=(z,), xtol=1e-12))
    return Estimate(value, low, high, n)


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p-value of McNemar's exact test; 1 where the models never disagree.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947); exact by the binomial distribution.

    >>> round(mcnemar(1, 7), 4)
    0.0703
    """
    both = better + worse
    return float(binomtest(better, both, 0.5).pvalue) if both else 1.0


def _variance(better: int, worse: int, n: int, delta: float) -> float:
    """Return n times the variance of the difference, where it is ``delta``, by the restricted estimate."""
    linear = -better - worse + (2 * n - better + worse) * delta
    constant = -worse * delta * (1 - delta)
    share = (sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    return 2 * share + delta * (1 - delta)


def _balanced(true: npt.NDArray[np.object_], one: Right, other: Right, confidence: float) -> Paired:
    """Average the differences of the classes, which are independent.

    Source of the interval: Zou and Donner, "Construction of confidence limits about effect measures: a
    general approach", Statistics in Medicine 27 (2008), for sums of independent estimates.
    """
    better, worse = _disagreements(one, other)
    found = [
        paired_difference(*_disagreements(one[rows], other[rows]), int(rows.sum()), confidence)
        for rows in (np.asarray(true == name, np.bool_) for name in sorted(set(true.tolist())))
    ]
    parts = [
        (estimate.value, estimate.low, estimate.high)
        for estimate in found
        if estimate.value is not None and estimate.low is not None and estimate.high is not None
    ]
    if not parts:
        return Paired(Estimate(None, None, None, 0), better, worse, mcnemar(better, worse))
    value = sum(part[0] for part in parts) / len(parts)
    below = sqrt(sum((mean - low) ** 2 for mean, low, _ in parts)) / len(parts)
    above = sqrt(sum((high - mean) ** 2 for mean, _, high in parts)) / len(parts)
    difference = Estimate(value, max(-1.0, value - below), min(1.0, value + above), len(true))
    return Paired(difference, better, worse, mcnemar(better, worse))


def _disagreements(one: Right, other: Right) -> tuple[int, int]:
    return int((other & ~one).sum()), int((one & ~other).sum())
