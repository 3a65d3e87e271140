"""How good are predictions: metrics of a classifier, and the decision threshold of a two-class one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def roc_auc(score: Floats, positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative; ties count half.

    None without both kinds. By the rank sum of Mann and Whitney.

    >>> roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    if not n_positive or not n_negative:
        return None
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def choose_threshold(score: Floats, positive: NDArray[np.bool_]) -> float:
    """Threshold of the positive class at which both classes are recalled best on average.

    On well separated scores a whole stretch of thresholds is best, so each is judged on the scores blurred in
    logits by a normal of sd 1: the middle of the gap wins, not its edge.

    >>> round(choose_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])), 2)
    0.5
    """
    logits = np.clip(_logit(score), -8, 8)
    grid = np.linspace(-5, 5, 401)
    above = 1 / (1 + np.exp(-1.702 * (logits[None, :] - grid[:, None])))  # the normal's, to 0.01
    balanced = (above[:, positive].mean(axis=1) + 1 - above[:, ~positive].mean(axis=1)) / 2
    return float(1 / (1 + np.exp(-grid[int(np.argmax(balanced))])))


def _logit(score: Floats) -> Floats:
    clipped = np.clip(score, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float64)


def evaluate(probabilities: Floats, labels: Ints, classes: list[str]) -> dict[str, Any]:
    """Metrics of probabilities [n, classes] against label indices [n]; the decision is the argmax.

    Two classes: precision, recall and F1 of the last class; more: the plain mean over the classes.
    """
    decided = probabilities.argmax(axis=1)
    wanted = [len(classes) - 1] if len(classes) == 2 else list(range(len(classes)))
    rows = []
    for index in wanted:
        hit = float(np.sum((decided == index) & (labels == index)))
        said, there = float(np.sum(decided == index)), float(np.sum(labels == index))
        precision, recall = hit / max(said, 1.0), hit / max(there, 1.0)
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        rows.append((precision, recall, f1))
    areas = [roc_auc(probabilities[:, index], labels == index) for index in wanted]
    known = [area for area in areas if area is not None]
    precision, recall, f1 = (float(value) for value in np.mean(rows, axis=0))
    return {
        "accuracy": float(np.mean(decided == labels)),
        "roc_auc": float(np.mean(known)) if known else None,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "n": int(labels.size),
        "n_per_class": {name: int(np.sum(labels == index)) for index, name in enumerate(classes)},
    }
