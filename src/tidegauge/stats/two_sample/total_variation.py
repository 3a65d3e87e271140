"""Total variation distance between two counts of categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TotalVariation:
    """``score`` in [0, 1], None where a side is empty; ``n`` is the window's size."""

    score: float | None
    n: int
    baseline_shares: Mapping[str, float]
    window_shares: Mapping[str, float]


def total_variation(baseline: Mapping[str, int], window: Mapping[str, int]) -> TotalVariation:
    """Return half the sum of the differences of the categories' shares; a new category counts in full.

    Raises ValueError for a negative count.
    Source: Levin and Peres, "Markov Chains and Mixing Times", 2nd ed. (2017), section 4.1.

    >>> total_variation({"a": 1, "b": 1}, {"a": 3, "b": 1}).score
    0.25
    """
    reference, sample = _shares(baseline), _shares(window)
    n = sum(window.values())
    if not reference or not sample:
        return TotalVariation(None, n, reference, sample)
    categories = sorted(reference.keys() | sample.keys())
    distance = sum(abs(reference.get(c, 0.0) - sample.get(c, 0.0)) for c in categories) / 2
    return TotalVariation(min(1.0, distance), n, reference, sample)


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    if any(count < 0 for count in counts.values()):
        raise ValueError(f"counts are {dict(counts)}; none can be negative")
    total = sum(counts.values())
    return {category: count / total for category, count in sorted(counts.items())} if total else {}
