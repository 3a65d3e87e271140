"""The metrics that thresholds and alerts may name, and which way each gets worse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum


class MetricType(StrEnum):
    DRIFT = "drift"
    PERFORMANCE = "performance"
    HEALTH = "health"


#: Performance metrics that get worse as they get larger. ``bias`` has a sign: a bound on it notices only
#: predictions that are too large; one on ``absolute_bias`` notices both.
ERRORS = frozenset(
    {
        "mae",
        "mse",
        "rmse",
        "mape",
        "smape",
        "msle",
        "median_absolute_error",
        "max_error",
        "quantile_error",
        "bias",
        "absolute_bias",
        "log_loss",
        "brier",
        "calibration_error",
        "hamming_loss",
        "error_rate",
        "false_positive_rate",
        "false_negative_rate",
    }
)

#: Performance as the scores promise it, before labels come.
EXPECTED = frozenset({"expected_accuracy", "expected_precision", "expected_recall", "expected_f1_score"})

#: Performance metrics that get worse as they get smaller.
QUALITIES = EXPECTED | frozenset(
    {
        "accuracy",
        "balanced_accuracy",
        "precision",
        "precision_weighted",
        "precision_micro",
        "recall",
        "recall_weighted",
        "recall_micro",
        "sensitivity",
        "specificity",
        "f1_score",
        "f1_score_weighted",
        "f1_score_micro",
        "jaccard",
        "auc",
        "roc_auc",
        "pr_auc",
        "average_precision",
        "mcc",
        "cohen_kappa",
        "r2",
        "r2_score",
        "explained_variance",
    }
)

#: What files and functions of users may give.
COMPUTED = ERRORS | QUALITIES - EXPECTED

#: What labels that are numbers give, and what classes never do.
REGRESSION = frozenset(
    {"mae", "mse", "rmse", "mape", "smape", "r2_score", "bias", "absolute_bias", "quantile_error"}
)

_SIGNED = frozenset({"mcc", "cohen_kappa"})  # from -1 to 1
_UP_TO_ONE = frozenset({"r2", "r2_score", "explained_variance"})
_SHARES = frozenset(  # errors from 0 to 1
    {"calibration_error", "hamming_loss", "error_rate", "false_positive_rate", "false_negative_rate"}
)

#: Health metrics that get worse as they get smaller: ``ready`` is the share of looks that found it ready,
#: ``captured`` that of served requests that the log has.
HEALTH_QUALITIES = frozenset({"captured", "ready"})

#: Health metrics; all but these qualities get worse as they get larger. ``cpu_utilization`` is a share of one
#: core, ``memory_utilization`` one of the machine's (or the container's) memory.
HEALTH = HEALTH_QUALITIES | frozenset(
    {
        "requests",
        "requests_rate",
        "4xx_requests",
        "4xx_requests_rate",
        "5xx_requests",
        "5xx_requests_rate",
        "latency_avg",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "cpu_utilization",
        "memory_bytes",
        "memory_utilization",
        "restarts",
    }
)


def names(type_: MetricType) -> frozenset[str] | None:
    """Return the names that metrics of a type have; None for drift, where any feature has a score.

    >>> "accuracy" in names(MetricType.PERFORMANCE), names(MetricType.DRIFT)
    (True, None)
    """
    if type_ is MetricType.DRIFT:
        return None
    return HEALTH if type_ is MetricType.HEALTH else ERRORS | QUALITIES


def no_metric(name: str, what: str, known: Iterable[str]) -> str:
    """Say that there is no metric of a name, and which there are; empty where it is known.

    >>> no_metric("acuracy", "performance metric", {"accuracy", "recall"})
    'acuracy is no performance metric; did you mean accuracy?'
    """
    names = sorted(known)
    if name in names:
        return ""
    alike = get_close_matches(name, names, n=1)
    hint = f"did you mean {alike[0]}?" if alike else f"use one of {', '.join(names)}."
    return f"{name} is no {what}; {hint}"


def implausible(name: str, value: float) -> str:
    """Say why a performance metric cannot have this value; empty where it can.

    >>> implausible("accuracy", 0.9), implausible("accuracy", 90)
    ('', 'accuracy is 90; it lies from 0 to 1.')
    """
    if not math.isfinite(value):
        return f"{name} is {value}; write a finite number."
    low, high = _range(name)
    if low <= value <= high:
        return ""
    if math.isinf(high):
        return f"{name} is {value:g}; it is 0 or more."
    return f"{name} is {value:g}; it {'is at most 1' if math.isinf(low) else f'lies from {low:g} to 1'}."


def _range(name: str) -> tuple[float, float]:
    if name == "bias":
        return -math.inf, math.inf
    if name in _UP_TO_ONE:
        return -math.inf, 1.0
    if name in ERRORS and name not in _SHARES:
        return 0.0, math.inf
    return (-1.0 if name in _SIGNED else 0.0), 1.0


def larger_is_worse(name: str, type_: MetricType) -> bool:
    """Tell the direction of a metric: drift scores, errors, rates and latencies get worse upwards.

    >>> larger_is_worse("accuracy", MetricType.PERFORMANCE), larger_is_worse("rmse", MetricType.PERFORMANCE)
    (False, True)
    """
    if type_ is MetricType.HEALTH:
        return name not in HEALTH_QUALITIES
    return type_ is MetricType.DRIFT or name in ERRORS


def never_measured(names: Iterable[str], model_type: str) -> str:
    """Say which of these performance metrics labels of such a model never give; empty where all may come.

    >>> never_measured(["mae"], "regression"), never_measured(["accuracy"], "regression")[:45]
    ('', 'accuracy is of classes, but model_type is reg')
    """
    for name in names:
        if model_type == "regression" and name not in REGRESSION:
            known = ", ".join(sorted(REGRESSION))
            return f"{name} is of classes, but model_type is regression; use one of {known}."
        if model_type == "classification" and name in REGRESSION:
            return f"{name} is of numbers, but model_type is classification; use a metric such as accuracy."
    return ""
