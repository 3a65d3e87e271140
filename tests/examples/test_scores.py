from __future__ import annotations

import numpy as np
import pytest
from scores import choose_threshold, evaluate, roc_auc
from sklearn import metrics as reference


def test_roc_auc_agrees_with_scikit_learn_on_ties_too() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.4
    score = np.round(rng.random(300) + 0.3 * positive, 1)
    assert roc_auc(score, positive) == pytest.approx(reference.roc_auc_score(positive, score))


def test_roc_auc_of_one_class_is_unknown() -> None:
    assert roc_auc(np.array([0.1, 0.2]), np.array([True, True])) is None


def test_metrics_of_two_classes_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    score = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    found = evaluate(np.column_stack([1 - score, score]), labels, ["NORMAL", "PNEUMONIA"])
    decided = score > 0.5
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, decided))
    assert found["precision"] == pytest.approx(reference.precision_score(labels, decided))
    assert found["recall"] == pytest.approx(reference.recall_score(labels, decided))
    assert found["f1"] == pytest.approx(reference.f1_score(labels, decided))
    assert found["n_per_class"] == {"NORMAL": int(np.sum(labels == 0)), "PNEUMONIA": int(np.sum(labels == 1))}


def test_metrics_of_three_classes_are_means_over_the_classes() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 200)
    raw = rng.random((200, 3)) + 0.4 * np.eye(3)[labels]
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    found = evaluate(probabilities, labels, ["a", "b", "c"])
    decided = probabilities.argmax(axis=1)
    assert found["f1"] == pytest.approx(reference.f1_score(labels, decided, average="macro"))
    assert found["roc_auc"] == pytest.approx(
        reference.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )


def test_threshold_balances_the_classes_whatever_their_sizes() -> None:
    rng = np.random.default_rng(3)
    positive = np.arange(3000) < 2700
    logits = rng.normal(np.where(positive, 3.0, 0.0), 1.0)  # the best cut is half-way, at 1.5
    threshold = choose_threshold(1 / (1 + np.exp(-logits)), positive)
    assert np.log(threshold / (1 - threshold)) == pytest.approx(1.5, abs=0.15)
