"""Metrics of predicted numbers with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from tidegauge.stats.performance.mean import mean
from tidegauge.stats.performance.wilson import Estimate

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Regression:
    """Metrics of ``n`` rows.

    ``metrics``: mae, mse, rmse, mape, smape, r2_score, bias (prediction minus truth), absolute_bias and
    quantile_error (pinball loss at ``quantile``). ``zeros`` rows have a true value of 0 and do not count in
    mape; ``left_out`` rows had NaN or infinity.
    """

    metrics: Mapping[str, Estimate]
    quantile: float
    zeros: int
    left_out: int
    n: int


def regress(truth: npt.ArrayLike, predictions: npt.ArrayLike, quantile: float = 0.5) -> Regression:
    """Compare predicted numbers with true ones, both ``[n]``; rows with NaN or infinity are left out.

    mape is a share, not a percentage; smape is 2 |p - y| / (|y| + |p|), from 0 to 2, and 0 where both are 0.
    quantile_error is the pinball loss of predictions of ``quantile``; at 0.5 it is half of mae.
    r2_score is None where the truth is constant.

    Intervals (95%) of means are those of ``mean``; with one row, or errors that are all alike, there is none.
    That of rmse is the root of that of mse. That of r2_score is on the scale of log(1 - R2), with
    delta-method variance, Student's quantile, and sqrt(1 + 3 / n) as a supplement for small n. All fall short
    where single errors decide the sum (heavy tails).

    Raises ValueError for different lengths and a quantile outside (0, 1).
    Source: Koenker and Bassett, "Regression quantiles", Econometrica 46 (1978), for the pinball loss.

    >>> found = regress([3.0, -0.5, 2.0, 7.0], [2.5, 0.0, 2.0, 8.0])
    >>> found.metrics["mae"].value, round(found.metrics["r2_score"].value, 3)
    (0.5, 0.949)
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is {quantile}; give one between 0 and 1, such as 0.9")
    true, predicted = np.asarray(truth, np.float64), np.asarray(predictions, np.float64)
    if true.shape != predicted.shape or true.ndim != 1:
        raise ValueError(
            f"truth and predictions have shapes {true.shape} and {predicted.shape}; give [n] both"
        )
    finite = np.isfinite(true) & np.isfinite(predicted)
    left_out = int((~finite).sum())
    if left_out:
        true, predicted = true[finite], predicted[finite]
    errors = predicted - true
    sizes, squares = np.abs(errors), np.square(errors)
    absolute = np.abs(true)
    counted = absolute > 0
    both = absolute + np.abs(predicted)
    mse, bias = mean(squares, 0.0), mean(errors)
    metrics = {
        "mae": mean(sizes, 0.0),
        "mse": mse,
        "rmse": _root(mse),
        "mape": mean(sizes[counted] / absolute[counted], 0.0),
        "smape": mean(np.divide(2 * sizes, both, out=np.zeros(len(both)), where=both > 0), 0.0, 2.0),
        "r2_score": _r2_score(true, squares),
        "bias": bias,
        "absolute_bias": _absolute(bias),
        "quantile_error": mean(np.maximum(-quantile * errors, (1 - quantile) * errors), 0.0),
    }
    return Regression(metrics, quantile, int((~counted).sum()), left_out, len(true))


def _root(mse: Estimate) -> Estimate:
    value, low, high = (None if x is None else sqrt(x) for x in (mse.value, mse.low, mse.high))
    return Estimate(value, low, high, mse.n)


def _absolute(bias: Estimate) -> Estimate:
    if bias.value is None or bias.low is None or bias.high is None:
        return Estimate(None if bias.value is None else abs(bias.value), None, None, bias.n)
    nearest = 0.0 if bias.low <= 0 <= bias.high else min(abs(bias.low), abs(bias.high))
    return Estimate(abs(bias.value), nearest, max(abs(bias.low), abs(bias.high)), bias.n)


def _r2_score(true: Floats, squares: Floats) -> Estimate:
    n = len(true)
    if n < 2 or float(np.ptp(true)) == 0:
        return Estimate(None, None, None, n)
    deviations = np.square(true - true.mean())
    unexplained, total = float(squares.mean()), float(deviations.mean())
    ratio = unexplained / total
    if ratio == 0:
        return Estimate(1.0, None, None, n)
    influence = squares / unexplained - deviations / total
    deviation = sqrt(float(influence @ influence) / (n - 1) / n * (1 + 3 / n))
    reach = float(stdtrit(n - 1, 0.975)) * deviation
    # Two rows have so large a quantile that its exponential is beyond floats.
    return Estimate(1 - ratio, 1 - ratio * exp(min(reach, 700.0)), 1 - ratio * exp(-reach), n)
