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


def summarise(milliseconds: npt.ArrayLike) -> Latency:
    """Return p50, p95, p99 (each a latency that occurred: at least that share was as fast) and the mean.

    NaN values are left out. Source: Hyndman and Fan, "Sample quantiles in statistical packages", The American
    Statistician 50 (1996), definition 1.

    >>> summarise(range(1, 101)).p95
    95.0
    """
    values = np.asarray(milliseconds, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return Latency(None, None, None, None, 0)
    p50, p95, p99 = (float(v) for v in np.quantile(values, (0.5, 0.95, 0.99), method="inverted_cdf"))
    return Latency(p50, p95, p99, float(values.mean()), len(values))
