from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from stats.performance.coverage import ever_wrong
from tidegauge.stats.performance.confidence_sequence import Bounds, ConfidenceSequence, ProportionSequence

RNG = np.random.default_rng(0)
BOTH = pytest.mark.parametrize("make", [ConfidenceSequence, ProportionSequence])

Make = Callable[..., Any]


def zeros_and_ones(n: int, mean: float = 0.9) -> np.ndarray:
    return (RNG.random(n) < mean).astype(float)


def test_the_proportions_bounds_are_where_the_mixtures_likelihood_is_twenty_times_theirs():
    bounds = ProportionSequence(alpha=0.05).update([1] * 17 + [0] * 5)
    mixture, _ = quad(lambda p: p**17 * (1 - p) ** 5 * beta(0.5, 0.5).pdf(p), 0, 1)
    for bound in (bounds.low, bounds.high):
        assert mixture / (bound**17 * (1 - bound) ** 5) == pytest.approx(20, rel=1e-5)


def test_the_means_bounds_are_where_the_average_capital_is_forty():
    values = RNG.beta(2, 5, 30)
    bounds = ConfidenceSequence(alpha=0.05).update(values)
    bets = np.logspace(-3, 3, 37)
    for x, m in ((values, bounds.low), (1 - values, 1 - bounds.high)):
        capital = np.prod((1 + np.outer(bets, x)) / (1 + bets[:, None] * m), axis=1)
        assert capital.mean() == pytest.approx(40, rel=1e-6)


@pytest.mark.parametrize("name", ["0/1, mean 0.95", "Beta(0.1, 0.4)"])
def test_the_mean_is_ever_missed_in_at_most_alpha_of_streams(name: str):
    # With a true share of 0.05, more than 18 of 200 would happen in less than 1% of runs of this test.
    assert ever_wrong(ConfidenceSequence, name, 200, 300, np.random.default_rng(1), 20) <= 18 / 200


def test_the_proportion_is_ever_missed_in_at_most_alpha_of_streams():
    missed = ever_wrong(ProportionSequence, "0/1, mean 0.95", 200, 300, np.random.default_rng(1), 40)
    assert 0 < missed <= 18 / 200


def test_a_fixed_time_interval_would_miss_far_more_often():
    from tidegauge.stats.performance.wilson import wilson

    class Wilson:
        def __init__(self) -> None:
            self.ones = self.n = 0

        def update(self, values: np.ndarray) -> Bounds:
            self.ones, self.n = self.ones + int(values.sum()), self.n + len(values)
            found = wilson(self.ones, self.n)
            return Bounds(found.low, found.high, self.n, found.value)

    assert ever_wrong(Wilson, "0/1, mean 0.5", 200, 300, np.random.default_rng(1)) > 0.15


@BOTH
def test_bounds_close_in_on_the_mean(make: Make):
    bounds = make(alpha=0.05).update(zeros_and_ones(20_000))
    assert bounds.low < 0.9 < bounds.high
    assert bounds.high - bounds.low < 0.02


def test_values_that_vary_little_are_bounded_closely():
    bounds = ConfidenceSequence(alpha=0.05).update(RNG.normal(0.3, 0.01, 1_000))
    assert bounds.high - bounds.low < 0.02


@BOTH
@pytest.mark.parametrize("size", [1, 7, 300])
def test_batches_of_any_size_say_the_same(make: Make, size: int):
    values = zeros_and_ones(300)
    at_once, in_parts = make(), make()
    whole = at_once.update(values)
    for start in range(0, 300, size):
        last = in_parts.update(values[start : start + size])
    assert (last.low, last.high) == pytest.approx((whole.low, whole.high))
    assert last.n == whole.n == 300


@BOTH
def test_the_order_does_not_matter(make: Make):
    values = zeros_and_ones(100)
    one, other = make().update(values), make().update(values[::-1])
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


@BOTH
def test_the_opposite_values_have_the_opposite_bounds(make: Make):
    values = zeros_and_ones(100)
    one, other = make().update(values), make().update(1 - values)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))


@BOTH
@pytest.mark.parametrize("intersect", [False, True])
def test_a_stored_sequence_goes_on_as_if_nothing_had_been(make: Make, intersect: bool):
    sequence = make(alpha=0.01, intersect=intersect)
    sequence.update(zeros_and_ones(40))
    restored = make.from_dict(json.loads(json.dumps(sequence.to_dict())))
    more = zeros_and_ones(60, 0.5)
    assert restored.update(more) == sequence.update(more)
    assert restored.to_dict() == sequence.to_dict()


@BOTH
def test_intersected_bounds_never_widen(make: Make):
    plain, narrow = make(), make(intersect=True)
    before = Bounds(0.0, 1.0, 0, None)
    for _ in range(30):
        values = zeros_and_ones(12)
        wide, found = plain.update(values), narrow.update(values)
        assert before.low <= found.low
        assert found.high <= before.high
        assert found.low >= wide.low
        assert found.high <= wide.high
        before = found


@BOTH
def test_a_smaller_alpha_widens_the_bounds(make: Make):
    values = zeros_and_ones(100)
    strict, lenient = make(alpha=0.001).update(values), make(alpha=0.1).update(values)
    assert strict.low < lenient.low < lenient.high < strict.high


@BOTH
def test_nothing_seen_bounds_nothing(make: Make):
    for values in ([], [np.nan]):
        assert make().update(values) == Bounds(0.0, 1.0, 0, None)


@BOTH
def test_missing_values_are_left_out(make: Make):
    assert make().update([1, np.nan, 0, 1]) == make().update([1, 0, 1])


@BOTH
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_values_that_are_all_at_an_end_are_bounded_on_the_other_side(make: Make, value: float):
    bounds = make().update(np.full(100, value))
    assert bounds.mean == value
    assert (bounds.low == 0.0, bounds.high == 1.0) == (value == 0.0, value == 1.0)
    assert bounds.high - bounds.low < 0.1


@BOTH
def test_single_precision_gives_the_same(make: Make):
    values = zeros_and_ones(50)
    assert make().update(values.astype(np.float32)) == make().update(values)


@BOTH
def test_a_million_values_are_taken_in(make: Make):
    bounds = make().update(zeros_and_ones(1_000_000, 0.999_9))
    assert 0.9998 < bounds.low < 0.9999 < bounds.high < 1


def test_surely_is_said_past_the_bound_only():
    bounds = Bounds(0.70, 0.84, 100, 0.77)
    assert (bounds.surely_below(0.85), bounds.surely_below(0.84)) == (True, False)
    assert (bounds.surely_above(0.69), bounds.surely_above(0.70)) == (True, False)


@pytest.mark.parametrize(
    ("make", "values", "says"),
    [
        (ConfidenceSequence, [1.1], "outside"),
        (ConfidenceSequence, [-0.1], "outside"),
        (ProportionSequence, [0.5], "other than 0 and 1"),
    ],
)
def test_values_out_of_range_are_refused_and_change_nothing(make: Make, values: list[float], says: str):
    sequence = make()
    with pytest.raises(ValueError, match=says):
        sequence.update(values)
    assert sequence.n == 0


@BOTH
@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_an_impossible_alpha_is_refused(make: Make, alpha: float):
    with pytest.raises(ValueError, match="alpha is"):
        make(alpha=alpha)
