"""Wilson score interval of a proportion."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval from ``n`` samples; all None where there is no value.

    ``low`` and ``high`` alone are None where so few samples have a value but tell nothing of its spread.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def wilson(successes: float, n: int, confidence: float = 0.95) -> Estimate:
    """Return a proportion with its Wilson score interval.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    >>> estimate = wilson(8, 10)
    >>> round(estimate.low, 4), round(estimate.high, 4)
    (0.4902, 0.9433)
    """
    if n == 0:
        return Estimate(None, None, None, 0)
    return Estimate(successes / n, *wilson_bounds(successes / n, n, confidence), n)


def wilson_bounds(proportion: float, size: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson bounds of a proportion that is as certain as one of ``size`` independent samples.

    ``size`` need not be whole: for a mean of proportions with variance v it is p (1 - p) / v, the effective
    sample size. Source: Korn and Graubard, "Confidence intervals for proportions with small expected number
    of positive counts estimated from survey data", Survey Methodology 24 (1998), for the idea.

    >>> [round(bound, 4) for bound in wilson_bounds(0.8, 10)]
    [0.4902, 0.9433]
    """
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    p = proportion
    centre = (p + z2 / (2 * size)) / (1 + z2 / size)
    half = sqrt(z2 * p * (1 - p) / size + z2 * z2 / (4 * size * size)) / (1 + z2 / size)
    # Rounding must not push a bound past the value itself at 0 and 1.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
