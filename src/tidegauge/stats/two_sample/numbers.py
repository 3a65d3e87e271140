"""A sample of numbers: the exact, mergeable summary that numeric statistics compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Numeric = npt.NDArray[np.floating]
Counts = npt.NDArray[np.int64]

_CELLS = 65_536  # as many as 16 bits tell apart
_CHUNK = 65_536
_BINS = 10


@dataclass(frozen=True, eq=False)
class Cells:
    """A grid of equal cells over a sorted sample, so that a large window need not be sorted.

    How many lie ``below`` the upper end of each cell, and its ``single`` value (NaN where it has several).
    """

    low: float
    scale: float
    below: Counts
    single: Numeric

    def of(self, values: Numeric) -> npt.NDArray[np.uint16]:
        """Return the cell of each value; larger values never have smaller cells."""
        cells = np.zeros(len(values), np.uint16)
        if not self.scale:
            return cells
        for start in range(0, len(values), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            with np.errstate(over="ignore"):  # infinitely far outside is the outermost cell
                places = values[chunk] - values.dtype.type(self.low)
                places *= values.dtype.type(self.scale)
            places += 1
            cells[chunk] = np.clip(places, 0, _CELLS - 1, out=places)
        return cells

    def count(self, cells: npt.NDArray[np.uint16], values: Numeric | None = None) -> Counts:
        """Return how many values lie in each cell; given the values, how many equal its single one."""
        counts = np.zeros(_CELLS, np.int64)
        for start in range(0, len(cells), _CHUNK):
            chunk = cells[start : start + _CHUNK]
            if values is not None:
                chunk = chunk[self.single[chunk] == values[start : start + _CHUNK]]
            counts += np.bincount(chunk, minlength=_CELLS)
        return counts


@dataclass(frozen=True, eq=False)
class Numbers:
    """A sample of numbers, sorted, and how many of them were ``missing`` (NaN).

    >>> a, b = Numbers.of([3, 1, float("nan")]), Numbers.of([2])
    >>> a.merge(b).values.tolist(), a.merge(b).missing
    ([1.0, 2.0, 3.0], 1)
    """

    values: Numeric
    missing: int

    @classmethod
    def of(cls, values: npt.ArrayLike | Numbers) -> Numbers:
        """Summarise numbers; float32 stays float32, everything else becomes float64."""
        if isinstance(values, Numbers):
            return values
        array = numeric(values)
        values = np.sort(known(array))
        return cls(values, len(array) - len(values))

    def __len__(self) -> int:
        return len(self.values)

    def merge(self, other: Numbers) -> Numbers:
        """Return the summary of both samples together."""
        values = np.concatenate([self.values, other.values])
        values.sort(kind="stable")  # two sorted runs merge in one pass
        return Numbers(values, self.missing + other.missing)

    @cached_property
    def scale(self) -> float:
        """Standard deviation, or 1 where all numbers are equal."""
        deviation = float(self.values.std(dtype=np.float64)) if len(self.values) else 0.0
        return deviation if deviation > 0 else 1.0

    @cached_property
    def edges(self) -> Numeric:
        """The inner borders of ten bins with equal shares of the sample; fewer where numbers repeat.

        A border is the smallest number of the bin above. Where the largest number is one, what is larger
        than all of the sample has a bin of its own.
        """
        if not len(self.values):
            return self.values
        ranks = np.arange(1, _BINS) * len(self.values) // _BINS
        borders = np.unique(self.values[ranks])
        top = self.values[-1]
        if borders[-1] < top:
            return borders
        return np.append(borders, np.nextafter(top, top.dtype.type(np.inf)))

    @cached_property
    def binned(self) -> Counts:
        """How many numbers of the sample lie in each bin."""
        return np.diff(np.concatenate([[0], np.searchsorted(self.values, self.edges), [len(self.values)]]))

    def bin(self, window: npt.ArrayLike | Numbers) -> Counts:
        """Return how many numbers of a window lie in each bin of this sample; missing ones are left out."""
        if isinstance(window, Numbers):
            return np.diff(
                np.concatenate([[0], np.searchsorted(window.values, self.edges), [len(window.values)]])
            )
        array = known(numeric(window))
        # Ten comparisons of all run along memory, where a search for each does not.
        below = [int(np.count_nonzero(array < edge)) for edge in self.edges]
        return np.diff(np.array([0, *below, len(array)]))

    @cached_property
    def cells(self) -> Cells:
        """A fine grid over the sample, without its farthest thousandth on either side."""
        tail = len(self.values) // 1000
        low, high = float(self.values[tail]), float(self.values[-1 - tail])
        ordinary = 1e-30 < high - low < 1e30  # else one cell will do, and numbers are sorted
        scale = (_CELLS - 2) / (high - low) if ordinary else 0.0
        grid = Cells(low, scale, np.empty(0, np.int64), self.values[:0])
        counts = grid.count(grid.of(self.values))
        below = np.cumsum(counts)
        last = len(self.values) - 1
        first, final = np.minimum(below - counts, last), np.maximum(below - 1, 0)
        alone = (counts > 0) & (self.values[first] == self.values[final])
        single = np.where(alone, self.values[first], self.values.dtype.type(np.nan))
        return Cells(low, scale, below, single)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {"values": self.values, "missing": np.array(self.missing)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the summary from what ``to_arrays`` gave."""
        return cls(np.asarray(arrays["values"]), int(arrays["missing"]))


def numeric(values: npt.ArrayLike) -> Numeric:
    """Return numbers as a flat array of float32 or float64, not copied where they are one already.

    Raises ValueError for what is no number.
    """
    array = np.asarray(values)
    if array.dtype != np.float32:
        try:
            array = array.astype(np.float64, copy=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"values of type {array.dtype} are no numbers; give floats or whole numbers"
            ) from error
    return array.ravel()


def known(values: Numeric) -> Numeric:
    """Return the numbers that are not NaN, not copied where all are."""
    gone = np.isnan(values)
    return values[~gone] if gone.any() else values
