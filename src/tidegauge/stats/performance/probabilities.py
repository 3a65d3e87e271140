"""Metrics of predicted probabilities with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from tidegauge.stats.performance.calibration_error import ReliabilityBin, calibration_error
from tidegauge.stats.performance.mean import mean
from tidegauge.stats.performance.pr_auc import macro_pr_auc, pr_auc_of
from tidegauge.stats.performance.ranking import rank, rank_classes
from tidegauge.stats.performance.roc_auc import macro_roc_auc, roc_auc_of
from tidegauge.stats.performance.wilson import Estimate

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: Probabilities nearer to 0 than this count as this in log loss; single precision, in which models answer,
#: knows none nearer to 1. So one row loses 15.9 at most.
CLIP = 2.0**-23

_SUM = 0.01  # how far the probabilities of a row may add up to something other than 1


@dataclass(frozen=True)
class Probabilities:
    """Metrics of ``n`` rows: log_loss, brier, roc_auc, pr_auc, calibration_error; ``left_out`` had NaN.

    ``calibration_chance`` is what calibration_error is on average for a perfectly calibrated model;
    ``reliability`` the bins it is made of.
    """

    metrics: Mapping[str, Estimate]
    classes: tuple[str, ...]
    positive: str | None
    calibration_chance: float | None
    reliability: tuple[ReliabilityBin, ...]
    left_out: int
    n: int


def score_probabilities(
    labels: Sequence[str] | npt.NDArray[np.str_],
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    positive: str | None = None,
) -> Probabilities:
    """Compare probabilities with labels ``[n]``.

    ``probabilities`` are ``[n, classes]`` in the order of ``classes``, rows adding up to 1; or, with two
    classes, ``[n]`` of ``positive``. Rows with NaN are left out. With two classes and ``positive``,
    ``roc_auc``, ``pr_auc`` and ``calibration_error`` are of its probability and ``brier`` is its mean squared
    error. Otherwise the areas are means over the classes, one against the rest (macro),
    ``calibration_error`` is that of the predicted class, and ``brier`` sums over the classes, up to 2; with
    two classes it is half of that.

    log_loss clips probabilities at 2**-23. Intervals (95%) of log_loss and brier are those of ``mean``.
    Sources: Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78
    (1950); for the others see the functions of their names.

    Raises ValueError for shapes that do not fit, labels outside ``classes``, or numbers that are no
    probabilities.

    >>> found = score_probabilities(["well", "sick", "sick"], [0.1, 0.8, 0.6], ["well", "sick"], "sick")
    >>> round(found.metrics["brier"].value, 2), found.metrics["roc_auc"].value
    (0.07, 1.0)
    """
    names = tuple(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"classes is {names}; name at least two different classes")
    if positive is not None and positive not in names:
        raise ValueError(f"positive is {positive!r}; use one of {', '.join(names)}")
    chosen = names.index(positive) if positive is not None and len(names) == 2 else None
    rows = _rows(probabilities, names, chosen)
    truth = _places(labels, names)
    if len(rows) != len(truth):
        raise ValueError(f"{len(truth)} labels and {len(rows)} probabilities; give as many of each")
    missing = np.isnan(rows).any(axis=1)
    if missing.any():
        rows, truth = rows[~missing], truth[~missing]
    _check(rows)
    of_truth = rows[np.arange(len(rows)), truth]
    highest = 1.0 if len(names) == 2 else 2.0
    metrics = {
        "log_loss": mean(-np.log(np.clip(of_truth, CLIP, 1.0)), 0.0, -log(CLIP)),
        "brier": mean(_squared_errors(rows, of_truth), 0.0, highest),
    }
    if chosen is not None:
        ranking = rank(truth == chosen, rows[:, chosen])
        metrics |= {"roc_auc": roc_auc_of(ranking), "pr_auc": pr_auc_of(ranking)}
        found = calibration_error(rows[:, chosen], truth == chosen)
    else:
        rankings = rank_classes(truth, rows)
        metrics |= {"roc_auc": macro_roc_auc(truth, rankings), "pr_auc": macro_pr_auc(truth, rankings)}
        found = calibration_error(rows.max(axis=1), rows.argmax(axis=1) == truth)
    metrics["calibration_error"] = found.error
    return Probabilities(
        metrics,
        names,
        positive if chosen is not None else None,
        found.chance,
        found.bins,
        int(missing.sum()),
        len(rows),
    )


def _rows(probabilities: npt.ArrayLike, names: tuple[str, ...], chosen: int | None) -> Floats:
    rows = np.asarray(probabilities, np.float64)
    if rows.ndim == 1 and chosen is not None:
        both = (rows, 1 - rows)
        rows = np.column_stack(both if chosen == 0 else both[::-1])
    if rows.size == 0:
        rows = rows.reshape(0, len(names))
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(
            f"probabilities have shape {rows.shape}; give [n, {len(names)}], a column per class, "
            "or with two classes and positive [n]"
        )
    return rows


def _check(rows: Floats) -> None:
    if rows.size and (rows.min() < 0 or rows.max() > 1):
        raise ValueError("probabilities has a value outside [0, 1]; give probabilities, not scores")
    if rows.size and np.abs(rows.sum(axis=1) - 1).max() > _SUM:
        raise ValueError("probabilities has a row that does not add up to 1; give those of exclusive classes")


def _places(labels: Sequence[str] | npt.NDArray[np.str_], names: tuple[str, ...]) -> Indices:
    index = {name: place for place, name in enumerate(names)}
    known = labels.tolist() if isinstance(labels, np.ndarray) else labels
    try:
        return np.fromiter(map(index.__getitem__, known), np.int64, len(known))
    except KeyError as error:
        raise ValueError(f"labels has {error.args[0]!r}; use only {', '.join(names)}") from error


def _squared_errors(rows: Floats, of_truth: Floats) -> Floats:
    if rows.shape[1] == 2:
        return np.asarray(np.square(1 - of_truth), np.float64)
    return np.asarray(np.maximum(0.0, np.square(rows).sum(axis=1) + 1 - 2 * of_truth), np.float64)
