from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from tidegauge.stats.performance.ranking import rank_classes
from tidegauge.stats.performance.roc_auc import macro_roc_auc, roc_auc
from tidegauge.stats.performance.wilson import Estimate, wilson

RNG = np.random.default_rng(0)


def macro(truth: np.ndarray, scores: np.ndarray) -> Estimate:
    return macro_roc_auc(truth, rank_classes(truth, scores))


# Ratings 1 to 5 of 58 normal and 51 abnormal CT images: Hanley and McNeil, Radiology 143 (1982).
NORMAL, ABNORMAL = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]


def ratings() -> tuple[np.ndarray, np.ndarray]:
    scores = np.concatenate([np.repeat(range(1, 6), NORMAL), np.repeat(range(1, 6), ABNORMAL)])
    return np.repeat([False, True], [58, 51]), scores


def delong(truth: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    """Area, standard error and degrees of freedom pair by pair, as the papers have them."""
    above = scores[truth][:, None] - scores[~truth]
    kernel = (above > 0) + 0.5 * (above == 0)
    a = kernel.mean(axis=1).var(ddof=1) / truth.sum()
    b = kernel.mean(axis=0).var(ddof=1) / (~truth).sum()
    freedom = (a + b) ** 2 / (a**2 / (truth.sum() - 1) + b**2 / ((~truth).sum() - 1))
    return kernel.mean(), np.sqrt(a + b), freedom


def test_the_published_example_of_hanley_and_mcneil():
    # Stata's manual, roctab, on these data: area 0.8932, DeLong's standard error 0.0307.
    area, error, freedom = delong(*ratings())
    assert (round(area, 4), round(error, 4)) == (0.8932, 0.0307)
    found = roc_auc(*ratings())
    reach = t.ppf(0.975, freedom) * error / (area * (1 - area))
    expected = [area, expit(logit(area) - reach), expit(logit(area) + reach)]
    assert [found.value, found.low, found.high] == pytest.approx(expected)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_agrees_with_sklearn_and_with_delong_pair_by_pair(decimals: int):
    truth = RNG.random(80) < 0.3
    scores = np.round(RNG.normal(size=80) + truth, decimals)
    found = roc_auc(truth, scores)
    area, error, freedom = delong(truth, scores)
    assert found.value == pytest.approx(roc_auc_score(truth, scores))
    width = 2 * t.ppf(0.975, freedom) * error / (area * (1 - area))
    assert logit(found.high) - logit(found.low) == pytest.approx(width)


def test_more_classes_are_averaged_as_sklearn_does():
    truth = RNG.integers(0, 4, 120)
    scores = RNG.dirichlet(np.ones(4), 120) + 0.4 * np.eye(4)[truth]
    scores /= scores.sum(axis=1, keepdims=True)
    expected = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert macro(truth, scores).value == pytest.approx(expected)


def test_the_width_over_more_classes_is_that_of_the_bootstrap():
    truth = RNG.integers(0, 3, 400)
    scores = RNG.dirichlet(np.ones(3), 400) + 0.5 * np.eye(3)[truth]
    picks = RNG.integers(0, 400, (400, 400))
    spread = np.std([macro(truth[pick], scores[pick]).value for pick in picks])
    found = macro(truth, scores)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.12)


def test_a_class_that_never_occurs_is_left_out_of_the_mean():
    truth = RNG.integers(0, 2, 60)
    scores = RNG.dirichlet(np.ones(3), 60)
    expected = np.mean([roc_auc_score(truth == k, scores[:, k]) for k in range(2)])
    assert macro(truth, scores).value == pytest.approx(expected)


def test_a_perfect_ranking_is_as_certain_as_the_fewer_kind_is_many():
    found = roc_auc([True] * 3 + [False] * 9, np.arange(12)[::-1])
    expected = wilson(3, 3)
    assert (found.value, found.low, found.high) == (1.0, expected.low, 1.0)


def test_a_constant_score_ranks_like_chance():
    found = roc_auc([True] * 6 + [False] * 6, np.full(12, 0.5))
    assert found.value == 0.5
    assert found.low < 0.3
    assert found.high > 0.7


@pytest.mark.parametrize("truth", [[], [True] * 4, [False] * 4])
def test_one_class_only_has_no_value(truth: list[bool]):
    found = roc_auc(truth, np.arange(len(truth)))
    assert (found.value, found.low, found.n) == (None, None, len(truth))
    assert macro(np.array(truth, np.int64), np.zeros((len(truth), 2))).value is None


def test_order_and_unit_of_scores_do_not_matter():
    truth, scores = RNG.random(50) < 0.4, RNG.normal(size=50)
    order = RNG.permutation(50)
    one, other = roc_auc(truth, scores), roc_auc(truth[order], np.exp(scores[order]).astype(np.float64))
    assert [other.value, other.low, other.high] == pytest.approx([one.value, one.low, one.high])


def test_missing_scores_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        roc_auc([True, False], [0.5, np.nan])
