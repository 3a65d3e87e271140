"""Shares of categories or bins on both sides, for the distances that compare distributions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.numbers import Numbers

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
#: Counts of categories, values to count, or numbers, which are binned by the baseline's tenths.
Sample = Mapping[str, int] | Iterable[Any] | Categories | Numbers


def counted(baseline: Sample, window: Sample) -> tuple[Counts, Counts]:
    """Return the counts of both sides over the same categories, or over the bins of a numeric baseline."""
    if isinstance(baseline, Numbers):
        return baseline.binned, baseline.bin(window)  # type: ignore[arg-type]  # refuses what is no number
    return _categories(baseline).beside(_categories(window))


def named(baseline: Sample, window: Sample) -> tuple[Categories, Categories]:
    """Return the categories of both sides; those of numbers are the bins of the baseline.

    >>> named(Numbers.of([1, 1, 2]), [0, 1, 5])[1].counts
    {'[-inf, 1.0)': 1, '[1.0, 2.0)': 1, '[2.0000000000000004, inf)': 1}
    """
    if not isinstance(baseline, Numbers):
        return _categories(baseline), _categories(window)
    borders = [-np.inf, *baseline.edges.tolist(), np.inf]
    bins = [f"[{low}, {high})" for low, high in pairwise(borders)]
    left, right = (
        Categories.of(dict(zip(bins, counts.tolist(), strict=True))) for counts in counted(baseline, window)
    )
    return left, right


def _categories(sample: Sample) -> Categories:
    if isinstance(sample, Numbers):
        # As everywhere in stats, bad input is a ValueError.
        raise ValueError(  # noqa: TRY004
            "the window has numbers where the baseline has categories; give both of one kind"
        )
    return Categories.of(sample)


def shares(counts: Counts) -> Floats:
    """Return counts as shares of their sum."""
    return np.asarray(counts / counts.sum())
