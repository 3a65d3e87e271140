from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from tidegauge.stats.performance.probabilities import CLIP, score_probabilities

RNG = np.random.default_rng(0)
NAMES = ("bacterial", "normal", "viral")
METRICS = {"log_loss", "brier", "roc_auc", "pr_auc", "calibration_error"}


def two(n: int) -> tuple[np.ndarray, np.ndarray]:
    sick = RNG.random(n)
    return np.where(RNG.random(n) < sick, "sick", "well"), sick


def three(n: int) -> tuple[np.ndarray, np.ndarray]:
    rows = RNG.dirichlet(np.ones(3), n)
    return np.array(NAMES)[(RNG.random((n, 1)) > np.cumsum(rows, axis=1)).sum(axis=1).clip(0, 2)], rows


def numbers(result: Any) -> list[float | None]:
    return [x for e in result.metrics.values() for x in (e.value, e.low, e.high)]


def test_two_classes_agree_with_sklearn():
    labels, sick = two(90)
    metrics = score_probabilities(labels, sick, ("well", "sick"), "sick").metrics
    truth = labels == "sick"
    assert metrics["log_loss"].value == pytest.approx(log_loss(truth, sick))
    assert metrics["brier"].value == pytest.approx(brier_score_loss(truth, sick))
    assert metrics["roc_auc"].value == pytest.approx(roc_auc_score(truth, sick))
    assert metrics["pr_auc"].value == pytest.approx(average_precision_score(truth, sick))


def test_more_classes_agree_with_sklearn():
    labels, rows = three(90)
    metrics = score_probabilities(labels, rows, NAMES).metrics
    assert metrics["log_loss"].value == pytest.approx(log_loss(labels, rows))
    assert metrics["brier"].value == pytest.approx(brier_score_loss(labels, rows))
    assert metrics["roc_auc"].value == pytest.approx(roc_auc_score(labels, rows, multi_class="ovr"))


@pytest.mark.parametrize("positive", ["sick", "well"])
@pytest.mark.parametrize("classes", [("sick", "well"), ("well", "sick")])
def test_one_column_of_the_positive_class_says_as_much_as_two(positive: str, classes: tuple[str, str]):
    labels, sick = two(40)
    chance = {"sick": sick, "well": 1 - sick}
    one = score_probabilities(labels, chance[positive], classes, positive)
    both = score_probabilities(labels, np.column_stack([chance[name] for name in classes]), classes, positive)
    assert numbers(one) == pytest.approx(numbers(both))


def test_without_a_positive_class_calibration_is_that_of_the_predicted_one():
    labels, rows = three(200)
    result = score_probabilities(labels, rows, NAMES)
    assert min(b.confidence for b in result.reliability) > 1 / 3
    right = rows.argmax(axis=1) == [NAMES.index(label) for label in labels]
    assert sum(b.n * b.share for b in result.reliability) == pytest.approx(right.sum())


def test_a_certain_mistake_costs_the_clipped_loss():
    result = score_probabilities(["sick"], [0.0], ("well", "sick"), "sick")
    assert result.metrics["log_loss"].value == pytest.approx(-np.log(CLIP))
    assert result.metrics["log_loss"].value == pytest.approx(15.94, abs=0.01)
    assert result.metrics["brier"].value == 1.0


def test_perfect_certainty_loses_nothing_and_is_not_certain():
    labels = ["sick"] * 5 + ["well"] * 7
    metrics = score_probabilities(labels, [1.0] * 5 + [0.0] * 7, ("well", "sick"), "sick").metrics
    for name in ("log_loss", "brier", "calibration_error"):
        assert metrics[name].value == metrics[name].low == 0.0
        assert metrics[name].high > 0.1
    for name in ("roc_auc", "pr_auc"):
        assert metrics[name].value == metrics[name].high == 1.0
        assert metrics[name].low < 0.7


def test_one_class_only_has_no_areas():
    metrics = score_probabilities(["well"] * 12, RNG.random(12), ("well", "sick"), "sick").metrics
    assert metrics["roc_auc"].value is None
    assert metrics["pr_auc"].value is None
    assert metrics["log_loss"].value is not None


@pytest.mark.parametrize("positive", ["sick", None])
def test_no_rows_have_no_values(positive: str | None):
    result = score_probabilities([], [], ("well", "sick"), positive)
    assert set(result.metrics) == METRICS
    assert set(numbers(result)) == {None}
    assert (result.n, result.calibration_chance, result.reliability) == (0, None, ())


def test_one_row_has_values_and_wide_intervals():
    brier = score_probabilities(["sick"], [0.9], ("well", "sick"), "sick").metrics["brier"]
    assert brier.value == pytest.approx(0.01)
    assert (brier.low, brier.high) == pytest.approx((0.0, 0.8), abs=0.01)


def test_rows_with_missing_probabilities_are_left_out_and_counted():
    labels, rows = three(30)
    gaps = rows.copy()
    gaps[[3, 7], [0, 2]] = np.nan
    result = score_probabilities(labels, gaps, NAMES)
    kept = np.delete(np.arange(30), [3, 7])
    assert (result.left_out, result.n) == (2, 28)
    assert numbers(result) == numbers(score_probabilities(labels[kept], rows[kept], NAMES))


def test_order_does_not_matter():
    labels, rows = three(50)
    order = RNG.permutation(50)
    one, other = (
        score_probabilities(labels, rows, NAMES),
        score_probabilities(labels[order], rows[order], NAMES),
    )
    assert numbers(other) == pytest.approx(numbers(one))


def test_single_precision_gives_the_same():
    labels, rows = three(50)
    single = rows.astype(np.float32)
    exact = score_probabilities(labels, single.astype(np.float64), NAMES)
    assert score_probabilities(labels, single, NAMES) == exact


@pytest.mark.parametrize(
    ("labels", "rows", "classes", "positive", "says"),
    [
        (["a"], [[0.5, 0.5]], ("a",), None, "two different"),
        (["a"], [[0.5, 0.5]], ("a", "a"), None, "two different"),
        (["a"], [[0.5, 0.5]], ("a", "b"), "c", "positive is 'c'"),
        (["c"], [[0.5, 0.5]], ("a", "b"), None, "labels has 'c'"),
        (["a"], [0.5], ("a", "b"), None, "shape"),
        (["a"], [[0.5, 0.3, 0.2]], ("a", "b"), "a", "shape"),
        (["a", "b"], [[0.5, 0.5]], ("a", "b"), None, "2 labels and 1"),
        (["a"], [[1.5, -0.5]], ("a", "b"), None, "outside"),
        (["a"], [[0.9, 0.8]], ("a", "b"), None, "add up to 1"),
    ],
)
def test_bad_input_is_refused(labels: Any, rows: Any, classes: Any, positive: str | None, says: str):
    with pytest.raises(ValueError, match=says):
        score_probabilities(labels, rows, classes, positive)
