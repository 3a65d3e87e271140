from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression

from tidegauge.stats.performance.calibration_map import (
    IsotonicMap,
    PlattMap,
    fit_isotonic,
    fit_platt,
    from_arrays,
)

GRID = np.linspace(0, 1, 101)
FITS = pytest.mark.parametrize("fit", [fit_isotonic, fit_platt])


def overconfident(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of a model whose true log-odds are half of what it says."""
    rng = np.random.default_rng(seed)
    said = rng.normal(1, 3, n)
    return expit(said), (rng.random(n) < expit(said / 2)).astype(int)


def test_isotonic_agrees_with_scikit_learn_inside_the_ends():
    confidences, outcomes = overconfident(500)
    confidences = confidences.round(2)  # with ties
    fitted = fit_isotonic(confidences, outcomes)
    expected = IsotonicRegression(out_of_bounds="clip").fit(confidences, outcomes).predict(GRID)
    blocks = IsotonicRegression().fit(confidences, outcomes)
    inner = (blocks.y_thresholds_ > 0) & (blocks.y_thresholds_ < 1)
    low, high = blocks.X_thresholds_[inner][[0, -1]]
    between = (low <= GRID) & (high >= GRID)
    assert between.sum() > 50
    np.testing.assert_allclose(fitted.apply(GRID[between]), expected[between], atol=1e-12)


def test_isotonic_ends_are_pooled_by_hand():
    # Blocks: 0 0 | 1 0 | 1 1 1: ends of 2 and 3 predictions.
    fitted = fit_isotonic([0.1, 0.2, 0.4, 0.5, 0.7, 0.8, 0.9], [0, 0, 1, 0, 1, 1, 1])
    assert fitted.apply([0.1, 0.2, 0.45, 0.7, 0.9]) == pytest.approx([1 / 6, 1 / 6, 0.5, 7 / 8, 7 / 8])


def test_isotonic_end_does_not_pass_the_next_block():
    outcomes = [0, *[0] * 18, 1, 1]
    fitted = fit_isotonic([0.1, *[0.5] * 19, 0.9], outcomes)
    assert fitted.apply([0.1, 0.5]) == pytest.approx([1 / 19, 1 / 19])


def test_platt_agrees_with_scikit_learn_on_log_odds():
    confidences, outcomes = overconfident(400)
    fitted = fit_platt(confidences, outcomes)
    slope, intercept = _sigmoid_calibration(logit(confidences), outcomes)
    assert (fitted.slope, fitted.intercept) == pytest.approx((-slope, -intercept), rel=1e-3, abs=1e-3)


def test_platt_finds_the_curve_that_made_the_outcomes():
    fitted = fit_platt(*overconfident(50_000))
    assert fitted.slope == pytest.approx(0.5, abs=0.02)
    assert fitted.intercept == pytest.approx(0.0, abs=0.03)


def test_isotonic_finds_the_curve_that_made_the_outcomes():
    fitted = fit_isotonic(*overconfident(50_000))
    assert fitted.apply(GRID[1:-1]) == pytest.approx(expit(logit(GRID[1:-1]) / 2), abs=0.05)


outcomes_and_confidences = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]) | st.floats(0, 1), st.booleans()),
    min_size=1,
    max_size=40,
)


@FITS
@given(data=outcomes_and_confidences)
def test_no_probability_is_0_or_1(fit, data: list[tuple[float, bool]]):
    fitted = fit([confidence for confidence, _ in data], [outcome for _, outcome in data])
    found = fitted.apply(GRID)
    assert np.all((found > 0) & (found < 1))


@given(data=outcomes_and_confidences)
def test_isotonic_never_falls(data: list[tuple[float, bool]]):
    fitted = fit_isotonic([confidence for confidence, _ in data], [outcome for _, outcome in data])
    assert np.all(np.diff(fitted.apply(GRID)) >= -1e-12)


@FITS
def test_the_order_does_not_matter(fit):
    confidences, outcomes = overconfident(100)
    order = np.random.default_rng(1).permutation(100)
    again = fit(confidences[order], outcomes[order]).apply(GRID)
    np.testing.assert_allclose(again, fit(confidences, outcomes).apply(GRID), atol=1e-6)


@FITS
def test_float32_is_taken(fit):
    confidences, outcomes = overconfident(100)
    again = fit(confidences.astype(np.float32), outcomes).apply(GRID)
    np.testing.assert_allclose(again, fit(confidences, outcomes).apply(GRID), atol=1e-4)


@FITS
def test_a_single_prediction_is_worth_little(fit):
    assert 0.5 < fit([0.999], [1]).apply([0.999])[0] < 0.8


@FITS
def test_outcomes_that_are_all_alike_give_a_probability_that_grows_with_their_number(fit):
    few, many = (float(fit([0.9] * n, [1] * n).apply([0.9])[0]) for n in (5, 500))
    assert few < many < 1


@FITS
def test_survives_storage(fit):
    fitted = fit(*overconfident(50))
    again = from_arrays(fitted.to_arrays())
    assert type(again) is type(fitted)
    assert np.array_equal(again.apply(GRID), fitted.apply(GRID))


def test_maps_cannot_be_changed():
    with pytest.raises(AttributeError):
        PlattMap(1.0, 0.0).slope = 2.0
    with pytest.raises(AttributeError):
        IsotonicMap(GRID, GRID).confidences = GRID


@FITS
@pytest.mark.parametrize(
    ("confidences", "outcomes", "message"),
    [
        ([], [], "confidences is empty"),
        ([0.5], [1, 0], "1 confidences and 2 outcomes"),
        ([1.5], [1], r"outside \[0, 1\]"),
        ([np.nan], [1], r"outside \[0, 1\] or NaN"),
        ([0.5], [2], "outcomes has a value other than 0 and 1"),
    ],
)
def test_bad_input_is_named(fit, confidences: list[float], outcomes: list[int], message: str):
    with pytest.raises(ValueError, match=message):
        fit(confidences, outcomes)
