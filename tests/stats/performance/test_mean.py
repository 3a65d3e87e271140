from __future__ import annotations

from math import inf

import numpy as np
import pytest
from scipy.stats import skew, ttest_1samp

from tidegauge.stats.performance.mean import mean

RNG = np.random.default_rng(0)


def test_without_skewness_the_interval_is_students():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_bounds_solve_halls_transformation():
    values = RNG.exponential(2, 40)
    found = mean(values)
    for bound, sign in ((found.low, 1), (found.high, -1)):
        s = (values.mean() - bound) / values.std(ddof=1)
        a = skew(values)
        transformed = s + a * s**2 / 3 + a**2 * s**3 / 27 + a / (6 * 40)
        assert transformed * np.sqrt(40) == pytest.approx(sign * 2.0227, abs=1e-4)


def test_a_long_upper_tail_lengthens_the_interval_upwards():
    found = mean(np.append(np.full(20, 1.0), [5.0, 9.0]))
    assert found.high - found.value > 2 * (found.value - found.low)


def test_bounds_stay_within_the_limits():
    found = mean(np.array([0.0, 0.0, 0.0, 1.0]), 0.0, 1.0)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("values", [[0.0], [0.25] * 8])
def test_values_that_are_alike_have_wilsons_interval_between_limits(values: list[float]):
    found = mean(np.array(values), 0.0, 2.0)
    assert found.value == values[0]
    assert 0 <= found.low <= found.value < found.high < 2


@pytest.mark.parametrize("values", [[3.0], [3.0] * 8, [0.1] * 3])
def test_values_that_are_alike_have_no_interval_without_limits(values: list[float]):
    found = mean(np.array(values), 0.0, inf)
    assert (found.low, found.high) == (None, None)
    assert found.value == pytest.approx(values[0])


def test_no_values_have_no_mean():
    assert mean(np.zeros(0)).value is None


def test_the_unit_does_not_matter():
    values = RNG.exponential(2, 30)
    one, other = mean(values), mean(values * 1e6)
    assert np.array([other.low, other.high]) == pytest.approx(np.array([one.low, one.high]) * 1e6)
