from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import t
from sklearn.metrics import average_precision_score

from tidegauge.stats.performance.pr_auc import macro_pr_auc, pr_auc
from tidegauge.stats.performance.ranking import rank_classes
from tidegauge.stats.performance.wilson import Estimate

RNG = np.random.default_rng(0)


def macro(truth: np.ndarray, scores: np.ndarray) -> Estimate:
    return macro_pr_auc(truth, rank_classes(truth, scores))


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_agrees_with_sklearn(decimals: int):
    truth = RNG.random(80) < 0.3
    scores = np.round(RNG.normal(size=80) + truth, decimals)
    assert pr_auc(truth, scores).value == pytest.approx(average_precision_score(truth, scores))


def test_more_classes_are_averaged_as_sklearn_does():
    truth = RNG.integers(0, 4, 120)
    scores = RNG.dirichlet(np.ones(4), 120) + 0.4 * np.eye(4)[truth]
    assert macro(truth, scores).value == pytest.approx(
        average_precision_score(np.eye(4)[truth], scores, average="macro")
    )


def test_the_influence_of_a_row_is_the_derivative_by_its_weight():
    truth = RNG.random(60) < 0.4
    scores = np.round(RNG.normal(size=60) + truth, 1)
    value, step = average_precision_score(truth, scores), 1e-6
    influence = np.empty(60)
    for row in range(60):
        weights = np.ones(60)
        weights[row] += step
        influence[row] = (average_precision_score(truth, scores, sample_weight=weights) - value) / step
    m, k = truth.sum(), (~truth).sum()
    spread = (influence[truth] ** 2).sum() * m / (m - 1) + (influence[~truth] ** 2).sum() * k / (k - 1)
    width = 2 * t.ppf(0.975, min(m, k) - 1) * np.sqrt(spread) / (value * (1 - value))
    found = pr_auc(truth, scores)
    assert logit(found.high) - logit(found.low) == pytest.approx(width, rel=1e-4)


def test_the_width_over_more_classes_is_that_of_the_bootstrap():
    truth = RNG.integers(0, 3, 600)
    scores = RNG.dirichlet(np.ones(3), 600) + 0.3 * np.eye(3)[truth]
    picks = RNG.integers(0, 600, (300, 600))
    spread = np.std([macro(truth[pick], scores[pick]).value for pick in picks])
    found = macro(truth, scores)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_a_perfect_ranking_has_1_and_is_not_certain():
    found = pr_auc([True] * 4 + [False] * 8, np.arange(12)[::-1])
    assert found.value == found.high == 1.0
    assert found.low == pytest.approx(0.51, abs=0.01)


def test_a_constant_score_has_the_share_of_positives():
    assert pr_auc([True] * 3 + [False] * 9, np.zeros(12)).value == pytest.approx(0.25)


@pytest.mark.parametrize("truth", [[], [True] * 4, [False] * 4])
def test_one_class_only_has_no_value(truth: list[bool]):
    assert pr_auc(truth, np.arange(len(truth))).value is None
    assert macro(np.array(truth, np.int64), np.zeros((len(truth), 2))).value is None
