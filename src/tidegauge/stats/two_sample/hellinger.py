"""Hellinger distance between two distributions."""

from __future__ import annotations

from math import sqrt

import numpy as np

from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.shares import Sample, counted, shares


def hellinger(baseline: Sample, window: Sample) -> TwoSample:
    """Return the root of half the sum of squared differences of the roots of the shares, in [0, 1].

    Takes counts of categories, values to count, or ``Numbers`` (binned by the baseline's tenths).
    Source: Le Cam and Yang, "Asymptotics in Statistics", 2nd ed. (2000), section 3.1.

    >>> round(hellinger({"a": 1, "b": 1}, {"a": 1}).score, 4)
    0.5412
    """
    left, right = counted(baseline, window)
    n = int(right.sum())
    if not left.sum() or not n:
        return TwoSample(None, None, None, n)
    squares = (np.sqrt(shares(left)) - np.sqrt(shares(right))) ** 2
    distance = min(1.0, sqrt(float(squares.sum()) / 2))
    return TwoSample(distance, distance, None, n)
