from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov

samples = st.lists(st.integers(-5, 5), min_size=1, max_size=6)
longer = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


def distance(baseline: list[int], window: list[int]) -> Fraction:
    below = [
        abs(
            Fraction(sum(b <= v for b in baseline), len(baseline))
            - Fraction(sum(w <= v for w in window), len(window))
        )
        for v in (*baseline, *window)
    ]
    return max(below)


@settings(max_examples=30, deadline=None)
@given(samples, samples)
def test_agrees_with_counting_every_order(baseline: list[int], window: list[int]):
    found = kolmogorov_smirnov(baseline, window)
    assert found.score == pytest.approx(float(distance(baseline, window)))
    total = range(len(baseline) + len(window))
    orders = [
        distance([i for i in total if i not in chosen], list(chosen))
        for chosen in combinations(total, len(window))
    ]
    as_far = sum(order >= distance(baseline, window) for order in orders)
    assert found.p_value == pytest.approx(as_far / len(orders))


@pytest.mark.parametrize(("m", "n"), [(1800, 12), (3590, 60), (20, 15)])
def test_agrees_with_scipy_on_baselines_of_real_size(m: int, n: int):
    rng = np.random.default_rng(m)
    baseline, window = rng.normal(size=m), rng.normal(0.7, 1, n)
    theirs = ks_2samp(baseline, window, method="exact")
    assert kolmogorov_smirnov(baseline, window).p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@pytest.mark.parametrize(("m", "n"), [(1000, 1000), (2000, 400)])
@pytest.mark.parametrize("moved", [0.0, 0.1, 0.2])
def test_large_samples_get_the_limit_which_is_near_the_exact_p_value_or_above(m: int, n: int, moved: float):
    rng = np.random.default_rng(n)
    baseline, window = rng.normal(size=m), rng.normal(moved, 1, n)
    exact = ks_2samp(baseline, window, method="exact").pvalue
    assert 0.999 * exact <= kolmogorov_smirnov(baseline, window).p_value <= 1.33 * exact


@pytest.mark.parametrize("n", [1, 3, 12, 16, 17, 40])
@pytest.mark.parametrize("moved", [0.0, 0.7, 3.0, 50.0])
def test_p_values_of_small_windows_keep_their_digits_however_small(n: int, moved: float):
    rng = np.random.default_rng(n)
    baseline, window = rng.normal(size=500), rng.normal(moved, 1, n)
    exact = ks_2samp(baseline, window, method="exact").pvalue
    assert kolmogorov_smirnov(baseline, window).p_value == pytest.approx(exact, rel=1e-4, abs=0)


@settings(max_examples=60, deadline=None)
@given(longer, longer)
def test_the_distance_does_not_depend_on_which_side_is_larger(baseline: list[int], window: list[int]):
    expected = float(distance(baseline, window))
    assert kolmogorov_smirnov(baseline, window).score == pytest.approx(expected)
    assert kolmogorov_smirnov(window, baseline).score == pytest.approx(expected)


def test_by_hand():
    # Every one of 20 orders is as likely; only AAABBB and BBBAAA reach a distance of 1.
    result = kolmogorov_smirnov([1, 2, 3], [4, 5, 6])
    assert result.score == 1.0
    assert result.p_value == pytest.approx(2 / 20)
