"""Laws: what a score or a metric does in clean windows, exact where all ways to fill one can be tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import ceil, comb, floor, log10
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import kstwo, nbinom

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Sizes = Mapping[int, float]  # shares of runs whose window has so many samples

_MOST_COMPOSITIONS = 300_000  # ways in which a window can be filled: up to here all are gone through
_MOST_STEPS = 50_000_000  # of the exact Kolmogorov-Smirnov law
_BATCH = 2_000_000
_NOISE = 1e-9  # numbers so near are equal: the same share, added up in another order


class Law(Protocol):
    """What a score or metric does in clean windows."""

    @property
    def draws(self) -> int | None:
        """Number of resampled windows, None where the law is exact."""

    def past(self, threshold: float) -> float:
        """Return the chance that a window is strictly worse than the threshold."""

    def bound(self, chance: float) -> float:
        """Return the tightest threshold that windows pass with at most this chance."""


class Values:
    """A law of values ``[k]`` with their chances ``[k]``, worst first."""

    def __init__(self, values: Floats, chances: Floats, larger_is_worse: bool, draws: int | None) -> None:
        known = ~np.isnan(values)
        self._sign = 1 if larger_is_worse else -1
        badness = (self._sign * values[known]).round(12)
        places, inverse = np.unique(-badness, return_inverse=True)
        self._badness = -places
        self._reached = np.cumsum(np.bincount(inverse, chances[known]))
        self.draws = draws

    def past(self, threshold: float) -> float:
        worse = int((self._badness > self._sign * threshold + _NOISE).sum())
        return float(self._reached[worse - 1]) if worse else 0.0

    def bound(self, chance: float) -> float:
        if not len(self._badness):
            return 0.0
        worse = min(int(np.searchsorted(self._reached, chance, "right")), len(self._badness) - 1)
        if not worse:
            return float(self._sign * ceil(self._badness[0] * 1e4 - _NOISE) / 1e4) + 0.0  # never -0.0
        return self._sign * _simplest(float(self._badness[worse]), float(self._badness[worse - 1]))


class Distance:
    """The law of the Kolmogorov-Smirnov distance from a baseline with these counts of distinct numbers."""

    draws: int | None = None

    def __init__(self, counts: Indices, sizes: Sizes) -> None:
        self._counts, self._m, self._sizes = counts, int(counts.sum()), sizes

    def past(self, threshold: float) -> float:
        return sum(share * self._past(size, threshold) for size, share in self._sizes.items())

    def _past(self, n: int, threshold: float) -> float:
        if threshold < 0:
            return 1.0
        steps = floor((threshold + _NOISE) * self._m * n) + 1
        if steps > self._m * n:
            return 0.0
        if len(self._counts) < self._m and len(self._counts) * n * n <= _MOST_STEPS:
            return _tied_paths_outside(steps, self._counts, n)
        if self._m * n <= _MOST_STEPS:
            return _paths_outside(steps, max(self._m, n), min(self._m, n))
        return float(kstwo.sf(steps / (self._m * n), max(1, round(self._m * n / (self._m + n)))))

    def bound(self, chance: float) -> float:
        smallest = min(self._sizes)
        near = float(kstwo.isf(min(chance, 0.99), max(1, round(self._m * smallest / (self._m + smallest)))))
        grid: int = 10 ** (2 - floor(log10(near)))  # three digits
        low, high = 0, grid
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.past(middle / grid) <= chance else (middle + 1, high)
        return low / grid


def _paths_outside(steps: int, m: int, n: int) -> float:
    """Return the share of lattice paths from (0, 0) to (m, n) with ``abs(i n - j m) >= steps`` somewhere."""
    column = np.arange(m + 1)
    paths = (column * n < steps).astype(np.float64)
    scale = 0.0
    for j in range(1, n + 1):
        first, last = max(0, (j * m - steps) // n + 1), min(m, -((-j * m - steps) // n) - 1)
        row = np.zeros(m + 1)
        row[first : last + 1] = np.cumsum(paths[first : last + 1])
        largest = row.max(initial=0.0)
        if largest == 0:
            return 1.0
        paths, scale = row / largest, scale + np.log(largest)
    if paths[m] == 0:
        return 1.0
    inside = np.log(paths[m]) + scale - (gammaln(m + n + 1) - gammaln(m + 1) - gammaln(n + 1))
    return float(np.clip(-np.expm1(inside), 0.0, 1.0))


def _tied_paths_outside(steps: int, counts: Indices, n: int) -> float:
    """Return the same where numbers repeat: distances are looked at after each distinct number only.

    A window from the Polya urn of the baseline is a row of negative binomial counts, given their sum.
    """
    m = int(counts.sum())
    filled = np.arange(n + 1)
    inside = np.zeros(n + 1)
    inside[0] = 1.0
    for count, before in zip(counts, np.cumsum(counts), strict=True):
        inside = np.convolve(inside, nbinom.pmf(filled, count, m / (m + n)))[: n + 1]
        inside[np.abs(filled * m - before * n) >= steps] = 0.0
    return float(np.clip(1 - inside[n] / nbinom.pmf(n, m, m / (m + n)), 0.0, 1.0))


def filled_by(
    parts: Floats,
    statistic: Callable[[Indices], Floats],
    larger_is_worse: bool,
    sizes: Sizes,
    draws: int,
    rng: np.random.Generator,
    *,
    known: bool = False,
) -> Values:
    """Return the law of a statistic of how a window is filled ``[k, parts]``.

    ``parts`` are Dirichlet parameters, or the shares themselves where they are ``known``. Exact where each
    size has few enough ways to be filled.
    """
    if all(comb(size + len(parts) - 1, size) <= _MOST_COMPOSITIONS for size in sizes):
        values, chances = [], []
        for size, share in sizes.items():
            ways = compositions(size, len(parts))
            values.append(statistic(ways))
            chances.append(share * np.exp(_log_chance(ways, parts, known)))
        return Values(np.concatenate(values), np.concatenate(chances), larger_is_worse, None)
    values = [
        statistic(rng.multinomial(size, parts if known else rng.dirichlet(parts, count), count))
        for size, share in sizes.items()
        for count in batches(round(draws * share), len(parts))
    ]
    found = np.concatenate(values)
    return Values(found, np.full(len(found), total(sizes) / len(found)), larger_is_worse, draws)


def _log_chance(ways: Indices, parts: Floats, known: bool) -> Floats:
    n = ways[0].sum()
    if known:
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(ways > 0, ways * np.log(parts), 0.0) - gammaln(ways + 1)
        return np.asarray(gammaln(n + 1) + each.sum(axis=1))
    each = gammaln(ways + parts) - gammaln(parts) - gammaln(ways + 1)
    total = parts.sum()
    return np.asarray(gammaln(n + 1) + gammaln(total) - gammaln(n + total) + each.sum(axis=1))


def compositions(total: int, parts: int) -> Indices:
    """Return all ways to fill ``parts`` places with ``total`` things, ``[ways, parts]``."""
    ways = np.zeros((1, 0), np.int64)
    rest = np.array([total])
    for _ in range(parts - 1):
        choices = rest + 1
        chosen = np.arange(choices.sum()) - np.repeat(np.cumsum(choices) - choices, choices)
        ways = np.column_stack([np.repeat(ways, choices, axis=0), chosen])
        rest = np.repeat(rest, choices) - chosen
    return np.column_stack([ways, rest])


def _simplest(low: float, high: float) -> float:
    """Return the number with the fewest decimals well between two."""
    middle = (low + high) / 2
    for digits in range(12):
        rounded = round(middle, digits)
        if low + _NOISE < rounded < high - _NOISE:
            return rounded
    return middle


def total(sizes: Sizes) -> float:
    """Return the share of runs whose windows are not empty."""
    return sum(sizes.values())


def batches(draws: int, width: int) -> Iterator[int]:
    """Cut draws of so many numbers each into what fits in memory."""
    most = max(1, _BATCH // width)
    for start in range(0, draws, most):
        yield min(most, draws - start)
