"""Energy distance between two samples of vectors or numbers."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from tidegauge.stats.two_sample.permutations import p_value
from tidegauge.stats.two_sample.result import TwoSample
from tidegauge.stats.two_sample.vectors import Vectors, distances, permuted


def energy_distance(
    baseline: npt.ArrayLike | Vectors,
    window: npt.ArrayLike | Vectors,
    permutations: int = 100,
    rng: np.random.Generator | None = None,
) -> TwoSample:
    """Return the energy distance of vectors ``[m, d]`` and ``[n, d]``, or of numbers.

    It is the root of 2 E|X - Y| - E|X - X'| - E|Y - Y'|. The score is the root of the
    energy coefficient, that sum over 2 E|X - Y|. The p-value comes from ``permutations`` random windows
    (``rng``). Give ``Vectors.of(baseline)`` to keep its distances for the next window.
    Source: Szekely and Rizzo, "Energy statistics: a class of statistics based on distances", Journal of
    Statistical Planning and Inference 143 (2013).

    >>> round(energy_distance([0, 1], [2, 3]).statistic, 4)
    1.7321
    """
    left, right = Vectors.of(baseline), Vectors.of(window)
    m, n = len(left), len(right)
    if not m or not n:
        return TwoSample(None, None, None, n)
    across = distances(left.values, right.values)
    own = right.distances
    rest, inside, cross = permuted(left.distances, left.distance_sums, across, own, permutations, rng)
    energies = 2 * cross - rest - inside
    energy = max(0.0, float(energies[0]))
    score = sqrt(min(1.0, energy / (2 * float(cross[0])))) if cross[0] > 0 else 0.0
    return TwoSample(score, sqrt(energy), p_value(energies[0], energies[1:]), n)
