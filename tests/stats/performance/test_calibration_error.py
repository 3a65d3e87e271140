from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from tidegauge.stats.performance.calibration_error import calibration_error

RNG = np.random.default_rng(0)


def test_bins_agree_with_sklearn_and_the_error_is_their_mean():
    confidences = RNG.random(500)
    outcomes = RNG.random(500) < confidences**2
    share, confidence = calibration_curve(outcomes, confidences, n_bins=10)
    found = calibration_error(confidences, outcomes)
    assert [b.share for b in found.bins] == pytest.approx(list(share))
    assert [b.confidence for b in found.bins] == pytest.approx(list(confidence))
    sizes = np.histogram(confidences, np.linspace(0, 1, 11))[0]
    assert [b.n for b in found.bins] == list(sizes)
    assert found.error.value == pytest.approx(np.abs(share - confidence) @ sizes / 500)


def test_chance_is_what_a_calibrated_model_shows_on_average():
    values, chances = [], []
    for _ in range(400):
        confidences = RNG.random(400)
        found = calibration_error(confidences, RNG.random(400) < confidences)
        values.append(found.error.value)
        chances.append(found.chance)
    assert np.mean(values) == pytest.approx(np.mean(chances), rel=0.05)


@pytest.mark.parametrize("right", [False, True])
def test_certainty_that_is_always_right_or_always_wrong(right: bool):
    found = calibration_error([1.0] * 12, [right] * 12)
    assert found.error.value == (0.0 if right else 1.0)
    assert found.error.low < found.error.high
    assert found.chance == 0.0
    assert (found.bins[0].low, found.bins[0].high) == (0.9, 1.0)


def test_errors_that_cancel_in_a_bin_are_not_seen():
    confidences = [0.62] * 50 + [0.68] * 50
    outcomes = [True] * 34 + [False] * 16 + [True] * 31 + [False] * 19
    assert calibration_error(confidences, outcomes).error.value == pytest.approx(0)
    assert calibration_error(confidences, outcomes, bins=20).error.value == pytest.approx(0.06)


def test_no_rows_have_no_error():
    found = calibration_error([], [])
    assert (found.error.value, found.chance, found.bins) == (None, None, ())


@pytest.mark.parametrize(
    ("confidences", "outcomes", "bins", "says"),
    [
        ([1.2], [True], 10, "outside"),
        ([np.nan], [True], 10, "NaN"),
        ([0.5], [True, False], 10, "shapes"),
        ([0.5], [True], 0, "bins is 0"),
    ],
)
def test_bad_input_is_refused(confidences: list[float], outcomes: list[bool], bins: int, says: str):
    with pytest.raises(ValueError, match=says):
        calibration_error(confidences, outcomes, bins)
