"""Alerts: a user's rules over what a monitor finds."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import MonitorRun


class Operator(StrEnum):
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="


_COMPARE: Mapping[Operator, Callable[[float, float], bool]] = {
    Operator.LESS: operator.lt,
    Operator.LESS_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_EQUAL: operator.ge,
}


@dataclass(frozen=True)
class Alert:
    """Fires in every run in which ``metric operator bound`` holds."""

    id: str
    monitor_id: str
    name: str
    type: MetricType
    metric: str
    operator: Operator
    bound: float
    created_at: datetime

    def fires(self, run: MonitorRun) -> bool:
        """Tell whether the rule holds in ``run``; without a value it does not."""
        metric = run.metric(self.metric)
        if metric is None or metric.value is None:
            return False
        return _COMPARE[self.operator](metric.value, self.bound)

    @property
    def rule(self) -> str:
        return f"{self.metric} {self.operator.value} {self.bound:g}"


@dataclass(frozen=True)
class AlertEvent:
    """One firing of an alert: in which run, at which value."""

    id: str
    alert_id: str
    monitor_id: str
    run_id: str
    name: str
    rule: str
    value: float
    at: datetime  # end of the window
