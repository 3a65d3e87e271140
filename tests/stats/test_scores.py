"""The algorithms of a monitor's scores."""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest
from scipy.stats import ks_2samp

from tidegauge.domain.monitor_config import DriftConfig
from tidegauge.phantoms import draw
from tidegauge.stats.images import compare, fit_baseline
from tidegauge.stats.scores import score_images, score_of_categories, score_of_numbers
from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.numbers import Numbers

ALGORITHMS = sorted(set(get_args(get_type_hints(DriftConfig)["algorithm"])) - {"custom"})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_scores_numbers_that_moved_above_those_that_did_not(algorithm: str) -> None:
    rng = np.random.default_rng(1)
    baseline, score = Numbers.of(rng.normal(size=2000)), score_of_numbers(algorithm)
    calm, moved = (score(baseline, Numbers.of(rng.normal(mean, 1, 300))).score for mean in (0, 3))
    assert calm is not None
    assert moved is not None
    assert 0 <= calm < 0.2 < moved <= 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_scores_categories_that_moved_above_those_that_did_not(algorithm: str) -> None:
    baseline, score = Categories({"a": 700, "b": 300}), score_of_categories(algorithm)
    calm, moved = (score(baseline, Categories(counts)).score for counts in ({"a": 70, "b": 30}, {"c": 100}))
    assert calm is not None
    assert moved is not None
    assert calm == pytest.approx(0, abs=1e-9)
    assert 0.9 < moved <= 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("window", [[], [np.nan], [1.0], [np.inf, 2.0], [5.0] * 20])
def test_odd_windows_have_a_score_in_range_or_none(algorithm: str, window: list[float]) -> None:
    found = score_of_numbers(algorithm)(Numbers.of(np.arange(50.0)), Numbers.of(window))
    assert found.score is None or 0 <= found.score <= 1
    assert found.score is None or found.n > 0


def test_without_an_algorithm_of_its_own_a_number_has_the_distance_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(2)
    left, right = rng.normal(size=80), rng.normal(1, 1, 30)
    for algorithm in ("auto", "kolmogorov_smirnov", "kolmogorov_smirnov_and_chi_squared"):
        found = score_of_numbers(algorithm)(Numbers.of(left), Numbers.of(right))
        assert found.score == pytest.approx(ks_2samp(left, right).statistic)


def test_every_algorithm_scores_other_images_above_those_of_the_baseline() -> None:
    rng = np.random.default_rng(3)
    images = np.stack([draw("NORMAL", rng, size=32).reshape(32, 32, 1) for _ in range(160)])
    baseline = fit_baseline(images[:120])
    calm, moved = compare(baseline, images[120:]), compare(baseline, 255 - images[120:])
    for algorithm in set(ALGORITHMS) - {"chi_squared"}:
        low, high = score_images(algorithm, baseline, calm), score_images(algorithm, baseline, moved)
        assert low is not None
        assert high is not None
        assert 0 <= low < high <= 1, algorithm
    assert score_images("mmd", baseline, compare(baseline, images[:0])) is None
