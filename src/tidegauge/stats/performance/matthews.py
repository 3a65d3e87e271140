"""Matthews correlation coefficient of a confusion matrix."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from tidegauge.stats.performance.wilson import Estimate, wilson_bounds

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def matthews(confusion: Counts) -> Estimate:
    """Return Matthews' correlation of ``confusion[i, j]``, class i predicted as class j, for any classes.

    None where all labels or all predictions are of one class, since a constant correlates with nothing;
    except where all labels are one class and all predictions are one class: then it is 1 if they agree and
    -1 if not, with the interval [-1, 1] (Chicco and Jurman).

    The 95% interval: delta-method variance of the table with one observation spread evenly over its cells,
    the coefficient mapped to [0, 1], Wilson's interval at the effective sample size.

    Sources: Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
    Computational Biology and Chemistry 28 (2004); Chicco and Jurman, "The advantages of the Matthews
    correlation coefficient", BMC Genomics 21 (2020).

    >>> found = matthews(np.array([[90, 4], [1, 5]]))
    >>> round(found.value, 3), round(found.low, 2), round(found.high, 2)
    (0.656, 0.32, 0.85)
    """
    n = int(confusion.sum())
    if n == 0:
        return Estimate(None, None, None, 0)
    true, called = int((confusion.sum(axis=1) > 0).sum()), int((confusion.sum(axis=0) > 0).sum())
    if true == called == 1:
        return Estimate(1.0 if np.trace(confusion) else -1.0, -1.0, 1.0, n)
    if true == 1 or called == 1:
        return Estimate(None, None, None, n)
    value, _ = _with_gradient(confusion / n)
    shares = smoothed(confusion)
    centre, gradient = _with_gradient(shares)
    size = (1 - centre**2) / variance(shares, gradient, n)
    low, high = wilson_bounds(min(1.0, max(0.0, (value + 1) / 2)), size)
    return Estimate(value, 2 * low - 1, 2 * high - 1, n)


def smoothed(confusion: Counts) -> Floats:
    """Return the shares of the cells with one more observation, spread evenly, so that none is 0."""
    return np.asarray((confusion + 1 / confusion.size) / (confusion.sum() + 1), np.float64)


def variance(shares: Floats, gradient: Floats, n: int) -> float:
    """Return the delta-method variance of a function of multinomial shares from n observations."""
    centred = gradient - float((shares * gradient).sum())
    return float((shares * centred * centred).sum()) / n


def _with_gradient(shares: Floats) -> tuple[float, Floats]:
    true, called = shares.sum(axis=1), shares.sum(axis=0)
    true_spread, called_spread = 1 - float(true @ true), 1 - float(called @ called)
    scale = sqrt(true_spread * called_spread)
    value = (float(np.trace(shares)) - float(true @ called)) / scale
    slope = (np.eye(len(shares)) - called[:, np.newaxis] - true[np.newaxis, :]) / scale
    slope += value * (true[:, np.newaxis] / true_spread + called[np.newaxis, :] / called_spread)
    return value, slope
