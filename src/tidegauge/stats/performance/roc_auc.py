"""Area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from tidegauge.stats.performance.ranking import Counts, Floats, Ranking, macro_area, on_logit_scale, rank
from tidegauge.stats.performance.wilson import Estimate

_NORMAL = float(ndtri(0.975))


def roc_auc(is_positive: npt.ArrayLike, scores: npt.ArrayLike) -> Estimate:
    """Return the chance that a positive scores higher than a negative; ties count half.

    ``is_positive`` ``[n]`` are booleans, ``scores`` ``[n]`` numbers of any unit. None without positives or
    without negatives. The 95% interval has DeLong's variance, on the scale of log-odds, and Student's
    quantile with Satterthwaite's degrees of freedom; where that variance is 0 (a perfect or a constant
    ranking) or cannot be had (one positive, one negative) it is Wilson's of as many samples as there are
    positives or negatives, whichever are fewer.

    Sources: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves", Biometrics 44 (1988); Pepe, "The Statistical Evaluation of Medical
    Tests" (2003), for the scale; Brunner and Munzel, "The nonparametric Behrens-Fisher problem", Biometrical
    Journal 42 (2000), for the degrees of freedom.

    >>> roc_auc([False, False, True, True], [0.1, 0.4, 0.35, 0.8]).value
    0.75
    """
    return roc_auc_of(rank(is_positive, scores))


def roc_auc_of(ranking: Ranking) -> Estimate:
    """Return the area of what is ranked already."""
    n, smaller = len(ranking.order), ranking.smaller
    if not smaller:
        return Estimate(None, None, None, n)
    value, of_positives, of_negatives = _components(ranking)
    spread = weight = 0.0
    for counts, parts in ((ranking.positives, of_positives), (ranking.negatives, of_negatives)):
        size = int(counts.sum())
        if size > 1:
            share = float(counts @ np.square(parts - value)) / (size - 1) / size
            spread += share
            weight += share**2 / (size - 1)
    quantile = float(stdtrit(spread**2 / weight, 0.975)) if weight else _NORMAL
    return on_logit_scale(value, sqrt(spread), smaller, n, quantile)


def macro_roc_auc(truth: Counts, rankings: Sequence[Ranking]) -> Estimate:
    """Average the areas of each class against the rest over the classes that have one.

    ``truth`` ``[n]`` are places of classes, ``rankings`` theirs by ``rank_classes``. The interval is
    normal on the scale of log-odds.

    >>> from tidegauge.stats.performance.ranking import rank_classes
    >>> truth, scores = np.array([0, 1, 2]), np.array([[8, 1, 1], [2, 7, 1], [1, 3, 6]]) / 10
    >>> macro_roc_auc(truth, rank_classes(truth, scores)).value
    1.0
    """
    return macro_area(truth, rankings, _influence, lambda _smallest: _NORMAL)


def _influence(ranking: Ranking) -> tuple[float, Floats, Floats]:
    """Return the area and, at each score, what one more positive or negative would add to it."""
    value, of_positives, of_negatives = _components(ranking)
    return (
        value,
        (of_positives - value) / ranking.positives.sum(),
        (of_negatives - value) / ranking.negatives.sum(),
    )


def _components(ranking: Ranking) -> tuple[float, Floats, Floats]:
    """Return the area, and at each score the share of negatives below and of positives above."""
    positives, negatives = ranking.positives, ranking.negatives
    m, k = int(positives.sum()), int(negatives.sum())
    of_positives = (np.cumsum(negatives) - negatives / 2) / k
    of_negatives = (m - np.cumsum(positives) + positives / 2) / m
    return min(1.0, float(positives @ of_positives) / m), of_positives, of_negatives
