from __future__ import annotations

import pytest
from scipy.stats import binomtest

from tidegauge.stats.performance.wilson import wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 12), (11, 12), (12, 12), (850, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_agrees_with_scipy(successes: int, n: int, confidence: float):
    found = wilson(successes, n, confidence)
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == successes / n
    assert found.n == n


def test_bounds_enclose_the_value():
    for n in range(1, 60):
        for successes in range(n + 1):
            found = wilson(successes, n)
            assert 0 <= found.low <= found.value <= found.high <= 1
