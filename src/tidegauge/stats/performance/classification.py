"""Accuracy, precision, recall and F1 with confidence intervals, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from tidegauge.stats.performance.wilson import Estimate, wilson

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Classification:
    """``metrics``: accuracy, precision, recall, f1_score; ``confusion[i][j]``: class i predicted as class j.

    Precision, recall and F1 speak of ``positive``, or are means over the classes (macro) where it is None.
    """

    metrics: Mapping[str, Estimate]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    positive: str | None
    n: int


def classify(
    labels: Sequence[str], predictions: Sequence[str], positive: str | None = None
) -> Classification:
    """Compare predictions with labels, both of length n.

    With two classes and ``positive``, accuracy, precision and recall are proportions with Wilson intervals
    (95%). F1 is 2 J / (1 + J) of the Jaccard proportion J = TP / (TP + FP + FN), so that the Wilson interval
    of J, mapped, is an interval of F1. Macro averages leave out classes that have no value and take the
    interval of a mean of independent estimates (Donner and Zou, "Construction of confidence limits about
    effect measures: a general approach", Statistics in Medicine 27, 2008). F1 values of classes are not
    independent: an error belongs to two classes, so that the variance of their sum is at most twice the sum
    of their variances, and half-widths grow by the root of 2.

    >>> result = classify(["sick", "sick", "well"], ["sick", "well", "well"], positive="sick")
    >>> result.metrics["recall"].value, result.metrics["precision"].value
    (0.5, 1.0)
    """
    if len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions; give as many of each")
    classes = tuple(sorted(set(labels) | set(predictions)))
    index = {name: place for place, name in enumerate(classes)}
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, ([index[x] for x in labels], [index[x] for x in predictions]), 1)
    n = len(labels)
    chosen = positive if positive is not None and len(set(classes) | {positive}) <= 2 else None
    metrics = {"accuracy": wilson(int(np.trace(confusion)), n)}
    if chosen is not None:
        place = index.get(chosen)
        metrics |= _of_class(confusion, place) if place is not None else _of_nobody(n)
    else:
        each = [_of_class(confusion, place) for place in range(len(classes))]
        shared = {"precision": 1, "recall": 1, "f1_score": 2}
        metrics |= {name: _macro([m[name] for m in each], n, most) for name, most in shared.items()}
    rows = tuple(tuple(int(count) for count in row) for row in confusion)
    return Classification(metrics, classes, rows, chosen, n)


def _of_class(confusion: Counts, place: int) -> dict[str, Estimate]:
    hit = int(confusion[place, place])
    called, true = int(confusion[:, place].sum()), int(confusion[place].sum())
    return {
        "precision": wilson(hit, called),
        "recall": wilson(hit, true),
        "f1_score": _f1(hit, called - hit, true - hit),
    }


def _of_nobody(n: int) -> dict[str, Estimate]:
    """Neither labelled nor predicted: nothing can be said of the positive class."""
    return {name: Estimate(None, None, None, n) for name in ("precision", "recall", "f1_score")}


def _f1(hits: int, false_alarms: int, misses: int) -> Estimate:
    """Map the Wilson interval of the Jaccard proportion J to F1 = 2 J / (1 + J)."""
    jaccard = wilson(hits, hits + false_alarms + misses)
    if jaccard.value is None or jaccard.low is None or jaccard.high is None:
        return jaccard
    value, low, high = (2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high))
    return Estimate(value, low, high, jaccard.n)


def _macro(estimates: list[Estimate], n: int, shared: int) -> Estimate:
    """Average over the classes that have a value; an observation counts in ``shared`` classes at most."""
    known = [e for e in estimates if e.value is not None and e.low is not None and e.high is not None]
    if not known:
        return Estimate(None, None, None, n)
    count = len(known)
    shared = min(shared, count)
    value = sum(e.value or 0.0 for e in known) / count
    below = sqrt(shared * sum(((e.value or 0.0) - (e.low or 0.0)) ** 2 for e in known)) / count
    above = sqrt(shared * sum(((e.high or 0.0) - (e.value or 0.0)) ** 2 for e in known)) / count
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), n)
