"""Kolmogorov-Smirnov distance between two samples of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

_EXACT_UP_TO = 10_000  # pairs of sample sizes beyond it: the asymptotic p-value is as good


@dataclass(frozen=True)
class KolmogorovSmirnov:
    """``score``, the distance in [0, 1], and ``p_value`` (None for an empty sample); ``n`` of the window."""

    score: float | None
    p_value: float | None
    n: int


def kolmogorov_smirnov(baseline: npt.ArrayLike, window: npt.ArrayLike) -> KolmogorovSmirnov:
    """Return the largest difference of the two empirical distribution functions; NaN values are left out.

    The p-value is exact for small samples. Source: Hodges, "The significance probability of the Smirnov
    two-sample test", Arkiv for Matematik 3 (1958).

    >>> kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6]).score
    0.5
    """
    reference, sample = _numbers(baseline), _numbers(window)
    n = len(sample)
    if not len(reference) or not n:
        return KolmogorovSmirnov(None, None, n)
    method = "exact" if max(len(reference), n) <= _EXACT_UP_TO else "asymp"
    result = ks_2samp(reference, sample, method=method)
    return KolmogorovSmirnov(float(result.statistic), float(result.pvalue), n)


def _numbers(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values, np.float64).ravel()
    return array[~np.isnan(array)]
