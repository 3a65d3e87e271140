"""Confidence sequences: bounds of a mean that hold at all times at once, however often one looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betaln, xlog1py, xlogy

Floats = npt.NDArray[np.float64]

_BETS = np.logspace(-3, 3, 37)  # the smallest are for millions of values, the largest for means near 0
_CHUNK = 4096
_PRIOR = 0.5


@dataclass(frozen=True)
class Bounds:
    """Bounds of the mean after ``n`` observations with ``mean`` (None where there are none)."""

    low: float
    high: float
    n: int
    mean: float | None

    def surely_below(self, bound: float) -> bool:
        """Tell whether the mean is below ``bound``, wrongly ever with a chance of at most alpha."""
        return self.high < bound

    def surely_above(self, bound: float) -> bool:
        """Tell whether the mean is above ``bound``, wrongly ever with a chance of at most alpha."""
        return self.low > bound


class ProportionSequence:
    """Bounds of a proportion: P(ever wrong) <= ``alpha``, whenever one looks or stops.

    For observations of 0 and 1: right or wrong, or hit and miss among the sick only (recall). Bounds are the
    proportions whose likelihood is at least alpha times the Beta(1/2, 1/2) mixture's. That ratio is a
    martingale at the true proportion, which ever passes 1 / alpha with a chance of at most alpha.

    Assumption: each observation is 1 with the same chance given all before. If that chance wanders, the
    bounds follow the mean of all observations, without a guarantee.
    ``intersect`` keeps the narrowest bounds seen; valid, and a little narrower, but past a change of the
    proportion they can exclude everything (``low`` above ``high``), which says that it changed.

    Sources: Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of
    Mathematical Statistics 41 (1970); Ville, "Etude critique de la notion de collectif" (1939).

    >>> sequence = ProportionSequence(alpha=0.05)
    >>> bounds = sequence.update([1] * 60 + [0] * 40)
    >>> round(bounds.low, 3), round(bounds.high, 3), bounds.surely_below(0.85)
    (0.434, 0.751, True)
    """

    def __init__(self, alpha: float = 0.05, *, intersect: bool = False) -> None:
        self.alpha = _checked_alpha(alpha)
        self.ones = 0
        self.n = 0
        self._narrowest = (0.0, 1.0) if intersect else None

    def update(self, values: npt.ArrayLike) -> Bounds:
        """Take in values ``[k]`` of 0 and 1, NaN left out, and return the bounds.

        With ``intersect`` bounds are intersected once per update, not once per value.
        """
        found = _observed(values)
        if not ((found == 0) | (found == 1)).all():
            raise ValueError("values has one other than 0 and 1; use ConfidenceSequence for values between")
        self.ones += int(found.sum())
        self.n += len(found)
        low, high = self._bounds()
        if self._narrowest is not None:
            low, high = max(low, self._narrowest[0]), min(high, self._narrowest[1])
            self._narrowest = (low, high)
        return Bounds(low, high, self.n, self.ones / self.n if self.n else None)

    def _bounds(self) -> tuple[float, float]:
        zeros = self.n - self.ones
        most = betaln(_PRIOR + self.ones, _PRIOR + zeros) - betaln(_PRIOR, _PRIOR) + log(self.alpha)

        def excess(proportion: float) -> float:
            return float(most - xlogy(self.ones, proportion) - xlog1py(zeros, -proportion))

        if not self.n:
            return 0.0, 1.0
        mean = self.ones / self.n
        low = 0.0 if not self.ones else brentq(excess, np.finfo(np.float64).tiny, mean, xtol=1e-12)
        high = 1.0 if not zeros else brentq(excess, mean, 1 - np.finfo(np.float64).eps, xtol=1e-12)
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known, for storage."""
        return {
            "alpha": self.alpha,
            "ones": self.ones,
            "n": self.n,
            "narrowest": None if self._narrowest is None else list(self._narrowest),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build from what ``to_dict`` gave."""
        sequence = cls(state["alpha"], intersect=state["narrowest"] is not None)
        sequence.ones, sequence.n = state["ones"], state["n"]
        if state["narrowest"] is not None:
            sequence._narrowest = (state["narrowest"][0], state["narrowest"][1])
        return sequence


class ConfidenceSequence:
    """Bounds of the mean of values in [0, 1]: P(ever wrong) <= ``alpha``, whenever one looks or stops.

    For losses such as Brier's, whatever their distribution; divide other bounded ones by their range. It
    takes 0 and 1, too, with bounds much like those of ``ProportionSequence``.

    A gambler who holds that the mean is above m multiplies a capital of 1 by (1 + k x) / (1 + k m) at each
    value x. As long as the mean is at most m, given all before, that is no gain on average, for any k > 0; so
    the average capital over fixed k (evenly spaced in log k) ever passes 2 / alpha with a chance of at most
    alpha / 2. ``low`` is the m at which it stands at 2 / alpha. ``high`` is found likewise from 1 - x.

    Assumption: the mean of each observation, given all before, is the same; they need not be independent. If
    it wanders, ``surely_above(b)`` still says that it was not always at most b, and ``surely_below(b)``
    that it was not always at least b. ``intersect`` as in ``ProportionSequence``. The order of the values
    does not matter, and the state is 74 sums and a count.

    Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86
    (2024); Orabona and Jun, "Tight concentrations and confidence sequences from the regret of universal
    portfolio", IEEE Transactions on Information Theory 70 (2024), for averages over fixed bets. With
    k = l / (1 - l m) the factor is their 1 + l (x - m).

    >>> sequence = ConfidenceSequence(alpha=0.05)
    >>> bounds = sequence.update(np.tile([0.1, 0.2, 0.3, 0.4], 25))
    >>> round(bounds.low, 3), round(bounds.high, 3)
    (0.214, 0.292)
    """

    def __init__(self, alpha: float = 0.05, *, intersect: bool = False) -> None:
        self.alpha = _checked_alpha(alpha)
        self.n = 0
        self._total = 0.0
        self._up, self._down = np.zeros((2, len(_BETS)))
        self._narrowest = (0.0, 1.0) if intersect else None

    def update(self, values: npt.ArrayLike) -> Bounds:
        """Take in values ``[k]`` in [0, 1], NaN left out, and return the bounds.

        With ``intersect`` bounds are intersected once per update, not once per value.
        """
        found = _observed(values)
        if not ((found >= 0) & (found <= 1)).all():
            raise ValueError("values has one outside [0, 1]; divide by their range")
        for start in range(0, len(found), _CHUNK):
            part = found[start : start + _CHUNK]
            self._up += np.log1p(np.multiply.outer(_BETS, part)).sum(axis=1)
            self._down += np.log1p(np.multiply.outer(_BETS, 1 - part)).sum(axis=1)
        self.n += len(found)
        self._total += float(found.sum())
        low, high = self._refuted(self._up), 1 - self._refuted(self._down)
        if self._narrowest is not None:
            low, high = max(low, self._narrowest[0]), min(high, self._narrowest[1])
            self._narrowest = (low, high)
        return Bounds(low, high, self.n, self._total / self.n if self.n else None)

    def _refuted(self, gains: Floats) -> float:
        """Return the largest mean at which the capital has reached 2 / alpha; 0 where there is none."""
        level = log(2 / self.alpha) + log(len(_BETS))

        def excess(mean: float) -> float:
            capital = gains - self.n * np.log1p(_BETS * mean)
            most = float(capital.max())
            return most + log(float(np.exp(capital - most).sum())) - level

        return float(brentq(excess, 0.0, 1.0, xtol=1e-12)) if excess(0.0) > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known, for storage."""
        return {
            "alpha": self.alpha,
            "n": self.n,
            "total": self._total,
            "up": self._up.tolist(),
            "down": self._down.tolist(),
            "narrowest": None if self._narrowest is None else list(self._narrowest),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build from what ``to_dict`` gave."""
        sequence = cls(state["alpha"], intersect=state["narrowest"] is not None)
        sequence.n, sequence._total = state["n"], state["total"]
        sequence._up = np.asarray(state["up"], np.float64)
        sequence._down = np.asarray(state["down"], np.float64)
        if state["narrowest"] is not None:
            sequence._narrowest = (state["narrowest"][0], state["narrowest"][1])
        return sequence


def _checked_alpha(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; give a probability between 0 and 1, such as 0.05")
    return alpha


def _observed(values: npt.ArrayLike) -> Floats:
    found = np.asarray(values, np.float64).ravel()
    return found[~np.isnan(found)]
