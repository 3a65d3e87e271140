"""Jensen-Shannon distance between two distributions."""

from __future__ import annotations

from math import sqrt

import numpy as np

from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.shares import Sample, counted, shares


def jensen_shannon(baseline: Sample, window: Sample) -> TwoSample:
    """Return the root of the Jensen-Shannon divergence in bits, which lies in [0, 1].

    Takes counts of categories, values to count, or ``Numbers`` (binned by the baseline's tenths).
    Source: Endres and Schindelin, "A new metric for probability distributions", IEEE Transactions on
    Information Theory 49 (2003).

    >>> round(jensen_shannon({"a": 1, "b": 1}, {"a": 1}).score, 4)
    0.5579
    """
    left, right = counted(baseline, window)
    n = int(right.sum())
    if not left.sum() or not n:
        return TwoSample(None, None, None, n)
    p, q = shares(left), shares(right)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(side > 0, side * np.log2(side / middle), 0.0).sum() / 2 for side in (p, q)]
    distance = sqrt(min(1.0, max(0.0, float(sum(terms)))))
    return TwoSample(distance, distance, None, n)
