"""Calibration maps: from what a model says of its confidence to how often it is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]

_NEAREST = 1e-6  # confidences this near to 0 and 1 are moved so far away, since log-odds have no end
_RIDGE = 1e-10  # keeps Newton's step finite where all confidences are the same
_STEPS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class IsotonicMap:
    """Probabilities ``[k]`` at rising confidences ``[k]``; straight lines between, level beyond the ends."""

    confidences: Floats
    probabilities: Floats

    def apply(self, confidences: npt.ArrayLike) -> Floats:
        """Return the probability of each confidence."""
        return np.interp(np.asarray(confidences, np.float64), self.confidences, self.probabilities)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {"confidences": self.confidences, "probabilities": self.probabilities}


@dataclass(frozen=True)
class PlattMap:
    """The probability's log-odds are ``slope`` times the confidence's log-odds plus ``intercept``."""

    slope: float
    intercept: float

    def apply(self, confidences: npt.ArrayLike) -> Floats:
        """Return the probability of each confidence."""
        probabilities = expit(self.slope * _log_odds(confidences) + self.intercept)
        # A steep slope rounds to 0 or 1.
        return np.asarray(np.clip(probabilities, _NEAREST, 1 - _NEAREST), np.float64)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {"slope": np.array(self.slope), "intercept": np.array(self.intercept)}


CalibrationMap = IsotonicMap | PlattMap


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> CalibrationMap:
    """Build a map from what its ``to_arrays`` gave.

    >>> from_arrays(PlattMap(1.0, 0.5).to_arrays())
    PlattMap(slope=1.0, intercept=0.5)
    """
    if "slope" in arrays:
        return PlattMap(float(arrays["slope"]), float(arrays["intercept"]))
    return IsotonicMap(arrays["confidences"], arrays["probabilities"])


def fit_isotonic(confidences: npt.ArrayLike, outcomes: npt.ArrayLike) -> IsotonicMap:
    """Fit the rising step function that is nearest to the outcomes in squares, joined by straight lines.

    ``confidences`` ``[n]`` in [0, 1] and ``outcomes`` ``[n]`` (0 or 1) are of held-out predictions, never of
    those that the model was trained on. A lowest block of w predictions without a single hit would get
    probability 0: it gets 0.5 / (w + 1), as Jeffreys' prior would have it, or that of the next block where
    this is smaller; the highest block likewise. So no probability is 0 or 1.
    It follows any rising curve, and needs some hundred predictions for it.

    Raises ValueError where there are no data, lengths differ, or a number lies outside its range.
    Source: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability
    estimates", KDD 2002; Ayer et al., Annals of Mathematical Statistics 26 (1955), for the pooling.

    >>> fitted = fit_isotonic([0.1, 0.4, 0.6, 0.7, 0.9], [0, 1, 0, 1, 1])
    >>> fitted.apply([0.0, 0.5, 0.65, 1.0]).round(3).tolist()
    [0.25, 0.5, 0.667, 0.833]
    """
    scores, hits = _checked(confidences, outcomes)
    places, inverse = np.unique(scores, return_inverse=True)
    total = np.bincount(inverse)
    fitted = isotonic_regression(np.bincount(inverse, hits) / total, weights=total)
    starts, ends = fitted.blocks[:-1], fitted.blocks[1:] - 1
    inner = _inside(np.asarray(fitted.x)[starts], np.add.reduceat(total, starts))
    corners = np.column_stack([starts, ends]).ravel()
    kept = np.concatenate([[True], np.diff(corners) > 0])  # a block of one confidence is one corner
    return IsotonicMap(places[corners[kept]], np.repeat(inner, 2)[kept])


def fit_platt(confidences: npt.ArrayLike, outcomes: npt.ArrayLike) -> PlattMap:
    """Fit a logistic curve of the confidence's log-odds, with Platt's smoothed targets.

    Arguments and errors as of ``fit_isotonic``; confidences are kept 1e-6 away from 0 and 1. On log-odds a
    calibrated model keeps slope 1 and intercept 0. Two numbers are little to fit, so some fifty predictions
    do; it is right only where the true curve is such a one.

    Source: Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin Classifiers
    (1999); Lin, Lin and Weng, "A note on Platt's probabilistic outputs", Machine Learning 68 (2007).

    >>> fitted = fit_platt([0.5] * 4, [0, 0, 1, 1])
    >>> fitted.apply([0.5]).round(6).tolist()
    [0.5]
    """
    scores, hits = _checked(confidences, outcomes)
    positive, negative = float(hits.sum()), float((1 - hits).sum())
    target = np.where(hits == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.column_stack([_log_odds(scores), np.ones(len(scores))])
    found = np.array([0.0, np.log((positive + 1) / (negative + 1))])
    loss = _loss(design @ found, target)
    for _ in range(_STEPS):
        chance = expit(design @ found)
        gradient = design.T @ (chance - target)
        curvature = (design * (chance * (1 - chance))[:, np.newaxis]).T @ design
        curvature[np.diag_indices(2)] += _RIDGE * (1 + np.trace(curvature))
        step = np.linalg.solve(curvature, gradient)
        before = loss
        found, loss = _search(found, step, loss, lambda at: _loss(design @ at, target))
        if before - loss <= _TOLERANCE * (1 + abs(loss)):
            break
    return PlattMap(float(found[0]), float(found[1]))


def _search(
    found: Floats, step: Floats, loss: float, loss_at: Callable[[Floats], float]
) -> tuple[Floats, float]:
    """Halve Newton's step until the loss falls; stay where it does not."""
    for _ in range(30):
        lower = loss_at(found - step)
        if lower < loss:
            return found - step, lower
        step = step / 2
    return found, loss


def _loss(log_odds: Floats, target: Floats) -> float:
    return float((np.logaddexp(0.0, log_odds) - target * log_odds).sum())


def _inside(probabilities: Floats, sizes: npt.NDArray[np.int64]) -> Floats:
    """Take the ends away from 0 and 1, in order: only the first block can be 0, only the last 1."""
    inner = probabilities.copy()
    if len(inner) == 1:
        return np.clip(inner, 0.5 / (sizes[0] + 1), 1 - 0.5 / (sizes[0] + 1))
    if inner[0] <= _NEAREST:
        inner[0] = min(0.5 / (sizes[0] + 1), inner[1])
    if inner[-1] >= 1 - _NEAREST:
        inner[-1] = max(1 - 0.5 / (sizes[-1] + 1), inner[-2])
    return inner


def _log_odds(confidences: npt.ArrayLike) -> Floats:
    values = np.clip(np.asarray(confidences, np.float64), _NEAREST, 1 - _NEAREST)
    return np.asarray(logit(values), np.float64)


def _checked(confidences: npt.ArrayLike, outcomes: npt.ArrayLike) -> tuple[Floats, Floats]:
    scores = np.asarray(confidences, np.float64).ravel()
    hits = np.asarray(outcomes, np.float64).ravel()
    if len(scores) != len(hits):
        raise ValueError(f"{len(scores)} confidences and {len(hits)} outcomes; give as many of each")
    if not len(scores):
        raise ValueError("confidences is empty; give held-out predictions")
    if not np.all((scores >= 0) & (scores <= 1)):
        raise ValueError("confidences has a value outside [0, 1] or NaN; give probabilities")
    if not np.all((hits == 0) | (hits == 1)):
        raise ValueError("outcomes has a value other than 0 and 1; give 1 where the prediction was right")
    return scores, hits
