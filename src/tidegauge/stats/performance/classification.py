"""Metrics of predicted classes with confidence intervals, and the confusion matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from tidegauge.stats.performance.matthews import matthews, smoothed, variance
from tidegauge.stats.performance.wilson import Estimate, wilson, wilson_bounds

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_OF_A_CLASS = ("precision", "recall", "f1_score")


@dataclass(frozen=True)
class Classification:
    """Metrics of ``n`` predictions, and ``confusion[i][j]``: class i predicted as class j.

    ``metrics``: accuracy, balanced_accuracy, precision, recall, f1_score, mcc. Precision, recall and F1 speak
    of ``positive``, and there is specificity, too; or they are means over the classes (macro) where
    ``positive`` is None, and precision_weighted, recall_weighted and f1_score_weighted are means weighted by
    the number of labels. ``per_class``: precision, recall and f1_score of each class.
    """

    metrics: Mapping[str, Estimate]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    positive: str | None
    n: int
    per_class: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)


def classify(
    labels: Sequence[str] | npt.NDArray[np.str_],
    predictions: Sequence[str] | npt.NDArray[np.str_],
    positive: str | None = None,
) -> Classification:
    """Compare predictions with labels, both of length n.

    Accuracy, specificity, and precision and recall of one class are proportions with Wilson intervals (95%).
    F1 of a class is 2 J / (1 + J) of the Jaccard proportion J = TP / (TP + FP + FN), so that the Wilson
    interval of J, mapped, is an interval of F1. Means over classes leave out classes that have no value
    (scikit-learn: ``zero_division=nan``) and take the interval of a mean of independent estimates (Donner and
    Zou, "Construction of confidence limits about effect measures: a general approach", Statistics in Medicine
    27, 2008), widened by Student's quantile over the normal one. F1 values of classes are not independent,
    since an error belongs to two classes: their half-widths grow by the root of the ratio of the delta-method
    variances with and without covariances. Weighted means: delta-method variance of the table with one
    observation spread over its cells, Wilson's interval at the effective sample size.

    >>> result = classify(["sick", "sick", "well"], ["sick", "well", "well"], positive="sick")
    >>> result.metrics["recall"].value, result.metrics["precision"].value
    (0.5, 1.0)
    """
    if len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions; give as many of each")
    pairs = Counter(zip(_names(labels), _names(predictions), strict=True))
    classes = tuple(sorted({name for pair in pairs for name in pair}))
    index = {name: place for place, name in enumerate(classes)}
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for (label, prediction), count in pairs.items():
        confusion[index[label], index[prediction]] = count
    n = len(labels)
    chosen = positive if positive is not None and len(set(classes) | {positive}) <= 2 else None
    each = [_of_class(confusion, place) for place in range(len(classes))]
    metrics = {
        "accuracy": wilson(int(np.trace(confusion)), n),
        "balanced_accuracy": macro([one["recall"] for one in each], n),
    }
    if chosen is not None:
        place = index.get(chosen)
        metrics |= each[place] if place is not None else _of_nobody(n)
        metrics["specificity"] = _specificity(confusion, place)
    else:
        widening = _widening_of_f1(confusion) if n > 1 and len(classes) > 1 else float(len(classes))
        metrics |= {name: macro([one[name] for one in each], n) for name in _OF_A_CLASS[:2]}
        metrics["f1_score"] = macro([one["f1_score"] for one in each], n, widening)
        metrics |= _weighted(confusion)
    metrics["mcc"] = matthews(confusion)
    rows = tuple(tuple(int(count) for count in row) for row in confusion)
    return Classification(metrics, classes, rows, chosen, n, dict(zip(classes, each, strict=True)))


def _names(values: Sequence[str] | npt.NDArray[np.str_]) -> Sequence[str]:
    """Names of an array become plain ones at once, which count many times faster."""
    return values.tolist() if isinstance(values, np.ndarray) else values


def _of_class(confusion: Counts, place: int) -> dict[str, Estimate]:
    hit = int(confusion[place, place])
    called, true = int(confusion[:, place].sum()), int(confusion[place].sum())
    return {
        "precision": wilson(hit, called),
        "recall": wilson(hit, true),
        "f1_score": f1(hit, called - hit, true - hit),
    }


def _of_nobody(n: int) -> dict[str, Estimate]:
    """Neither labelled nor predicted: nothing can be said of the positive class."""
    return {name: Estimate(None, None, None, n) for name in _OF_A_CLASS}


def _specificity(confusion: Counts, place: int | None) -> Estimate:
    if place is None:
        return wilson(int(confusion.sum()), int(confusion.sum()))
    others = np.delete(confusion, place, axis=0)
    return wilson(int(np.delete(others, place, axis=1).sum()), int(others.sum()))


def f1(hits: int, false_alarms: int, misses: int) -> Estimate:
    """Map the Wilson interval of the Jaccard proportion J to F1 = 2 J / (1 + J).

    >>> round(f1(3, 1, 2).value, 4)
    0.6667
    """
    jaccard = wilson(hits, hits + false_alarms + misses)
    if jaccard.value is None or jaccard.low is None or jaccard.high is None:
        return jaccard
    value, low, high = (2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high))
    return Estimate(value, low, high, jaccard.n)


def macro(estimates: Sequence[Estimate], n: int, widening: float = 1.0) -> Estimate:
    """Average the estimates that have a value, of ``n`` rows.

    ``widening`` is the variance of their sum over what it would be if they were independent.

    >>> macro([Estimate(0.8, 0.7, 0.9, 50), Estimate(0.6, 0.5, 0.7, 50)], 100).value
    0.7
    """
    known = [
        (e.value, e.low, e.high)
        for e in estimates
        if e.value is not None and e.low is not None and e.high is not None
    ]
    if not known:
        return Estimate(None, None, None, n)
    count = len(known)
    if n > 1 and count > 1:
        widening *= float(stdtrit(n - 1, 0.975) / ndtri(0.975)) ** 2
    value = sum(v for v, _, _ in known) / count
    below = sqrt(widening * sum((v - low) ** 2 for v, low, _ in known)) / count
    above = sqrt(widening * sum((high - v) ** 2 for v, _, high in known)) / count
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), n)


def _widening_of_f1(confusion: Counts) -> float:
    """Return the variance of the sum of F1 of the known classes over the sum of their variances."""
    n = int(confusion.sum())
    shares = smoothed(confusion)
    both = shares.sum(axis=1) + shares.sum(axis=0)
    hits = np.diag(shares)
    value = 2 * hits / both
    known = (confusion.sum(axis=1) + confusion.sum(axis=0)) > 0
    alone = (hits * (2 - 2 * value) ** 2 + (both - 2 * hits) * value**2) / both**2
    slope = np.where(known, value / both, 0.0)
    gradient = np.diag(np.where(known, 2 / both, 0.0)) - slope[:, np.newaxis] - slope[np.newaxis, :]
    return n * variance(shares, gradient, n) / float(alone[known].sum())


def _weighted(confusion: Counts) -> dict[str, Estimate]:
    n = int(confusion.sum())
    if n == 0:
        return {f"{name}_weighted": Estimate(None, None, None, 0) for name in _OF_A_CLASS}
    shares = smoothed(confusion)
    true, called, hits = shares.sum(axis=1), shares.sum(axis=0), np.diag(shares)
    precision, share = hits / called, true / called
    by_precision = precision[:, np.newaxis] - share * precision + np.diag(share)
    f1_score, both = 2 * hits / (true + called), true + called
    slope = true * f1_score / both
    by_f1 = (f1_score - slope)[:, np.newaxis] - slope + np.diag(2 * true / both)
    labels, predicted, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    return {
        "precision_weighted": _at_effective_size(
            _weighted_mean(right, predicted, labels),
            float(true @ precision),
            variance(shares, by_precision, n),
            n,
        ),
        "recall_weighted": wilson(int(right.sum()), n),
        "f1_score_weighted": _at_effective_size(
            _weighted_mean(2 * right, predicted + labels, labels),
            float(true @ f1_score),
            variance(shares, by_f1, n),
            n,
        ),
    }


def _weighted_mean(part: Counts, whole: Counts, weights: Counts) -> float | None:
    known = (whole > 0) & (weights > 0)
    if not known.any():
        return None
    return float((weights[known] * part[known] / whole[known]).sum() / weights[known].sum())


def _at_effective_size(value: float | None, centre: float, spread: float, n: int) -> Estimate:
    if value is None:
        return Estimate(None, None, None, n)
    if spread < np.finfo(np.float64).eps:  # a single class, whose table has one cell
        return Estimate(value, *wilson_bounds(value, n), n)
    return Estimate(value, *wilson_bounds(min(1.0, value), centre * (1 - centre) / spread), n)
