"""Online conformal ranks of many features at once, on a grid, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]

_BLOCKS = 64  # between quantiles of the fitted part, and one tail on either side
_STEPS = 64  # of equal width in a block
_CELLS = _BLOCKS * _STEPS
_MISSING = _CELLS - 1  # NaN ranks above every number
_BITS = 4  # of a cell's number that each level of the tree that counts cells goes by
_BRANCHES = 1 << _BITS
_LARGER = np.triu(np.ones((_BRANCHES, _BRANCHES), np.int32), k=1)  # row b: 1 at the branches above b
_CHUNK = 512
_QUANTILES = np.linspace(0, 1, _BLOCKS - 1)


@dataclass(frozen=True, eq=False)
class Tolerated:
    """How far harmless variation moves the observations of a baseline.

    ``low`` and ``high`` ``[m, K]`` are the extremes of each ranked observation over its tolerated variants,
    itself included; ``slack`` ``[K]`` bounds how far a variant lies from the extremes of its original.
    """

    low: Floats
    high: Floats
    slack: Floats


class Grid:
    """4,096 cells a feature, placed by the fitted part alone: it knows nothing of what is ranked in it."""

    def __init__(self, knots: Floats) -> None:
        self.knots = knots  # [K, 63], ascending
        self._first = _BLOCKS * np.arange(len(knots))
        self._padded = np.pad(knots, ((0, 0), (0, 1)), constant_values=np.inf).ravel()
        spread = knots[:, -1] - knots[:, 0]
        self._spread = np.where(spread > 0, spread / 4, 1.0)

    @classmethod
    def of(cls, fitted: Floats) -> Self:
        """Place the blocks between quantiles of the fitted part ``[f, K]``."""
        knots = np.zeros((fitted.shape[1], _BLOCKS - 1))
        for k, column in enumerate(fitted.T):
            known = column[np.isfinite(column)]
            if len(known):
                knots[k] = np.quantile(known, _QUANTILES, method="inverted_cdf")
        return cls(knots)

    def cells(self, values: Floats) -> Cells:
        """Return the cell of each value, ``[c, K]``; larger values never have smaller cells."""
        known = np.clip(np.nan_to_num(values), -1e300, 1e300)
        block = np.zeros(known.shape, np.int64)
        half = _BLOCKS // 2
        while half:  # a binary search among the knots of each feature, for all values at once
            block += half * (known >= self._padded.take(self._first + block + (half - 1)))
            half //= 2
        start = self._padded.take(self._first + np.maximum(block - 1, 0))
        width = self._padded.take(self._first + np.minimum(block, _BLOCKS - 2)) - start
        way = np.abs(known - start)
        # A tail has no end: the way past the last knot, d, goes to d / (1 + d).
        tail = (_STEPS - 2) * way / (self._spread + way)
        step = np.where(width > 0, _STEPS * way / np.where(width > 0, width, 1.0), 0.0)
        step = np.where(block == 0, _STEPS - 1 - tail, np.where(block == _BLOCKS - 1, tail, step))
        cells = block * _STEPS + np.minimum(step.astype(np.int64), _STEPS - 1)
        return np.where(np.isnan(values), _MISSING, cells)


class Tally:
    """How many values lie in each cell of a grid of K features."""

    def __init__(self, counts: npt.NDArray[np.int32]) -> None:
        self.counts = counts  # [K, 4096]
        # A tree: sums over 256 cells, over 16, the cells themselves; a row holds the branches of a node.
        self._levels = [counts.reshape(-1, _BRANCHES)]
        while len(self._levels[0]) > len(counts):
            self._levels.insert(0, self._levels[0].sum(axis=1, dtype=np.int32).reshape(-1, _BRANCHES))
        self._first = _CELLS * np.arange(len(counts))

    def above(self, cells: Cells, joining: Cells) -> tuple[Cells, Cells]:
        """Return how many lie above and in the cells ``[c, K]``; ``joining`` joins one by one."""
        more = np.zeros(cells.shape, np.int64)
        for level, branch in self._branches(cells):
            siblings = level.take(branch >> _BITS, axis=0)
            more += np.einsum("ckb,ckb->ck", siblings, _LARGER.take(branch & (_BRANCHES - 1), axis=0))
        ties = self.counts.reshape(-1).take(self._first + cells).astype(np.int64)
        earlier = np.tri(len(cells), k=-1, dtype=bool)[:, :, np.newaxis]
        more += ((joining > cells[:, np.newaxis]) & earlier).sum(axis=1)
        ties += ((joining == cells[:, np.newaxis]) & earlier).sum(axis=1)
        return more, ties

    def join(self, cells: Cells) -> None:
        """Count the values in the cells ``[c, K]``."""
        for level, branch in self._branches(cells):
            np.add.at(level.reshape(-1), branch.ravel(), np.int32(1))

    def _branches(self, cells: Cells) -> Iterator[tuple[npt.NDArray[np.int32], Cells]]:
        """Yield each level of the tree with the branch that leads to each cell, from the root on."""
        leaves = self._first + cells
        for depth, level in enumerate(self._levels, start=1):
            yield level, leaves >> _BITS * (len(self._levels) - depth)

    @property
    def size(self) -> Cells:
        """How many values there are of each feature, ``[K]``."""
        return np.asarray(self._levels[0].sum(axis=1, dtype=np.int64))


class Ranks:
    """Observations of K features are ranked among those before them, then join.

    Values in one cell of the grid tie and chance breaks ties, so that ranks are exact whatever the grid.
    Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2nd ed. (2022), chapter 8.
    """

    def __init__(self, grid: Grid, upper: Tally, lower: Tally, slack: Floats) -> None:
        self._grid = grid
        self._upper = upper  # of the highest that each can have been
        self._lower = lower  # of the lowest; the same tally where nothing is tolerated
        self._slack = slack

    @classmethod
    def of(cls, fitted: Floats, ranked: Floats, tolerated: Tolerated | None) -> Self:
        """Place the grid by the fitted part ``[f, K]`` and count the ranked part ``[m, K]``."""
        grid = Grid.of(fitted)
        sides = (ranked,) if tolerated is None else (tolerated.high, tolerated.low)
        tallies = [Tally(np.zeros((fitted.shape[1], _CELLS), np.int32)) for _ in sides]
        for tally, values in zip(tallies, sides, strict=True):
            for start in range(0, len(values), _CHUNK):
                tally.join(grid.cells(values[start : start + _CHUNK]))
        slack = np.zeros(fitted.shape[1]) if tolerated is None else tolerated.slack
        return cls(grid, tallies[0], tallies[-1], slack)

    def take(self, values: Floats, chance: Floats) -> tuple[Floats, Floats]:
        """Rank c observations ``[c, K]`` in turn; ``chance`` ``[c]``, uniform on [0, 1), breaks ties.

        Returns the share at or above each and the share at or below it, among those before it and itself:
        under no drift uniform on (0, 1], or larger, since what is tolerated counts for both.
        """
        size = self._upper.size + 1.0 + np.arange(len(values))[:, np.newaxis]
        toss = 1 - chance[:, np.newaxis]
        cells = self._grid.cells(values)
        exact = self._lower is self._upper
        highest = cells if exact else self._grid.cells(values + self._slack)
        more, ties = self._upper.above(cells, highest)
        high = (more + toss * (ties + 1)) / size
        if exact:
            low = np.maximum(1 - high, 0.0) + 1e-16
        else:
            lowest = self._grid.cells(values - self._slack)
            more, ties = self._lower.above(cells, lowest)
            low = (size - 1 - more - ties + (1 - toss) * (ties + 1) + 1e-16) / size
            self._lower.join(lowest)
        self._upper.join(highest)
        return high, low

    def beside(self, other: Self) -> Self:
        """Return the ranks of the features of both."""
        upper, lower = (
            Tally(np.concatenate([a.counts, b.counts]))
            for a, b in ((self._upper, other._upper), (self._lower, other._lower))
        )
        exact = self._lower is self._upper and other._lower is other._upper
        grid = Grid(np.concatenate([self._grid.knots, other._grid.knots]))
        return type(self)(grid, upper, upper if exact else lower, np.concatenate([self._slack, other._slack]))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "knots": self._grid.knots,
            "upper": self._upper.counts,
            "slack": self._slack,
        }
        return arrays if self._lower is self._upper else {**arrays, "lower": self._lower.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build ranks from what ``to_arrays`` gave."""
        upper = Tally(np.array(arrays["upper"]))
        lower = Tally(np.array(arrays["lower"])) if "lower" in arrays else upper
        return cls(Grid(arrays["knots"]), upper, lower, arrays["slack"])
