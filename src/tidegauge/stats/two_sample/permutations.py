"""Permutation tests: which of the pooled values could have been the window's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SAME = 1e-9  # relative; rounding must not tell equal statistics apart


def random_windows(size: int, n: int, draws: int, rng: np.random.Generator | None) -> npt.NDArray[np.bool_]:
    """Return ``draws`` random choices of n of ``size`` values, ``[draws, size]``."""
    chance = (rng if rng is not None else np.random.default_rng(0)).random((draws, size), np.float32)
    chosen = np.zeros((draws, size), np.bool_)
    if n:
        np.put_along_axis(chosen, np.argpartition(chance, n - 1, axis=1)[:, :n], True, axis=1)
    return chosen


def p_value(statistic: float, drawn: npt.NDArray[np.floating]) -> float:
    """Return the share of statistics, the observed one counted in, that are at least as large.

    Source: Phipson and Smyth, "Permutation p-values should never be zero", SAGMB 9 (2010).

    >>> p_value(2.0, np.array([1.0, 2.0, 3.0]))
    0.75
    """
    above = int((drawn >= statistic - _SAME * abs(statistic)).sum())
    return (above + 1) / (len(drawn) + 1)
