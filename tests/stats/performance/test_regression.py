from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_pinball_loss,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from tidegauge.stats.performance.regression import regress

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(50, 10, 60)
PREDICTIONS = TRUTH + RNG.normal(1, 3, 60)


def numbers(result: Any) -> list[float | None]:
    return [x for e in result.metrics.values() for x in (e.value, e.low, e.high)]


def test_values_agree_with_sklearn():
    found = {name: e.value for name, e in regress(TRUTH, PREDICTIONS, 0.9).metrics.items()}
    expected = {
        "mae": mean_absolute_error(TRUTH, PREDICTIONS),
        "mse": mean_squared_error(TRUTH, PREDICTIONS),
        "rmse": root_mean_squared_error(TRUTH, PREDICTIONS),
        "mape": mean_absolute_percentage_error(TRUTH, PREDICTIONS),
        "smape": np.mean(2 * np.abs(PREDICTIONS - TRUTH) / (np.abs(TRUTH) + np.abs(PREDICTIONS))),
        "r2_score": r2_score(TRUTH, PREDICTIONS),
        "bias": (PREDICTIONS - TRUTH).mean(),
        "absolute_bias": abs((PREDICTIONS - TRUTH).mean()),
        "quantile_error": mean_pinball_loss(TRUTH, PREDICTIONS, alpha=0.9),
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", ["mae", "mse", "rmse", "mape", "smape", "r2_score", "bias", "quantile_error"]
)
def test_intervals_are_near_those_of_the_bootstrap(name: str):
    truth = RNG.normal(50, 10, 400)
    predictions = truth + RNG.normal(1, 3, 400)
    found = regress(truth, predictions).metrics[name]

    def value(y: np.ndarray, p: np.ndarray) -> float:
        return regress(y, p).metrics[name].value

    limits = bootstrap(
        (truth, predictions), value, paired=True, vectorized=False, n_resamples=400, rng=RNG
    ).confidence_interval
    width = limits.high - limits.low
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=0.15 * width)


def test_rows_with_a_truth_of_0_do_not_count_in_mape():
    result = regress([0.0, 0.0, 2.0, 4.0], [1.0, 0.0, 1.0, 5.0])
    assert (result.zeros, result.metrics["mape"].n) == (2, 2)
    assert result.metrics["mape"].value == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert result.metrics["smape"].value == pytest.approx((2 + 0 + 2 / 3 + 2 / 9) / 4)
    assert regress([0.0, 0.0], [1.0, 2.0]).metrics["mape"].value is None


def test_a_constant_truth_has_no_r2():
    metrics = regress([3.0, 3.0, 3.0], [1.0, 2.0, 4.0]).metrics
    assert metrics["r2_score"].value is None
    assert metrics["mae"].value == pytest.approx(4 / 3)


def test_perfect_predictions_have_values_and_no_interval_that_is_made_up():
    metrics = regress(TRUTH, TRUTH).metrics
    assert (metrics["mae"].value, metrics["r2_score"].value) == (0.0, 1.0)
    assert metrics["mae"].low is metrics["mae"].high is metrics["r2_score"].low is None
    assert metrics["smape"].high > 0


def test_one_row_has_values_without_intervals():
    metrics = regress([2.0], [3.0]).metrics
    assert metrics["mae"].value == 1.0
    assert metrics["mae"].low is None
    assert metrics["absolute_bias"].low is None
    assert metrics["r2_score"].value is None


def test_two_rows_have_finite_intervals():
    for found in regress([2.0, 5.0], [3.0, 4.5]).metrics.values():
        assert np.isfinite([found.value, found.low, found.high]).all()


def test_no_rows_have_no_values():
    result = regress([], [])
    assert set(numbers(result)) == {None}
    assert (result.n, result.zeros, result.left_out) == (0, 0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_without_a_number_are_left_out_and_counted(bad: float):
    truth, predictions = np.append(TRUTH, [bad, 1.0]), np.append(PREDICTIONS, [1.0, bad])
    result = regress(truth, predictions)
    assert (result.left_out, result.n) == (2, 60)
    assert numbers(result) == numbers(regress(TRUTH, PREDICTIONS))


def test_the_size_of_a_bias_is_at_least_0_and_at_most_its_farther_bound():
    down = regress(TRUTH, TRUTH - 5 + RNG.normal(0, 1, 60)).metrics
    assert down["bias"].value < 0
    assert (down["absolute_bias"].low, down["absolute_bias"].high) == (-down["bias"].high, -down["bias"].low)
    none = regress(TRUTH, TRUTH + np.tile([1.0, -1.0], 30)).metrics["absolute_bias"]
    assert none.low == 0.0 < none.high


def test_order_does_not_matter():
    order = RNG.permutation(60)
    assert numbers(regress(TRUTH[order], PREDICTIONS[order])) == pytest.approx(
        numbers(regress(TRUTH, PREDICTIONS))
    )


def test_single_precision_gives_the_same():
    truth, predictions = TRUTH.astype(np.float32), PREDICTIONS.astype(np.float32)
    exact = regress(truth.astype(np.float64), predictions.astype(np.float64))
    assert regress(truth, predictions) == exact


@pytest.mark.parametrize(
    ("truth", "predictions", "quantile", "says"),
    [
        ([1.0], [1.0, 2.0], 0.5, "shapes"),
        ([[1.0]], [[1.0]], 0.5, "shapes"),
        ([1.0], [1.0], 1.0, "quantile is 1.0"),
    ],
)
def test_bad_input_is_refused(truth: Any, predictions: Any, quantile: float, says: str):
    with pytest.raises(ValueError, match=says):
        regress(truth, predictions, quantile)
