"""Maximum mean discrepancy between two samples of vectors."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from tidegauge.stats.two_sample.permutations import p_value
from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.vectors import Vectors, gaussian, permuted

_ROUNDING = 4e-6  # of a sum of kernel values in single precision


def mmd(
    baseline: npt.ArrayLike | Vectors,
    window: npt.ArrayLike | Vectors,
    permutations: int = 100,
    rng: np.random.Generator | None = None,
) -> TwoSample:
    """Return the squared maximum mean discrepancy of vectors ``[m, d]`` and ``[n, d]``, the biased estimate.

    The kernel is Gaussian, exp(-|x - y|^2 / h), with h the median squared distance among the baseline; the
    score is the root of half the statistic, which no samples can exceed 1 with. The p-value comes from
    ``permutations`` random windows (``rng``). Give ``Vectors.of(baseline)`` to keep its kernel for the next
    window. In float32: sums are good to about six digits.
    Source: Gretton et al., "A kernel two-sample test", JMLR 13 (2012).

    >>> rng = np.random.default_rng(0)
    >>> result = mmd(rng.normal(size=(200, 3)), rng.normal(1, 1, (20, 3)))
    >>> result.p_value < 0.05
    True
    """
    left, right = Vectors.of(baseline), Vectors.of(window)
    m, n = len(left), len(right)
    if not m or not n:
        return TwoSample(None, None, None, n)
    across = gaussian(left.values, right.values, left.bandwidth)
    own = gaussian(right.values, right.values, left.bandwidth)
    rest, inside, cross = permuted(left.kernel, left.kernel_sums, across, own, permutations, rng)
    statistics = rest + inside - 2 * cross
    statistic = max(0.0, float(statistics[0]))
    chance = p_value(statistics[0], statistics[1:], _ROUNDING)
    return TwoSample(min(1.0, sqrt(statistic / 2)), statistic, chance, n)
