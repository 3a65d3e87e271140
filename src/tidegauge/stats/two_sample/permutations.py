"""Permutation tests: which of the pooled values could have been the window's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SAME = 1e-9  # relative; rounding must not tell equal statistics apart


def random_windows(size: int, n: int, draws: int, rng: np.random.Generator | None) -> npt.NDArray[np.bool_]:
    """Return ``draws`` random choices of n of ``size`` values, ``[draws, size]``; n is 1 or more."""
    generator = rng if rng is not None else np.random.default_rng(0)
    if n * n <= size:
        places = random_places(size, n, draws, generator)
    else:
        chance = generator.random((draws, size), np.float32)
        places = np.argpartition(chance, n - 1, axis=1)[:, :n]
    chosen = np.zeros((draws, size), np.bool_)
    np.put_along_axis(chosen, places, True, axis=1)
    return chosen


def random_places(size: int, n: int, draws: int, rng: np.random.Generator | None) -> npt.NDArray[np.int64]:
    """Return ``draws`` random choices of n of ``size`` places, ``[draws, n]``, without going through all.

    Source: Bentley and Floyd, "Programming pearls: a sample of brilliance", CACM 30 (1987).
    """
    generator = rng if rng is not None else np.random.default_rng(0)
    places = np.empty((n, draws), np.int64)
    for i, top in enumerate(range(size - n, size)):
        drawn = generator.integers(0, top + 1, draws)
        places[i] = np.where((places[:i] == drawn).any(axis=0), top, drawn)
    return places.T


def p_value(statistic: float, drawn: npt.NDArray[np.floating], rounding: float = 0.0) -> float:
    """Return the share of statistics, the observed one counted in, that are at least as large.

    Statistics within ``rounding`` of each other count as equal.
    Source: Phipson and Smyth, "Permutation p-values should never be zero", SAGMB 9 (2010).

    >>> p_value(2.0, np.array([1.0, 2.0, 3.0]))
    0.75
    """
    above = int((drawn >= statistic - max(_SAME * abs(statistic), rounding)).sum())
    return (above + 1) / (len(drawn) + 1)
