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
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov
from tidegauge.stats.two_sample.total_variation import total_variation

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(10, 2, 40)
CATEGORIES = list(RNG.choice(["a", "b", "c"], 40))
IMAGES = RNG.integers(0, 255, (12, 40, 40, 1), np.uint8)


def of_counts(baseline: list[str], window: list[str]) -> Any:
    return total_variation(Counter(baseline), Counter(window))


def of_images(baseline: np.ndarray, window: np.ndarray) -> Any:
    return compare(fit_baseline(baseline), window)


def of_latencies(_: np.ndarray, window: np.ndarray) -> Any:
    return summarise(window)


def of_predictions(baseline: list[str], window: list[str]) -> Any:
    size = min(len(baseline), len(window))
    return classify(baseline[:size], window[:size])


Statistic = Callable[[Any, Any], Any]
NUMERIC = [(kolmogorov_smirnov, NUMBERS), (of_latencies, NUMBERS)]
CATEGORICAL = [(of_counts, CATEGORIES), (of_predictions, CATEGORIES)]
ALL = [*NUMERIC, *CATEGORICAL, (of_images, IMAGES)]
SCORED = [(kolmogorov_smirnov, NUMBERS), (of_counts, CATEGORIES), (of_images, IMAGES)]


def every(pairs: list[tuple[Statistic, Any]]) -> Any:
    return pytest.mark.parametrize(("statistic", "data"), pairs, ids=[s.__name__ for s, _ in pairs])


def values(result: Any) -> list[float | None]:
    """The numbers that a result states, except its sizes."""
    found: list[float | None] = []
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if field.name == "metrics":
            found += [number for estimate in value.values() for number in (estimate.value, estimate.low)]
        elif field.name not in ("n", "positive") and (value is None or isinstance(value, float)):
            found.append(value)
    return found


@every(ALL)
def test_results_cannot_be_changed(statistic: Statistic, data: Any):
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistic(data, data).n = 0


@every(ALL)
def test_an_empty_window_has_no_value_and_is_no_error(statistic: Statistic, data: Any):
    result = statistic(data, data[:0])
    assert result.n == 0
    assert set(values(result)) == {None}


@every(SCORED)
def test_an_empty_baseline_has_no_score(statistic: Statistic, data: Any):
    result = statistic(data[:0], data)
    assert result.score is None
    assert result.n == len(data)


@every(ALL)
def test_a_single_element_is_measured(statistic: Statistic, data: Any):
    result = statistic(data, data[:1])
    assert result.n == 1
    assert all(value is not None and np.isfinite(value) for value in values(result))


@every(ALL)
def test_constant_data_is_measured(statistic: Statistic, data: Any):
    same = [data[0]] * 10 if isinstance(data, list) else np.stack([data[0]] * 10)
    result = statistic(same, same)
    assert all(value is not None and np.isfinite(value) for value in values(result))
    assert getattr(result, "score", 0.0) == 0.0


@every(SCORED)
def test_the_baseline_itself_is_no_drift(statistic: Statistic, data: Any):
    assert statistic(data, data).score == 0.0


@every(SCORED)
def test_scores_lie_between_0_and_1(statistic: Statistic, data: Any):
    other = ["z"] * 9 if isinstance(data, list) else np.zeros_like(data)
    assert statistic(data, other).score == pytest.approx(1.0)


@every(ALL)
def test_the_order_does_not_matter(statistic: Statistic, data: Any):
    window = data[:7] if statistic is not of_predictions else data
    order = np.random.default_rng(1).permutation(len(window))
    shuffled = [window[i] for i in order] if isinstance(window, list) else window[order]
    baseline = [data[i] for i in order] if statistic is of_predictions else data
    assert values(statistic(baseline, shuffled)) == pytest.approx(values(statistic(data, window)))


@every(SCORED)
def test_the_order_of_the_baseline_does_not_matter(statistic: Statistic, data: Any):
    order = np.random.default_rng(1).permutation(len(data))
    shuffled = [data[i] for i in order] if isinstance(data, list) else data[order]
    assert values(statistic(shuffled, data[:7])) == pytest.approx(values(statistic(data, data[:7])))


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
    assert all(value is not None for value in values(statistic(data, [*data[:-1], "new"])))


def test_a_proportion_of_nothing_has_no_value():
    assert values(wilson(0, 0)) == [None, None, None]


def test_images_without_a_channel_axis_are_grey():
    assert np.array_equal(extract(IMAGES[..., 0]).attributes, extract(IMAGES).attributes)
