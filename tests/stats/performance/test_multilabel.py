from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, hamming_loss, precision_recall_fscore_support

from tidegauge.stats.performance.classification import classify
from tidegauge.stats.performance.multilabel import classify_multilabel

RNG = np.random.default_rng(0)
NAMES = ("effusion", "nodule", "mass", "edema")
RATIOS = ("precision", "recall", "f1_score")


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.random((n, 4)) < [0.5, 0.3, 0.4, 0.2]
    return labels, labels ^ (RNG.random((n, 4)) < 0.15)


def numbers(result: Any) -> list[float | None]:
    return [x for e in result.metrics.values() for x in (e.value, e.low, e.high)]


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_means_agree_with_sklearn(average: str):
    labels, predictions = drawn(70)
    metrics = classify_multilabel(labels, predictions, NAMES).metrics
    expected = precision_recall_fscore_support(labels, predictions, average=average)[:3]
    suffix = "" if average == "macro" else "_micro"
    assert [metrics[name + suffix].value for name in RATIOS] == pytest.approx(list(expected))
    assert metrics["accuracy"].value == pytest.approx(accuracy_score(labels, predictions))
    assert metrics["hamming_loss"].value == pytest.approx(hamming_loss(labels, predictions))


def test_each_label_is_as_classify_has_it():
    labels, predictions = drawn(40)
    result = classify_multilabel(labels, predictions, NAMES)
    for place, name in enumerate(NAMES):
        text = (np.where(values[:, place], "yes", "no").tolist() for values in (labels, predictions))
        alone = classify(*text, "yes").metrics
        assert result.per_label[name] == {ratio: alone[ratio] for ratio in RATIOS}


def test_labels_that_err_together_widen_the_intervals():
    one = RNG.random((200, 1)) < 0.5
    wrong = RNG.random((200, 1)) < 0.2
    together = classify_multilabel(np.tile(one, 4), np.tile(one ^ wrong, 4), NAMES).metrics
    alone = classify_multilabel(one, one ^ wrong, ("only",)).metrics
    for name in ("precision", "recall", "f1_score", "precision_micro", "recall_micro", "hamming_loss"):
        width = together[name].high - together[name].low
        assert width == pytest.approx(alone[name].high - alone[name].low, rel=0.02), name


def test_a_label_that_nobody_names_is_left_out_of_the_mean():
    labels, predictions = drawn(50)
    labels[:, 3] = predictions[:, 3] = False
    result = classify_multilabel(labels, predictions, NAMES)
    assert result.per_label["edema"]["recall"].value is None
    expected = precision_recall_fscore_support(labels[:, :3], predictions[:, :3], average="macro")[:3]
    assert [result.metrics[name].value for name in RATIOS] == pytest.approx(list(expected))


def test_perfect_predictions_are_not_certain():
    labels, _ = drawn(12)
    for name, found in classify_multilabel(labels, labels, NAMES).metrics.items():
        assert found.value == (0.0 if name == "hamming_loss" else 1.0)
        assert 0.1 < found.high - found.low < 0.6, name


def test_no_rows_have_no_values():
    result = classify_multilabel([], [], NAMES)
    assert set(numbers(result)) == {None}
    assert result.n == 0


def test_one_row_has_values():
    metrics = classify_multilabel([[1, 0, 1, 0]], [[1, 0, 0, 0]], NAMES).metrics
    assert metrics["accuracy"].value == 0.0
    assert metrics["hamming_loss"].value == 0.25
    assert metrics["recall_micro"].value == 0.5


def test_rows_with_missing_labels_are_left_out_and_counted():
    labels, predictions = drawn(30)
    gaps = labels.astype(np.float32)
    gaps[4, 1] = np.nan
    result = classify_multilabel(gaps, predictions, NAMES)
    kept = np.delete(np.arange(30), 4)
    assert (result.left_out, result.n) == (1, 29)
    assert numbers(result) == numbers(classify_multilabel(labels[kept], predictions[kept], NAMES))


@pytest.mark.parametrize(
    ("labels", "predictions", "names", "says"),
    [
        ([[1, 0]], [[1, 0]], (), "at least one"),
        ([[1, 0]], [[1, 0]], ("a", "a"), "once"),
        ([[1, 0, 1]], [[1, 0]], ("a", "b"), "labels have shape"),
        ([[1, 0]], [1, 0], ("a", "b"), "predictions have shape"),
        ([[1, 0]], [[1, 0.5]], ("a", "b"), "other than 0 and 1"),
        ([[1, 0]], [[1, 0], [0, 0]], ("a", "b"), "1 rows of labels and 2"),
    ],
)
def test_bad_input_is_refused(labels: Any, predictions: Any, names: tuple[str, ...], says: str):
    with pytest.raises(ValueError, match=says):
        classify_multilabel(labels, predictions, names)
