"""The score of a feature by the name of an algorithm, from 0 to 1: the one place where it is chosen.

What an algorithm cannot compare has the score of ``auto``: Kolmogorov-Smirnov of numbers, total variation of
categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tidegauge.stats.images import ImageBaseline, ImageDrift
from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.chi_squared import chi_squared
from tidegauge.stats.two_sample.jensen_shannon import jensen_shannon
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov
from tidegauge.stats.two_sample.mmd import mmd
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.psi import psi
from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.total_variation import total_variation
from tidegauge.stats.two_sample.vectors import Vectors
from tidegauge.stats.two_sample.wasserstein import wasserstein

_MOST = 1000  # numbers of a side that MMD takes: its matrix is their square
_CHANCE = 1  # permutation: the score needs none, and its p-value is thrown away

NumbersScore = Callable[[Numbers, Numbers], TwoSample]
CategoriesScore = Callable[[Categories, Categories], TwoSample]


def _mmd_of_numbers(baseline: Numbers, window: Numbers) -> TwoSample:
    """Return MMD of numbers; of many, those at equal steps of rank stand for all."""
    left, right = (_spread(side.values) for side in (baseline, window))
    found = mmd(Vectors.of(left), Vectors.of(right), _CHANCE)
    return TwoSample(found.score, found.statistic, None, len(window))


def _spread(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    known = values[np.isfinite(values)]
    places = np.linspace(0, len(known) - 1, min(len(known), _MOST)).round().astype(np.int64)
    return np.asarray(known[places][:, np.newaxis])


_OF_NUMBERS: Mapping[str, NumbersScore] = {
    "chi_squared": chi_squared,
    "mmd": _mmd_of_numbers,
    "jensen_shannon": jensen_shannon,
    "psi": psi,
    "wasserstein": wasserstein,
}
_OF_CATEGORIES: Mapping[str, CategoriesScore] = {
    "chi_squared": chi_squared,
    "kolmogorov_smirnov_and_chi_squared": chi_squared,
    "jensen_shannon": jensen_shannon,
    "psi": psi,
}


def score_of_numbers(algorithm: str) -> NumbersScore:
    """Return what the algorithm compares numbers with.

    >>> score_of_numbers("auto")(Numbers.of([1, 2, 3, 4]), Numbers.of([3, 4, 5, 6])).score
    0.5
    """
    return _OF_NUMBERS.get(algorithm, kolmogorov_smirnov)


def score_of_categories(algorithm: str) -> CategoriesScore:
    """Return what the algorithm compares counts of categories with.

    >>> score_of_categories("auto")(Categories({"a": 1, "b": 1}), Categories({"a": 3, "b": 1})).score
    0.25
    """
    return _OF_CATEGORIES.get(algorithm, total_variation)


def score_images(algorithm: str, baseline: ImageBaseline, found: ImageDrift) -> float | None:
    """Return how far a window of images is from the baseline: by strangeness, for MMD by all features."""
    score = score_of_numbers(algorithm)
    if found.score is None or score is kolmogorov_smirnov:
        return found.score
    if algorithm == "mmd":
        return found.discrepancy
    return score(Numbers.of(baseline.strangeness), Numbers.of(found.strangeness)).score
