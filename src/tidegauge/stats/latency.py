"""Percentiles of latencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Latency:
    """Milliseconds: percentiles and mean of ``n`` latencies, None where there is none."""

    p50: float | None
    p95: float | None
    p99: float | None
    mean: float | None
    n: int


def summarise(milliseconds: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Latency:
    """Return p50, p95, p99 (each a latency that occurred: at least that share was as fast) and the mean.

    NaN values are left out; each counts as often as its weight says. Source: Hyndman and Fan, "Sample
    quantiles in statistical packages", The American Statistician 50 (1996), definition 1.

    >>> summarise(range(1, 101)).p95
    95.0
    >>> summarise([1, 2], weights=[10, 1]).p50
    1.0
    """
    values = np.asarray(milliseconds, np.float64)
    known = ~np.isnan(values)
    values = values[known]
    if not len(values):
        return Latency(None, None, None, None, 0)
    heavy = None if weights is None else np.asarray(weights, np.float64)[known]
    shares = (0.5, 0.95, 0.99)
    p50, p95, p99 = (float(v) for v in np.quantile(values, shares, method="inverted_cdf", weights=heavy))
    return Latency(p50, p95, p99, float(np.average(values, weights=heavy)), len(values))
