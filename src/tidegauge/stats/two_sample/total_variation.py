"""Total variation distance between two counts of categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.shares import Sample, named


@dataclass(frozen=True)
class TotalVariation(TwoSample):
    """The shares of each category or bin beside the distance; they are empty where a side is."""

    baseline_shares: Mapping[str, float]
    window_shares: Mapping[str, float]


def total_variation(baseline: Sample, window: Sample) -> TotalVariation:
    """Return half the sum of the differences of the categories' shares; a new category counts in full.

    Takes counts of categories, values to count, or ``Numbers`` (binned by the baseline's tenths).
    Raises ValueError for a negative count.
    Source: Levin and Peres, "Markov Chains and Mixing Times", 2nd ed. (2017), section 4.1.

    >>> total_variation({"a": 1, "b": 1}, {"a": 3, "b": 1}).score
    0.25
    """
    left, right = named(baseline, window)
    reference, sample = _shares(left), _shares(right)
    if not reference or not sample:
        return TotalVariation(None, None, None, right.n, reference, sample)
    categories = sorted(reference.keys() | sample.keys())
    distance = sum(abs(reference.get(c, 0.0) - sample.get(c, 0.0)) for c in categories) / 2
    distance = min(1.0, distance)
    return TotalVariation(distance, distance, None, right.n, reference, sample)


def _shares(categories: Categories) -> dict[str, float]:
    total = categories.n
    return {name: count / total for name, count in sorted(categories.counts.items())} if total else {}
