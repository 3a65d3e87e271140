"""Metrics of predictions that name any number of labels for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidegauge.stats.performance.classification import f1, macro
from tidegauge.stats.performance.mean import mean
from tidegauge.stats.performance.wilson import Estimate, wilson, wilson_bounds

Floats = npt.NDArray[np.float64]

_NAMES = ("precision", "recall", "f1_score")


@dataclass(frozen=True)
class MultilabelClassification:
    """Metrics of ``n`` rows; ``left_out`` rows had NaN.

    ``metrics``: accuracy (all labels of a row right), hamming_loss (share of wrong decisions), precision,
    recall and f1_score as means over the labels (macro), and precision_micro, recall_micro and f1_score_micro
    of all decisions together. ``per_label``: precision, recall and f1_score of each label.
    """

    metrics: Mapping[str, Estimate]
    per_label: Mapping[str, Mapping[str, Estimate]]
    names: tuple[str, ...]
    left_out: int
    n: int


def classify_multilabel(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, names: Sequence[str]
) -> MultilabelClassification:
    """Compare predictions with labels, both ``[n, names]`` of 0 and 1; rows with NaN are left out.

    Of one label, intervals (95%) are those of ``classify``. The labels of a row are not independent, rows
    are: means over labels (macro) and shares of all decisions (micro) have variances of sums by row. A mean
    takes the intervals of its labels as those of ``classify`` do, widened by the ratio of the variances by
    row and by label; a share takes Wilson's interval at the effective sample size.

    Raises ValueError for shapes that do not fit and for values other than 0 and 1.
    Source: Tsoumakas and Katakis, "Multi-label classification", IJDWM 3 (2007), for the metrics; Cochran,
    "Sampling Techniques" (1977), for ratios of sums.

    >>> found = classify_multilabel([[1, 0], [1, 1]], [[1, 0], [0, 1]], ["effusion", "nodule"])
    >>> found.metrics["accuracy"].value, found.metrics["hamming_loss"].value
    (0.5, 0.25)
    """
    columns = tuple(names)
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"names is {columns}; name at least one label, each once")
    true, called = _decisions("labels", labels, columns), _decisions("predictions", predictions, columns)
    if len(true) != len(called):
        raise ValueError(f"{len(true)} rows of labels and {len(called)} of predictions; give as many of each")
    missing = np.isnan(true).any(axis=1) | np.isnan(called).any(axis=1)
    true, called = true[~missing], called[~missing]
    n = len(true)
    hits, wrong = true * called, (true != called).mean(axis=1)
    ratios = {"precision": (hits, called), "recall": (hits, true), "f1_score": (2 * hits, called + true)}
    per_label = {
        name: _of_label(*counts)
        for name, counts in zip(
            columns, np.column_stack([x.sum(axis=0) for x in (hits, called, true)]), strict=True
        )
    }
    metrics = {"accuracy": wilson(int((wrong == 0).sum()), n), "hamming_loss": mean(wrong, 0.0, 1.0)}
    for name, (part, whole) in ratios.items():
        metrics[name] = macro([one[name] for one in per_label.values()], n, _widening(part, whole))
    for name, (part, whole) in ratios.items():
        metrics[f"{name}_micro"] = _of_sums(part.sum(axis=1), whole.sum(axis=1))
    return MultilabelClassification(metrics, per_label, columns, int(missing.sum()), n)


def _decisions(field: str, values: npt.ArrayLike, columns: tuple[str, ...]) -> Floats:
    rows = np.asarray(values, np.float64)
    if rows.size == 0:
        rows = rows.reshape(0, len(columns))
    if rows.ndim != 2 or rows.shape[1] != len(columns):
        raise ValueError(f"{field} have shape {rows.shape}; give [n, {len(columns)}], a column per label")
    if not ((rows == 0) | (rows == 1) | np.isnan(rows)).all():
        raise ValueError(f"{field} has a value other than 0 and 1; give 1 where the label is named")
    return rows


def _of_label(hits: float, called: float, true: float) -> dict[str, Estimate]:
    return {
        "precision": wilson(int(hits), int(called)),
        "recall": wilson(int(hits), int(true)),
        "f1_score": f1(int(hits), int(called - hits), int(true - hits)),
    }


def _widening(part: Floats, whole: Floats) -> float:
    """Return the variance of the sum of the columns' ratios over the sum of their variances, at least 1."""
    totals = whole.sum(axis=0)
    known = totals > 0
    if len(part) < 2 or known.sum() < 2:
        return max(1.0, float(known.sum()))
    totals = totals[known]
    influence = (part[:, known] - part[:, known].sum(axis=0) / totals * whole[:, known]) / totals
    alone = float(np.square(influence).sum())
    ratio = float(np.square(influence.sum(axis=1)).sum()) / alone if alone else float(known.sum())
    return max(1.0, ratio)


def _of_sums(part: Floats, whole: Floats) -> Estimate:
    """Return the ratio of two sums over rows."""
    n, total = len(part), float(whole.sum())
    if not total:
        return Estimate(None, None, None, n)
    value = float(part.sum()) / total
    rows = int((whole > 0).sum())
    spread = float(np.square(part - value * whole).sum()) / total**2
    if rows < 2 or spread == 0:
        return Estimate(value, *wilson_bounds(value, rows), n)
    size = value * (1 - value) / spread * (rows - 1) / rows
    return Estimate(value, *wilson_bounds(value, size), n)
