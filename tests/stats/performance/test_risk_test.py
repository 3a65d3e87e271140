from __future__ import annotations

import json

import numpy as np
import pytest

from stats.performance.coverage import ever_harmful
from tidegauge.stats.performance.confidence_sequence import ConfidenceSequence
from tidegauge.stats.performance.risk_test import RiskTest

RNG = np.random.default_rng(0)
SOURCE = RNG.random(500) < 0.05


def test_bounds_are_those_of_the_confidence_sequences():
    losses = RNG.random(100) < 0.3
    step = RiskTest(SOURCE, alpha=0.05).update(losses)
    assert step.source_high == ConfidenceSequence(0.05).update(SOURCE).high
    assert step.low == ConfidenceSequence(0.05).update(losses).low
    assert (step.n, step.mean) == (100, pytest.approx(losses.mean()))


def test_it_is_ever_harmful_in_at_most_alpha_of_lives_at_its_limit():
    # Alpha 0.5, so that a bound that is off by a factor of 2 would show in 100 lives.
    assert ever_harmful(100, 240, np.random.default_rng(1), alpha=0.5) <= 0.62


def test_risk_that_wanders_below_the_limit_stays_harmless():
    test = RiskTest(SOURCE, tolerance=0.05)
    for risk in (0.02, 0.09, 0.05, 0.09) * 5:
        assert not test.update(RNG.random(60) < risk).harmful


def test_a_model_that_got_worse_is_found():
    test = RiskTest(SOURCE, tolerance=0.05)
    assert not test.update(RNG.random(60) < 0.05).harmful
    assert test.update(RNG.random(100) < 0.4).harmful


def test_harm_once_found_stays():
    test = RiskTest(SOURCE)
    test.update(np.ones(50))
    assert test.update(np.zeros(500)).harmful


def test_a_tolerance_is_allowed_for():
    losses = np.tile([1, 0, 0, 0], 100)
    assert RiskTest(SOURCE, tolerance=0.05).update(losses).harmful
    assert not RiskTest(SOURCE, tolerance=0.2).update(losses).harmful


def test_losses_between_0_and_1_are_tested_too():
    test = RiskTest(RNG.beta(1, 9, 300), tolerance=0.02)
    assert not test.update(RNG.beta(1, 9, 300)).harmful
    assert test.update(RNG.beta(3, 7, 300)).harmful


def test_a_stored_test_goes_on_as_if_nothing_had_been():
    test = RiskTest(SOURCE, tolerance=0.02, alpha=0.01)
    test.update(RNG.random(40) < 0.2)
    restored = RiskTest.from_dict(json.loads(json.dumps(test.to_dict())))
    losses = RNG.random(60) < 0.3
    assert restored.update(losses) == test.update(losses)


def test_no_losses_say_nothing():
    step = RiskTest(SOURCE).update([np.nan])
    assert (step.low, step.harmful, step.n, step.mean) == (0.0, False, 0, None)


@pytest.mark.parametrize(
    ("source", "tolerance", "says"),
    [([], 0.0, "source_errors is empty"), ([2.0], 0.0, "outside"), ([0.0], -0.1, "tolerance is -0.1")],
)
def test_bad_input_is_refused(source: list[float], tolerance: float, says: str):
    with pytest.raises(ValueError, match=says):
        RiskTest(source, tolerance)
