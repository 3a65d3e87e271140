"""Wasserstein distance between two samples of numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.result import TwoSample


def wasserstein(baseline: npt.ArrayLike | Numbers, window: npt.ArrayLike | Numbers) -> TwoSample:
    """Return how far values have to move on average, in the baseline's standard deviations.

    The score is W / (1 + W). Where all of the baseline is one number, the unit is 1. NaN values are left
    out; where a value is infinite nothing can be said.
    Source: Vallender, "Calculation of the Wasserstein distance between probability distributions on the
    line", Theory of Probability and its Applications 18 (1974).

    >>> wasserstein([0, 2], [1, 3]).statistic
    1.0
    """
    left, right = Numbers.of(baseline), Numbers.of(window)
    m, n = len(left), len(right)
    if not m or not n or not np.isfinite([*left.values[[0, -1]], *right.values[[0, -1]]]).all():
        return TwoSample(None, None, None, n)
    values = np.sort(np.concatenate([left.values, right.values]).astype(np.float64))
    steps = np.diff(values)
    apart = np.abs(
        np.searchsorted(left.values, values[:-1], "right") / m
        - np.searchsorted(right.values, values[:-1], "right") / n
    )
    distance = float((apart * steps).sum()) / left.scale
    return TwoSample(distance / (1 + distance), distance, None, n)
