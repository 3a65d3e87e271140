"""Cramer-von Mises test of two samples of numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, kv

from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.permutations import p_value, random_places
from tidegauge.stats.two_sample.result import TwoSample

Floats = npt.NDArray[np.float64]

_DRAWS = 999
_LARGE = 200  # values in the smaller sample, from which the limit distribution serves
_TERMS = np.arange(10)


def cramer_von_mises(
    baseline: npt.ArrayLike | Numbers,
    window: npt.ArrayLike | Numbers,
    rng: np.random.Generator | None = None,
) -> TwoSample:
    """Return Anderson's two-sample statistic T, which has no score; NaN values are left out.

    Ties get mean ranks. Where a sample has fewer than 200 values the p-value comes from 999 random orders
    (``rng``), else from the limit distribution.
    Source: Anderson, "On the distribution of the two-sample Cramer-von Mises criterion", Annals of
    Mathematical Statistics 33 (1962).

    >>> round(cramer_von_mises([1, 2, 3, 4], [3.5, 4.5, 5, 6]).statistic, 4)
    0.5
    """
    left, right = Numbers.of(baseline), Numbers.of(window)
    m, n = len(left), len(right)
    if not m or not n:
        return TwoSample(None, None, None, n)
    values = np.concatenate([left.values, right.values]).astype(np.float64)
    order = np.argsort(values, kind="stable")
    pooled = values[order]
    ranks = (np.searchsorted(pooled, pooled, "left") + np.searchsorted(pooled, pooled, "right") + 1) / 2
    small = order >= m if n <= m else order < m
    statistic = float(_statistic(ranks, np.flatnonzero(small)[np.newaxis])[0])
    if min(m, n) >= _LARGE:
        return TwoSample(None, statistic, _limit(statistic, m, n), n)
    drawn = _statistic(ranks, np.sort(random_places(m + n, min(m, n), _DRAWS, rng), axis=1))
    return TwoSample(None, statistic, p_value(statistic, drawn), n)


def _statistic(ranks: Floats, places: npt.NDArray[np.intp]) -> Floats:
    """Return T for draws of k places ``[draws, k]``, ascending, among the pooled values in their order.

    Of the other sample, which may be long, only sums over all values are needed: the number of drawn values
    up to each is a sum of steps, one at each place.
    """
    size, k = len(ranks), places.shape[1]
    rest = size - k
    count = np.arange(1, k + 1)
    ahead = ranks - np.arange(1, size + 1)
    tails = ahead[::-1].cumsum()[::-1]
    own = ((ranks[places] - count) ** 2).sum(axis=1)
    every = (ahead**2).sum() + (2 * tails[places] + (2 * count - 1) * (size - places)).sum(axis=1)
    others = every - ((ahead[places] + count) ** 2).sum(axis=1)
    return np.asarray((k * own + rest * others) / (rest * k * size) - (4 * rest * k - 1) / (6 * size))


def _limit(statistic: float, m: int, n: int) -> float:
    """Return the upper tail, with mean and variance brought to those of the limit distribution."""
    size = m + n
    mean = (1 + 1 / size) / 6
    variance = (
        (size + 1) * (4 * m * n * size - 3 * (m * m + n * n) - 2 * m * n) / (45 * size * size * 4 * m * n)
    )
    x = 1 / 6 + (statistic - mean) / np.sqrt(45 * variance)
    if x < 0.003:  # where the series has no more than 1e-10
        return 1.0
    odd = 4 * _TERMS + 1
    weights = np.exp(gammaln(_TERMS + 0.5) - gammaln(_TERMS + 1)) / np.pi**1.5 / np.sqrt(x)
    bent = odd**2 / (16 * x)
    below = float((weights * np.sqrt(odd) * np.exp(-bent) * kv(0.25, bent)).sum())
    return float(np.clip(1 - below, 0.0, 1.0))
