"""What holds for every statistic: of numbers, of categories, of predictions, of images."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tidegauge.stats.images import compare, extract, fit_baseline
from tidegauge.stats.latency import summarise
from tidegauge.stats.performance.classification import classify
from tidegauge.stats.performance.wilson import wilson
from tidegauge.stats.two_sample import (
    Categories,
    Numbers,
    chi_squared,
    cramer_von_mises,
    energy_distance,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    kolmogorov_smirnov_columns,
    mmd,
    psi,
    total_variation,
    wasserstein,
)

Statistic = Callable[[Any, Any], Any]

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(10, 2, 40)
CATEGORIES = list(RNG.choice(["a", "b", "c"], 40))
IMAGES = RNG.integers(0, 255, (12, 40, 40, 1), np.uint8)


def of_categories(statistic: Statistic) -> Statistic:
    def compared(baseline: list[str], window: list[str]) -> Any:
        return statistic(Counter(baseline), Categories.of(window))

    compared.__name__ = f"{statistic.__name__}_of_categories"
    return compared


def of_bins(statistic: Statistic) -> Statistic:
    def compared(baseline: np.ndarray, window: np.ndarray) -> Any:
        return statistic(Numbers.of(baseline), window)

    compared.__name__ = f"{statistic.__name__}_of_bins"
    return compared


def of_a_column(baseline: np.ndarray, window: np.ndarray) -> Any:
    return kolmogorov_smirnov_columns([Numbers.of(baseline)], window[:, np.newaxis])[0]


def of_images(baseline: np.ndarray, window: np.ndarray) -> Any:
    return compare(fit_baseline(baseline), window)


def of_latencies(_: np.ndarray, window: np.ndarray) -> Any:
    return summarise(window)


def of_predictions(baseline: list[str], window: list[str]) -> Any:
    size = min(len(baseline), len(window))
    return classify(baseline[:size], window[:size])


OF_COUNTS = [chi_squared, hellinger, jensen_shannon, psi, total_variation]
#: P-values of these depend on which orders chance draws.
PERMUTED = [cramer_von_mises, energy_distance, mmd]
TWO_NUMBERS = [
    (statistic, NUMBERS)
    for statistic in (kolmogorov_smirnov, of_a_column, wasserstein, *PERMUTED, *map(of_bins, OF_COUNTS))
]
TWO_CATEGORIES = [(statistic, CATEGORIES) for statistic in map(of_categories, OF_COUNTS)]
NUMERIC = [*TWO_NUMBERS, (of_latencies, NUMBERS)]
CATEGORICAL = [*TWO_CATEGORIES, (of_predictions, CATEGORIES)]
COMPARED = [*TWO_NUMBERS, *TWO_CATEGORIES, (of_images, IMAGES)]
ALL = [*NUMERIC, *CATEGORICAL, (of_images, IMAGES)]
SCORED = [pair for pair in COMPARED if pair[0] is not cramer_von_mises]


def every(pairs: list[tuple[Statistic, Any]]) -> Any:
    return pytest.mark.parametrize(("statistic", "data"), pairs, ids=[s.__name__ for s, _ in pairs])


def values(result: Any, without: tuple[str, ...] = ()) -> list[float | None]:
    """The numbers that a result states, except its sizes."""
    found: list[float | None] = []
    for field in dataclasses.fields(result):
        if field.name in without:
            continue
        value = getattr(result, field.name)
        if field.name == "metrics":
            found += [number for estimate in value.values() for number in (estimate.value, estimate.low)]
        elif field.name not in ("n", "positive") and (value is None or isinstance(value, float)):
            found.append(value)
    return found


def is_measured(statistic: Statistic, data: Any, result: Any) -> bool:
    """Whether a result states what it does of the data themselves: not every statistic has every value."""
    usual = [value is not None for value in values(statistic(data, data))]
    given = values(result)
    return (
        any(usual)
        and [value is not None for value in given] == usual
        and all(np.isfinite(value) for value in given if value is not None)
    )


def in_any_order(statistic: Statistic, result: Any) -> list[float | None]:
    return values(result, without=("p_value",) if statistic in PERMUTED else ())


@every(ALL)
def test_results_cannot_be_changed(statistic: Statistic, data: Any):
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistic(data, data).n = 0


@every(ALL)
def test_an_empty_window_has_no_value_and_is_no_error(statistic: Statistic, data: Any):
    result = statistic(data, data[:0])
    assert result.n == 0
    assert set(values(result)) == {None}


@every(COMPARED)
def test_an_empty_baseline_has_no_value(statistic: Statistic, data: Any):
    result = statistic(data[:0], data)
    assert result.n == len(data)
    assert set(values(result)) == {None}


@every(ALL)
def test_a_single_element_is_measured(statistic: Statistic, data: Any):
    result = statistic(data, data[:1])
    assert result.n == 1
    assert is_measured(statistic, data, result)


@every(ALL)
def test_constant_data_is_measured(statistic: Statistic, data: Any):
    same = [data[0]] * 10 if isinstance(data, list) else np.stack([data[0]] * 10)
    result = statistic(same, same)
    assert is_measured(statistic, data, result)
    assert getattr(result, "score", None) in (None, 0.0)
    assert getattr(result, "p_value", None) in (None, 1.0)


@every(TWO_NUMBERS)
def test_a_constant_that_changes_is_found(statistic: Statistic, data: Any):
    below, above = (statistic(np.full(30, 5.0), np.full(30, other)) for other in (1.0, 9.0))
    assert values(below) == pytest.approx(values(above))
    assert below.statistic > statistic(data, data).statistic + 0.1


@every(SCORED)
def test_the_baseline_itself_is_no_drift(statistic: Statistic, data: Any):
    # In single precision the root of a sum that should be 0 is not.
    assert statistic(data, data).score == pytest.approx(0.0, abs=1e-3 if statistic is mmd else 0.0)


@every(SCORED)
def test_scores_lie_between_0_and_1(statistic: Statistic, data: Any):
    other = ["z"] * 9 if isinstance(data, list) else np.zeros_like(data)
    assert 0.7 < statistic(data, other).score <= 1.0


@every([*TWO_CATEGORIES, (kolmogorov_smirnov, NUMBERS), (of_a_column, NUMBERS), (of_images, IMAGES)])
def test_samples_without_anything_in_common_score_1(statistic: Statistic, data: Any):
    other = ["z"] * 9 if isinstance(data, list) else np.zeros_like(data)
    assert statistic(data, other).score == pytest.approx(1.0, abs=2e-4)


@every(TWO_NUMBERS + TWO_CATEGORIES)
def test_p_values_lie_between_0_and_1(statistic: Statistic, data: Any):
    other = ["z"] * 9 if isinstance(data, list) else data[:9] + 0.5
    result = statistic(data, other)
    assert result.p_value is None or 0 < result.p_value <= 1


@every(ALL)
def test_the_order_does_not_matter(statistic: Statistic, data: Any):
    window = data[:7] if statistic is not of_predictions else data
    order = np.random.default_rng(1).permutation(len(window))
    shuffled = [window[i] for i in order] if isinstance(window, list) else window[order]
    baseline = [data[i] for i in order] if statistic is of_predictions else data
    found, expected = statistic(baseline, shuffled), statistic(data, window)
    assert in_any_order(statistic, found) == pytest.approx(in_any_order(statistic, expected))


@every(COMPARED)
def test_the_order_of_the_baseline_does_not_matter(statistic: Statistic, data: Any):
    order = np.random.default_rng(1).permutation(len(data))
    shuffled = [data[i] for i in order] if isinstance(data, list) else data[order]
    found, expected = statistic(shuffled, data[:7]), statistic(data, data[:7])
    assert in_any_order(statistic, found) == pytest.approx(in_any_order(statistic, expected))


@every(NUMERIC)
def test_missing_numbers_are_left_out(statistic: Statistic, data: Any):
    window = data[:9]
    with_gaps = np.concatenate([[np.nan], window, [np.nan]])
    assert statistic(np.append(data, np.nan), with_gaps) == statistic(data, window)
    assert statistic(data, np.full(3, np.nan)).n == 0


@every(NUMERIC)
def test_single_precision_gives_the_same(statistic: Statistic, data: Any):
    rounded = data.astype(np.float32)
    exact = statistic(rounded.astype(np.float64), rounded[:9].astype(np.float64))
    assert statistic(rounded, rounded[:9]) == exact


@every(CATEGORICAL)
def test_a_new_category_is_measured(statistic: Statistic, data: Any):
    assert is_measured(statistic, data, statistic(data, [*data[:-1], "new"]))


def test_a_proportion_of_nothing_has_no_value():
    assert values(wilson(0, 0)) == [None, None, None]


def test_images_without_a_channel_axis_are_grey():
    assert np.array_equal(extract(IMAGES[..., 0]).attributes, extract(IMAGES).attributes)


@every(NUMERIC)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_data_stay_as_they_are(statistic: Statistic, data: Any, kind: Any):
    baseline, window = data.astype(kind), data[:9].astype(kind)
    kept = baseline.copy(), window.copy()
    statistic(baseline, window)
    assert np.array_equal(baseline, kept[0])
    assert np.array_equal(window, kept[1])
