"""The metrics that thresholds and alerts may name, and which way each gets worse."""

from __future__ import annotations

from enum import StrEnum


class MetricType(StrEnum):
    DRIFT = "drift"
    PERFORMANCE = "performance"
    HEALTH = "health"


#: Performance metrics that get worse as they get larger; all others get worse as they get smaller.
ERRORS = frozenset(
    {
        "mae",
        "mse",
        "rmse",
        "mape",
        "smape",
        "log_loss",
        "brier",
        "calibration_error",
        "bias",
        "quantile_error",
    }
)


def larger_is_worse(name: str, type_: MetricType) -> bool:
    """Tell the direction of a metric: drift scores, errors, rates and latencies get worse upwards.

    >>> larger_is_worse("accuracy", MetricType.PERFORMANCE), larger_is_worse("rmse", MetricType.PERFORMANCE)
    (False, True)
    """
    return type_ is not MetricType.PERFORMANCE or name in ERRORS
