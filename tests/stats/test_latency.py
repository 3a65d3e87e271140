from __future__ import annotations

import numpy as np
import pytest

from tidegauge.stats.latency import summarise


def test_percentiles_are_latencies_that_occurred():
    values = np.random.default_rng(0).permutation(np.arange(1, 1001))
    result = summarise(values)
    assert (result.p50, result.p95, result.p99, result.mean, result.n) == (500, 950, 990, 500.5, 1000)


def test_agrees_with_numpy():
    values = np.random.default_rng(0).exponential(size=37)
    result = summarise(values)
    for share, found in ((50, result.p50), (95, result.p95), (99, result.p99)):
        assert found == pytest.approx(np.percentile(values, share, method="inverted_cdf"))
