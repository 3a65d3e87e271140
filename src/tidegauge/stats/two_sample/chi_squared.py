"""Chi-squared test of homogeneity of two counts of categories."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincc

from tidegauge.stats.two_sample.permutations import random_places
from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.shares import Sample, counted

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_EXPECTED = 5.0  # below it the chi-squared distribution is no good approximation
_DRAWS = 2000
_LEAST_DRAWS = 199
_VALUES = 500_000  # drawn for windows of many categories
_SHORT = 200  # values in a window, up to which all windows are drawn at once
_FEW = 64  # categories, up to which their counts are drawn, else the values
_LARGE = 10_000  # values, from which draws would cost more than they correct


def chi_squared(baseline: Sample, window: Sample, rng: np.random.Generator | None = None) -> TwoSample:
    """Return Pearson's statistic of both counts; the score is Cramer's V.

    Where an expected count is below 5 and the window has at most 10,000 values, the p-value comes from 2,000
    random windows with the same margins (``rng``; with more than 64 categories from 500,000 values, 199
    windows or more), else from the chi-squared distribution.
    Sources: Pearson, "On the criterion ...", Philosophical Magazine 50 (1900); Cramer, "Mathematical Methods
    of Statistics" (1946); Hope, "A simplified Monte Carlo significance test procedure", JRSS B 30 (1968).

    >>> result = chi_squared({"a": 60, "b": 40}, {"a": 40, "b": 60})
    >>> round(result.statistic, 4), round(result.p_value, 6)
    (8.0, 0.004678)
    """
    left, right = counted(baseline, window)
    left, right = left[left + right > 0], right[left + right > 0]
    m, n = int(left.sum()), int(right.sum())
    if not m or not n:
        return TwoSample(None, None, None, n)
    pooled = left + right
    if len(pooled) < 2:
        return TwoSample(0.0, 0.0, 1.0, n)
    statistic = float(_statistic(right, pooled, m, n))
    score = min(1.0, sqrt(statistic / (m + n)))
    small = pooled.min() * min(m, n) / (m + n) < _EXPECTED
    if small and n <= _LARGE:
        chance = rng if rng is not None else np.random.default_rng(0)
        few = len(pooled) <= _FEW
        drawn = _of_counts(pooled, m, n, chance) if few else _of_values(pooled, m, n, chance)
        # Rounding must not tell equal statistics apart.
        above = int((drawn >= statistic * (1 - 1e-9)).sum())
        return TwoSample(score, statistic, (above + 1) / (len(drawn) + 1), n)
    p_value = float(gammaincc((len(pooled) - 1) / 2, statistic / 2))
    return TwoSample(score, statistic, p_value, n)


def _of_counts(pooled: Counts, m: int, n: int, rng: np.random.Generator) -> Floats:
    # The "marginals" method takes large counts.
    windows = rng.multivariate_hypergeometric(pooled, n, _DRAWS, method="marginals")
    return _statistic(windows, pooled, m, n)


def _of_values(pooled: Counts, m: int, n: int, rng: np.random.Generator) -> Floats:
    """Return the statistics of random windows in time that does not grow with the number of categories.

    Categories without a value in the window add their expected count, and all expected counts add up to n.
    """
    ends, expected, categories = np.cumsum(pooled), pooled * (n / (m + n)), len(pooled)
    draws = min(_DRAWS, max(_LEAST_DRAWS, _VALUES // n))
    if n <= _SHORT:
        places = random_places(m + n, n, draws, rng)
    else:
        places = np.stack([rng.choice(m + n, n, replace=False, shuffle=False) for _ in range(draws)])
    drawn = np.searchsorted(ends, places, "right") + categories * np.arange(draws)[:, np.newaxis]
    found, counts = np.unique(drawn, return_counts=True)
    draw, category = np.divmod(found, categories)
    sums = np.bincount(draw, counts**2 / expected[category], draws)
    return np.asarray((sums - n) * (m + n) / m)


def _statistic(window: Counts, pooled: Counts, m: int, n: int) -> Floats:
    """Return Pearson's statistic of windows ``[..., categories]``; both rows differ by the same amounts."""
    expected = pooled * (n / (m + n))
    return np.asarray(((window - expected) ** 2 / expected).sum(axis=-1) * (m + n) / m)
