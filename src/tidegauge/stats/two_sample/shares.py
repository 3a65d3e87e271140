"""Shares of categories or bins on both sides, for the distances that compare distributions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        return baseline.binned, baseline.bin(window)  # type: ignore[arg-type]
    return Categories.of(baseline).beside(Categories.of(window))  # type: ignore[arg-type]


def shares(counts: Counts) -> Floats:
    """Return counts as shares of their sum."""
    return np.asarray(counts / counts.sum())
