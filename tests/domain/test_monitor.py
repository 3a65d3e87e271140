from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import (
    Feature,
    FeatureKind,
    Metric,
    Monitor,
    MonitorState,
    ValueType,
    check_transition,
)
from tidegauge.domain.monitor_config import (
    DriftConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    TrainData,
)
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.domain.verdicts import judge, part_status
from tidegauge.errors import ConflictError, InvalidInputError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DRIFT = DriftConfig(enabled=True, image=ImageShape(200, 200), train_data=TrainData("chest", 1))
MONITOR = Monitor(
    "m", "d", "chest", "operator", MonitorState.READY, Status.UNKNOWN, MonitorConfig(drift=DRIFT), 1, NOW,
    thresholds=parse_thresholds(
        {
            "image": {"type": "drift", "soft": 0.42, "hard": 0.55},
            "accuracy": {"type": "performance", "soft": 0.8, "hard": 0.7},
        }
    ),
)  # fmt: skip


def metric(name: str, type_: MetricType, value: float | None, n: int = 12) -> Metric:
    return Metric(name, type_, value, n, Status.UNKNOWN)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ready", "active"),
        ("active", "ready"),
        ("baselining", "pending"),
        ("pending", "ready"),
        ("error", "baselining"),
    ],
)
def test_the_states_follow_the_design(before: str, after: str) -> None:
    check_transition(MonitorState(before), MonitorState(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("init", "active"),
        ("pending", "active"),
        ("baselining", "active"),
        ("active", "baselining"),
        ("ready", "ready"),
    ],
)
def test_there_is_no_short_cut(before: str, after: str) -> None:
    with pytest.raises(ConflictError, match=f"is {before}; from there it cannot become {after}"):
        check_transition(MonitorState(before), MonitorState(after))


def test_a_configuration_says_what_it_lacks() -> None:
    assert MonitorConfig().missing() == ()
    assert MonitorConfig(drift=DriftConfig(enabled=True)).missing() == ("drift.image", "drift.train_data")
    assert MonitorConfig(drift=DRIFT).missing() == ()


def test_every_wrong_value_of_a_configuration_is_told_at_once() -> None:
    config = MonitorConfig(
        frequency_minutes=0,
        time_zone="Mars/Olympus",
        drift=replace(DRIFT, image=ImageShape(2, 200, 4)),
        performance=PerformanceConfig(prefix="../other"),
    )
    with pytest.raises(InvalidInputError) as caught:
        config.check()
    assert [error.field for error in caught.value.errors] == [
        "frequency_minutes", "drift.image.height", "drift.image.channels", "time_zone", "performance.prefix",
    ]  # fmt: skip


def test_drift_needs_a_prediction_in_the_schema() -> None:
    assert "no prediction output" in MONITOR.unmet()
    prediction = Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL)
    assert replace(MONITOR, schema=(prediction,)).unmet() == ""


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0.42, Status.HEALTHY),
        (0.43, Status.WARNING),
        (0.55, Status.WARNING),
        (0.56, Status.CRITICAL),
        (None, Status.UNKNOWN),
    ],
)
def test_a_breach_is_strict(value: float | None, status: Status) -> None:
    assert judge(metric("image", MetricType.DRIFT, value), MONITOR).status is status


def test_the_direction_belongs_to_the_metric() -> None:
    assert judge(metric("accuracy", MetricType.PERFORMANCE, 0.65), MONITOR).status is Status.CRITICAL
    assert judge(metric("accuracy", MetricType.PERFORMANCE, 0.95), MONITOR).status is Status.HEALTHY


def test_too_little_data_is_unknown() -> None:
    few = MONITOR.config.minimum_samples - 1
    assert judge(metric("image", MetricType.DRIFT, 0.9, few), MONITOR).status is Status.UNKNOWN


def test_a_threshold_of_another_type_judges_nothing() -> None:
    assert judge(metric("image", MetricType.HEALTH, 0.9), MONITOR).status is Status.UNKNOWN


def test_a_part_is_as_bad_as_its_worst_metric() -> None:
    metrics = [
        judge(metric("image", MetricType.DRIFT, 0.9), MONITOR),
        judge(metric("accuracy", MetricType.PERFORMANCE, 0.75), MONITOR),
        metric("requests", MetricType.HEALTH, 12.0),
    ]
    found = [
        part_status(part, metrics, MONITOR)
        for part in (MetricType.DRIFT, MetricType.PERFORMANCE, MetricType.HEALTH)
    ]
    assert found == [Status.CRITICAL, Status.WARNING, Status.HEALTHY]


def test_health_without_traffic_is_unknown() -> None:
    silent = [metric("requests", MetricType.HEALTH, 0.0, 0)]
    assert part_status(MetricType.HEALTH, silent, MONITOR) is Status.UNKNOWN
