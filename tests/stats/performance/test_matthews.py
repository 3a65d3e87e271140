from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from tidegauge.stats.performance.matthews import matthews, smoothed, variance

RNG = np.random.default_rng(0)


def as_pairs(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true, called = np.indices(confusion.shape)
    return np.repeat(true.ravel(), confusion.ravel()), np.repeat(called.ravel(), confusion.ravel())


@pytest.mark.parametrize("size", [2, 3, 6])
def test_agrees_with_sklearn(size: int):
    confusion = RNG.integers(0, 20, (size, size))
    assert matthews(confusion).value == pytest.approx(matthews_corrcoef(*as_pairs(confusion)))


def test_the_worked_example_of_chicco_and_jurman():
    # TP 90, FN 1, TN 0, FP 9: accuracy 0.90 and F1 0.95, but MCC -0.03.
    assert matthews(np.array([[0, 9], [1, 90]])).value == pytest.approx(-0.03, abs=0.005)


def test_a_constant_correlates_with_nothing():
    assert matthews(np.array([[9, 3], [0, 0]])).value is None
    assert matthews(np.array([[9, 0], [3, 0]])).value is None


def test_one_class_that_is_always_right_says_so_without_certainty():
    found = matthews(np.array([[12]]))
    assert (found.value, found.low, found.high) == (1.0, -1.0, 1.0)
    assert matthews(np.array([[0, 12], [0, 0]])).value == -1.0


def test_no_predictions_have_no_value():
    assert matthews(np.zeros((0, 0), np.int64)).value is None


def test_a_perfect_table_is_not_certain():
    found = matthews(np.diag([6, 6]))
    assert found.value == found.high == 1.0
    assert 0.3 < found.low < 0.8


def test_the_order_of_the_classes_does_not_matter():
    confusion = RNG.integers(1, 20, (4, 4))
    order = RNG.permutation(4)
    one, other = matthews(confusion), matthews(confusion[np.ix_(order, order)])
    assert [other.value, other.low, other.high] == pytest.approx([one.value, one.low, one.high])


def test_the_width_is_that_of_resampled_tables():
    confusion = np.array([[160, 20], [30, 190]])
    drawn = RNG.multinomial(400, confusion.ravel() / 400, 2000).reshape(-1, 2, 2)
    spread = np.std([matthews(one).value for one in drawn])
    found = matthews(confusion)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.06)


def test_the_variance_of_a_share_is_that_of_a_proportion():
    shares = np.array([[0.2, 0.1], [0.3, 0.4]])
    assert variance(shares, np.eye(2), 50) == pytest.approx(0.6 * 0.4 / 50)
    assert smoothed(np.array([[2, 0], [0, 1]])).sum() == pytest.approx(1)
