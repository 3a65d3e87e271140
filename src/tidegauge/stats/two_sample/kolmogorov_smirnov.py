"""Kolmogorov-Smirnov distance between two samples of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import kstwo

Floats = npt.NDArray[np.float64]

_LARGEST_EXPONENT = 700.0  # e to it is about the largest float


@dataclass(frozen=True)
class KolmogorovSmirnov:
    """``score``, the distance in [0, 1], and ``p_value`` (None for an empty sample); ``n`` of the window."""

    score: float | None
    p_value: float | None
    n: int


def kolmogorov_smirnov(baseline: npt.ArrayLike, window: npt.ArrayLike) -> KolmogorovSmirnov:
    """Return the largest difference of the two empirical distribution functions; NaN values are left out.

    The p-value is exact as long as the number of orders in which the samples can mix fits in a float, such
    as for 100 against 3,600; with ties it is an upper bound. Source: Hodges, "The significance probability
    of the Smirnov two-sample test", Arkiv for Matematik 3 (1958); beyond, the one-sample distribution at
    the effective size is the approximation.

    >>> result = kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6])
    >>> result.score, round(result.p_value, 4)
    (0.5, 0.7714)
    """
    reference, sample = np.sort(_numbers(baseline)), np.sort(_numbers(window))
    m, n = len(reference), len(sample)
    if not m or not n:
        return KolmogorovSmirnov(None, None, n)
    values = np.concatenate([reference, sample])
    # In steps of 1 / (m n), whole numbers: no rounding decides between equal distances.
    below = np.searchsorted(reference, values, "right") * n - np.searchsorted(sample, values, "right") * m
    steps = int(np.abs(below).max())
    return KolmogorovSmirnov(steps / (m * n), _p_value(steps, m, n), n)


def _p_value(steps: int, m: int, n: int) -> float:
    """Return the chance of a distance of at least ``steps`` / (m n) under no drift."""
    if steps == 0:
        return 1.0
    orders = float(gammaln(m + n + 1) - gammaln(m + 1) - gammaln(n + 1))
    if orders < _LARGEST_EXPONENT:
        return min(1.0, _share_of_paths_that_leave(steps, max(m, n), min(m, n), orders))
    return float(np.clip(kstwo.sf(steps / (m * n), round(m * n / (m + n))), 0.0, 1.0))


def _share_of_paths_that_leave(steps: int, m: int, n: int, orders: float) -> float:
    """Count lattice paths from (0, 0) to (m, n) with a point (i, j) where ``abs(i n - j m) >= steps``.

    ``left[i]`` is the share of paths to (i, j) that have left the band, times the number of paths to (i, j),
    over that of all paths; a row inside the band adds up the row before it.
    """
    column = np.arange(m + 1)
    left = np.zeros(m + 1)
    for j in range(n + 1):
        all_paths = np.exp(gammaln(column + j + 1) - gammaln(column + 1) - gammaln(j + 1) - orders)
        inside = np.abs(column * n - j * m) < steps
        if not inside.any():
            left = all_paths
            continue
        first, last = int(inside.argmax()), m - int(inside[::-1].argmax())
        row = all_paths.copy()
        start = all_paths[first - 1] if first else 0.0
        row[first : last + 1] = start + np.cumsum(left[first : last + 1])
        left = row
    return float(left[m])


def _numbers(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, np.float64).ravel()
    return array[~np.isnan(array)]
