"""Bets on conformal ranks: functions of p with mean 1 (at most) where p is uniform (or larger)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]

_SHIFTS = np.array([0.3, 0.7, 1.3, 2.2, 3.5])  # of the mean, in standard deviations
_BOTH = (2, 3)  # shifts that are bet on in both directions at once: a spread that grows
_EMPTIED = ((0.75, 0.2), (0.5, 0.35))  # beyond this share of ranks, that density: a class that goes away
_FARTHEST = 6.0

#: Bets a feature: each shift up and down, a few both ways, each emptied end.
COUNT = 2 * len(_SHIFTS) + len(_BOTH) + 2 * len(_EMPTIED)


def bets(up: Floats, down: Floats) -> Floats:
    """Return what each bet multiplies its stake by, ``[c, bets, K]``, for normal scores ``[c, K]`` of ranks.

    ``up`` scores the rank from above and ``down`` that from below; each bet rises with one, or is a mean of
    such, so that conservative ranks win less. A shift by d of a normal score z multiplies by
    exp(d z - d d / 2), the likelihood ratio of that shift.
    Source: Vovk, Nouretdinov and Gammerman, "Testing exchangeability on-line", ICML 2003.
    """
    payoffs = np.empty((len(up), COUNT, up.shape[1]))
    shifts, ends = _SHIFTS[:, np.newaxis], 2 * len(_SHIFTS)
    np.multiply(up[:, np.newaxis], shifts, out=payoffs[:, : len(_SHIFTS)])
    np.multiply(down[:, np.newaxis], shifts, out=payoffs[:, len(_SHIFTS) : ends])
    payoffs[:, :ends] -= np.tile(shifts**2 / 2, (2, 1))
    np.exp(payoffs[:, :ends], out=payoffs[:, :ends])
    for place, shift in enumerate(_BOTH, start=ends):
        payoffs[:, place] = (payoffs[:, shift] + payoffs[:, len(_SHIFTS) + shift]) / 2
    place = ends + len(_BOTH)
    for share, rest in _EMPTIED:
        most = (1 - rest * (1 - share)) / share
        for scores in (up, down):
            payoffs[:, place] = np.where(scores >= -ndtri(share), most, rest)
            place += 1
    return payoffs


def normal_scores(ranks: Floats) -> Floats:
    """Return how many standard deviations above the mean a normal value of this rank from above lies."""
    return np.asarray(np.clip(-ndtri(np.minimum(ranks, 1.0)), -_FARTHEST, _FARTHEST))
