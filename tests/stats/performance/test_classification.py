from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    matthews_corrcoef,
    precision_recall_fscore_support,
    recall_score,
)

from tidegauge.stats.performance.classification import classify

RNG = np.random.default_rng(0)
NAMES = ("precision", "recall", "f1_score")


def drawn(cells: np.ndarray, n: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Draw n pairs of label and prediction from the shares of a confusion matrix."""
    size = len(cells)
    picked = rng.choice(size * size, n, p=cells.ravel())
    return [f"c{i // size}" for i in picked], [f"c{i % size}" for i in picked]


@pytest.mark.parametrize("positive", ["c0", "c1"])
def test_two_classes_agree_with_sklearn(positive: str):
    labels, predictions = drawn(np.array([[0.3, 0.1], [0.2, 0.4]]), 57, RNG)
    result = classify(labels, predictions, positive)
    expected = precision_recall_fscore_support(labels, predictions, pos_label=positive, average="binary")
    assert [result.metrics[name].value for name in NAMES] == pytest.approx(list(expected[:3]))
    assert result.metrics["accuracy"].value == pytest.approx(accuracy_score(labels, predictions))
    assert result.confusion == tuple(map(tuple, confusion_matrix(labels, predictions).tolist()))
    assert (result.positive, result.n) == (positive, 57)


def test_more_classes_are_averaged_as_sklearn_does():
    labels, predictions = drawn(np.array([[4, 1, 1], [2, 5, 1], [1, 2, 3]]) / 20, 80, RNG)
    result = classify(labels, predictions)
    expected = precision_recall_fscore_support(labels, predictions, average="macro")
    assert [result.metrics[name].value for name in NAMES] == pytest.approx(list(expected[:3]))
    assert result.classes == ("c0", "c1", "c2")
    assert result.positive is None


def test_balanced_accuracy_specificity_and_matthews_agree_with_sklearn():
    labels, predictions = drawn(np.array([[0.5, 0.1], [0.1, 0.3]]), 57, RNG)
    metrics = classify(labels, predictions, "c1").metrics
    assert metrics["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(labels, predictions))
    assert metrics["specificity"].value == pytest.approx(recall_score(labels, predictions, pos_label="c0"))
    assert metrics["mcc"].value == pytest.approx(matthews_corrcoef(labels, predictions))


def test_weighted_means_agree_with_sklearn():
    labels, predictions = drawn(np.array([[4, 1, 1], [2, 5, 1], [1, 2, 3]]) / 20, 80, RNG)
    metrics = classify(labels, predictions).metrics
    expected = precision_recall_fscore_support(labels, predictions, average="weighted")
    assert [metrics[f"{name}_weighted"].value for name in NAMES] == pytest.approx(list(expected[:3]))


def test_classes_without_a_value_are_left_out_of_the_means_as_sklearn_can():
    labels, predictions = ["a", "a", "b", "c"], ["a", "b", "b", "b"]
    metrics = classify(labels, predictions).metrics
    for average, suffix in (("macro", ""), ("weighted", "_weighted")):
        expected = precision_recall_fscore_support(labels, predictions, average=average, zero_division=np.nan)
        assert [metrics[name + suffix].value for name in NAMES] == pytest.approx(list(expected[:3]))


def test_each_class_agrees_with_sklearn():
    labels, predictions = drawn(np.array([[4, 1, 1], [2, 5, 1], [1, 2, 3]]) / 20, 80, RNG)
    result = classify(labels, predictions)
    expected = np.array(precision_recall_fscore_support(labels, predictions)[:3]).T
    found = [[result.per_class[name][metric].value for metric in NAMES] for name in result.classes]
    assert np.array(found) == pytest.approx(expected)


def test_arrays_and_lists_say_the_same():
    labels, predictions = drawn(np.array([[0.3, 0.1], [0.2, 0.4]]), 57, RNG)
    assert classify(np.array(labels), np.array(predictions), "c1") == classify(labels, predictions, "c1")


def test_only_two_classes_have_a_specificity():
    labels, predictions = drawn(np.array([[4, 1, 1], [2, 5, 1], [1, 2, 3]]) / 20, 80, RNG)
    assert "specificity" not in classify(labels, predictions, "c1").metrics


@pytest.mark.parametrize("positive", ["c0", None])
def test_no_predictions_have_no_values(positive: str | None):
    metrics = classify([], [], positive).metrics
    assert {value for found in metrics.values() for value in (found.value, found.low, found.high)} == {None}


@pytest.mark.parametrize("positive", ["c0", None])
def test_perfect_predictions_are_not_certain(positive: str | None):
    labels = ["c0"] * 5 + ["c1"] * 7
    for name, found in classify(labels, labels, positive).metrics.items():
        assert found.value == found.high == 1.0, name
        assert 0.3 < found.low < 0.9, name


def test_the_width_of_weighted_means_is_that_of_resampled_windows():
    shares = np.array([[0.6, 0.02, 0.01], [0.05, 0.15, 0.03], [0.03, 0.03, 0.08]])
    windows = [classify(*drawn(shares, 300, RNG)).metrics for _ in range(300)]
    for name in ("precision_weighted", "f1_score_weighted", "f1_score"):
        spread = np.std([metrics[name].value for metrics in windows])
        width = np.median([metrics[name].high - metrics[name].low for metrics in windows])
        assert width == pytest.approx(2 * 1.96 * spread, rel=0.12), name


def test_intervals_of_precision_and_recall_are_wilsons():
    labels = ["sick"] * 8 + ["well"] * 12
    predictions = ["sick"] * 6 + ["well"] * 2 + ["sick"] * 3 + ["well"] * 9
    metrics = classify(labels, predictions, "sick").metrics
    for name, hits, n in (("precision", 6, 9), ("recall", 6, 8), ("accuracy", 15, 20)):
        expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
        assert (metrics[name].low, metrics[name].high) == pytest.approx((expected.low, expected.high))
        assert metrics[name].n == n


def test_the_interval_of_f1_is_that_of_jaccard_mapped():
    labels = ["sick"] * 8 + ["well"] * 12
    predictions = ["sick"] * 6 + ["well"] * 2 + ["sick"] * 3 + ["well"] * 9
    f1 = classify(labels, predictions, "sick").metrics["f1_score"]
    jaccard = binomtest(6, 11).proportion_ci(0.95, method="wilson")
    assert f1.value == pytest.approx(12 / 17)
    assert (f1.low, f1.high) == pytest.approx([2 * j / (1 + j) for j in (jaccard.low, jaccard.high)])


def test_a_window_without_the_positive_class_says_nothing_of_it():
    result = classify(["well"] * 6, ["well"] * 6, "sick")
    assert result.metrics["accuracy"].value == 1.0
    assert [result.metrics[name].value for name in NAMES] == [None] * 3


def test_a_class_that_is_never_predicted_has_no_precision():
    metrics = classify(["sick", "well", "well"], ["well", "well", "well"], "sick").metrics
    assert metrics["precision"].value is None
    assert metrics["recall"].value == 0.0
    assert metrics["f1_score"].value == 0.0


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 labels and 1"):
        classify(["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("cells", "positive"),
    [
        ([[0.25, 0.02], [0.05, 0.68]], "c1"),
        ([[0.3, 0.02, 0.02], [0.05, 0.25, 0.03], [0.01, 0.04, 0.28]], None),
        ([[0.6, 0.02, 0.01], [0.05, 0.15, 0.03], [0.03, 0.03, 0.08]], None),
    ],
)
def test_intervals_cover_the_truth(cells: list[list[float]], positive: str | None):
    shares = np.array(cells)
    hits, called, true = np.diag(shares), shares.sum(axis=0), shares.sum(axis=1)
    each = {"precision": hits / called, "recall": hits / true, "f1_score": 2 * hits / (called + true)}
    truth = {name: value[1] if positive else value.mean() for name, value in each.items()}
    truth["accuracy"] = hits.sum()
    rng = np.random.default_rng(1)
    covered = dict.fromkeys(truth, 0)
    runs = 400
    for _ in range(runs):
        metrics = classify(*drawn(shares, 60, rng), positive).metrics
        for name, value in truth.items():
            covered[name] += metrics[name].low <= value <= metrics[name].high
    assert all(count / runs > 0.92 for count in covered.values()), covered
