"""Mean of a loss with an interval that heeds its skewness."""

from __future__ import annotations

from math import cbrt, inf, isfinite, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from tidegauge.stats.performance.wilson import Estimate, wilson_bounds

Floats = npt.NDArray[np.float64]

_STRAIGHT = 1e-6  # a skewness below this changes nothing


def mean(values: Floats, lowest: float = -inf, highest: float = inf) -> Estimate:
    """Return the mean of ``values`` ``[n]`` with a 95% interval, kept within [``lowest``, ``highest``].

    Hall's cubic transformation removes the skewness that makes Student's interval of a loss miss too often;
    Student's quantile stands in for the normal one. Values that are all alike (one alone, too) say nothing of
    their spread: the interval is Wilson's for a mean between two finite limits, and None otherwise.

    Source: Hall, "On the removal of skewness by transformation", JRSS B 54 (1992).

    >>> found = mean(np.array([0.1, 0.2, 0.2, 0.3, 1.5]), lowest=0.0)
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (0.46, 0.0, 2.83)
    """
    n = len(values)
    if n == 0:
        return Estimate(None, None, None, 0)
    value = float(values.mean())
    centred = values - value
    squares = centred * centred
    spread = sqrt(float(squares.sum()) / max(n - 1, 1))
    if n == 1 or spread <= np.finfo(np.float64).eps * abs(value):
        return _of_alike(value, lowest, highest, n)
    skewness = float((squares * centred).mean()) / float(squares.mean()) ** 1.5
    reach = float(stdtrit(n - 1, 0.975)) / sqrt(n)
    low = value - spread * _inverse(reach, skewness, n)
    high = value - spread * _inverse(-reach, skewness, n)
    return Estimate(value, max(lowest, min(value, low)), min(highest, max(value, high)), n)


def _inverse(quantile: float, skewness: float, n: int) -> float:
    if abs(skewness) < _STRAIGHT:
        return quantile
    return 3 / skewness * (cbrt(1 + skewness * (quantile - skewness / (6 * n))) - 1)


def _of_alike(value: float, lowest: float, highest: float, n: int) -> Estimate:
    width = highest - lowest
    if not isfinite(width):
        return Estimate(value, None, None, n)
    low, high = wilson_bounds(min(1.0, max(0.0, (value - lowest) / width)), n)
    return Estimate(value, lowest + width * low, lowest + width * high, n)
