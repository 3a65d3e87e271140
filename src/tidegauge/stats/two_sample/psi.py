"""Population stability index between two distributions."""

from __future__ import annotations

from math import exp

import numpy as np

from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.shares import Sample, counted, shares

#: Shares below it count as it: an empty bin says "rarer than one in ten thousand", not "infinitely far".
FLOOR = 1e-4


def psi(baseline: Sample, window: Sample) -> TwoSample:
    """Return the population stability index; the score is 1 - exp(-PSI).

    Takes counts of categories, values to count, or ``Numbers`` (binned by the baseline's tenths). Shares are
    at least 0.0001, so that an empty bin gives a finite value; 0.1 and 0.25 are the usual rules of thumb.
    Source: Siddiqi, "Credit Risk Scorecards" (2006), chapter 9.

    >>> result = psi({"a": 50, "b": 50}, {"a": 60, "b": 40})
    >>> round(result.statistic, 4)
    0.0405
    """
    left, right = counted(baseline, window)
    n = int(right.sum())
    if not left.sum() or not n:
        return TwoSample(None, None, None, n)
    p, q = (np.maximum(shares(side), FLOOR) for side in (left, right))
    index = float(((q - p) * np.log(q / p)).sum())
    return TwoSample(1 - exp(-index), index, None, n)
