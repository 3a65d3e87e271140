"""Expected calibration error, and the reliability of confidences it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from tidegauge.stats.performance.wilson import Estimate

BINS = 10

_QUANTILE = float(ndtri(0.975))


@dataclass(frozen=True)
class ReliabilityBin:
    """``n`` rows with confidences from ``low`` to ``high``: their mean confidence, and the share right."""

    low: float
    high: float
    n: int
    confidence: float
    share: float


@dataclass(frozen=True)
class CalibrationError:
    """``chance``: what a perfectly calibrated model would show on average with as many rows per bin."""

    error: Estimate
    chance: float | None
    bins: tuple[ReliabilityBin, ...]


def calibration_error(
    confidences: npt.ArrayLike, outcomes: npt.ArrayLike, bins: int = BINS
) -> CalibrationError:
    """Return how far confidences are from the share that was right, averaged over equally wide bins.

    ``confidences`` ``[n]`` in [0, 1], ``outcomes`` ``[n]`` booleans. Each of ``bins`` bins counts by its
    rows; empty ones count nothing. The value is biased upwards, since chance in a bin never cancels:
    ``chance`` is the bias of a model without any true error, the sum over bins of
    n_b / n * sqrt(2 v_b / (pi n_b)) with v_b the mean of p (1 - p). It is biased downwards where errors
    within one bin cancel.

    The 95% interval is for the error of the same bins with endless rows, and conservative: its lower end
    takes off the largest bias that chance can have besides the normal quantile, its upper end takes off none.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015; Guo et al., "On calibration of modern neural networks", ICML 2017.

    >>> found = calibration_error([0.9, 0.9, 0.9, 0.9, 0.2], [True, True, True, False, False])
    >>> round(found.error.value, 2), round(found.chance, 2), len(found.bins)
    (0.16, 0.16, 2)
    """
    values, right = np.asarray(confidences, np.float64), np.asarray(outcomes, np.bool_)
    if values.shape != right.shape or values.ndim != 1:
        raise ValueError(
            f"confidences and outcomes have shapes {values.shape} and {right.shape}; give [n] both"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("confidences has a value outside [0, 1] or NaN; give probabilities")
    if bins < 1:
        raise ValueError(f"bins is {bins}; give 1 or more")
    n = len(values)
    if not n:
        return CalibrationError(Estimate(None, None, None, 0), None, ())
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    sizes = np.bincount(place, minlength=bins)
    used = np.flatnonzero(sizes)
    size = sizes[used].astype(np.float64)
    hits = np.bincount(place, right, bins)[used]
    confidence = np.bincount(place, values, bins)[used] / size
    ideal = np.bincount(place, values * (1 - values), bins)[used] / size
    share = hits / size
    value = float(size @ np.abs(share - confidence)) / n
    # Half a hit and half a miss more, lest a bin of rows that are all alike count as certain.
    spread = (hits + 0.5) * (size - hits + 0.5) / (size + 1) ** 2
    reach = _QUANTILE * sqrt(float(size @ spread)) / n
    bias = sqrt(2 / pi) * float(np.sqrt(size * spread).sum()) / n
    return CalibrationError(
        Estimate(value, max(0.0, value - bias - reach), min(1.0, value + reach), n),
        sqrt(2 / pi) * float(np.sqrt(size * ideal).sum()) / n,
        tuple(
            ReliabilityBin(int(b) / bins, (int(b) + 1) / bins, int(s), float(c), float(h))
            for b, s, c, h in zip(used, size, confidence, share, strict=True)
        ),
    )
