from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tidegauge.domain.alert import AlertRule, Combine, Condition, Operator, Subject
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import EvidenceResult, Feature, FeatureKind, Metric, MonitorRun, ValueType
from tidegauge.domain.monitor_config import MonitorConfig, PerformanceConfig
from tidegauge.domain.status import Status
from tidegauge.errors import InvalidInputError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOW = Condition(name="accuracy", operator=Operator.LESS, bound=0.85)


def run(
    accuracy: float | None = None, surely: tuple[float, float] | None = None, *, late: int = 0
) -> MonitorRun:
    low, high = surely or (None, None)
    metric = Metric(
        "accuracy",
        MetricType.PERFORMANCE,
        accuracy,
        12,
        Status.UNKNOWN,
        surely_low=low,
        surely_high=high,
    )
    unknown = Status.UNKNOWN
    end = NOW + timedelta(minutes=5)
    return MonitorRun("r", "m", 1, NOW, end, 1, NOW, unknown, unknown, unknown, unknown, (metric,), late=late)


def rule(*conditions: Condition, **changes: object) -> AlertRule:
    return replace(AlertRule("low", MetricType.PERFORMANCE, conditions), **changes)


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [
        ("<", 0.85, False),
        ("<=", 0.85, True),
        ("<", 0.84, True),
        (">", 0.85, False),
        (">=", 0.85, True),
        ("<", None, None),
    ],
)
def test_a_condition_compares_the_metric_with_the_bound(
    operator: str, value: float | None, holds: bool | None
) -> None:
    condition = replace(LOW, operator=Operator(operator))
    assert rule(condition).judge(run(value)) == (holds, value)


@pytest.mark.parametrize(
    ("surely", "holds"), [((0.6, 0.84), True), ((0.86, 0.9), False), ((0.6, 0.9), None), (None, None)]
)
def test_surely_below_needs_the_whole_confidence_sequence(
    surely: tuple[float, float] | None, holds: bool | None
) -> None:
    assert rule(replace(LOW, surely=True)).judge(run(0.7, surely))[0] is holds


def test_breaches_in_a_row_are_counted_over_windows_that_could_be_judged() -> None:
    twice = rule(LOW, breaches=2)
    good, bad, empty = run(0.9), run(0.5), run(None)
    assert not twice.fires([good, bad])
    assert twice.fires([good, bad, empty, bad])
    assert not twice.fires([bad, good, bad])


@pytest.mark.parametrize(
    ("combine", "values", "holds"),
    [
        (Combine.ALL, (0.5, 0.5), True),
        (Combine.ALL, (0.5, 0.9), False),
        (Combine.ANY, (0.5, 0.9), True),
        (Combine.ANY, (0.9, 0.9), False),
    ],
)
def test_conditions_combine_by_all_or_any(combine: Combine, values: tuple[float, float], holds: bool) -> None:
    found = run(values[0])
    second = Metric("recall", MetricType.PERFORMANCE, values[1], 12, Status.UNKNOWN)
    found = replace(found, metrics=(*found.metrics, second))
    assert rule(LOW, replace(LOW, name="recall"), combine=combine).judge(found)[0] is holds


def test_an_unknown_value_leaves_all_open_unless_another_condition_decides() -> None:
    missing = replace(LOW, name="recall")
    assert rule(LOW, missing).judge(run(0.5))[0] is None
    assert rule(LOW, missing).judge(run(0.9))[0] is False
    assert rule(LOW, missing, combine=Combine.ANY).judge(run(0.5))[0] is True


def test_a_drift_alarm_is_that_of_the_evidence() -> None:
    alarm = AlertRule("drift", MetricType.DRIFT, (Condition(on=Subject.EVIDENCE),))
    quiet = EvidenceResult(1.0, 2.0, False, None, None, "brightness", 0.1, 100)
    assert alarm.judge(run())[0] is None
    assert alarm.judge(replace(run(), evidence=quiet)) == (False, 1.0)
    assert alarm.judge(replace(run(), evidence=replace(quiet, alarm=True, log_e=9.0))) == (True, 9.0)
    assert alarm.text == "drift alarm"


def test_a_status_is_compared_by_rank() -> None:
    condition = Condition(on=Subject.STATUS, status=Status.WARNING)
    status = AlertRule("status", MetricType.DRIFT, (condition,))
    assert status.judge(run())[0] is None
    assert status.judge(replace(run(), drift=Status.HEALTHY))[0] is False
    assert status.judge(replace(run(), drift=Status.CRITICAL))[0] is True


def test_minutes_without_events_can_be_bounded() -> None:
    quiet = rule(Condition(on=Subject.QUIET, operator=Operator.GREATER, bound=30))
    assert quiet.judge(replace(run(), quiet_minutes=31.0))[0] is True
    assert quiet.judge(replace(run(), quiet_minutes=3.0))[0] is False


def test_a_star_means_any_metric_of_the_type() -> None:
    assert rule(replace(LOW, name="*")).judge(run(0.5))[0] is True


@pytest.mark.parametrize(
    ("conditions", "changes", "field"),
    [
        ((), {}, "conditions"),
        ((replace(LOW, bound=None),), {}, "bound"),
        ((replace(LOW, name=" "),), {}, "metric"),
        ((Condition(on=Subject.STATUS),), {}, "status"),
        ((Condition(on=Subject.EVIDENCE, surely=True),), {}, "surely"),
        ((LOW,), {"breaches": 0}, "breaches"),
        ((LOW,), {"repeat_minutes": -1}, "repeat_minutes"),
        ((LOW,), {"name": "Not a name"}, "name"),
    ],
)
def test_a_rule_that_could_never_be_judged_is_refused(
    conditions: tuple[Condition, ...], changes: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        rule(*conditions, **changes).check()
    assert caught.value.errors[0].field == field


def test_everything_that_is_wrong_with_a_rule_is_told_at_once() -> None:
    conditions = (Condition(name=" "), Condition(on=Subject.QUIET, segment="a", surely=True))
    with pytest.raises(InvalidInputError) as caught:
        rule(*conditions, name="Not a name", breaches=0, repeat_minutes=-1).check()
    assert [error.field for error in caught.value.errors] == [
        "name",
        "conditions.0.metric",
        "conditions.0.bound",
        "conditions.1.bound",
        "conditions.1.surely",
        "conditions.1.segment",
        "breaches",
        "repeat_minutes",
    ]


CLASSES = MonitorConfig()
TABLE = MonitorConfig(input_data_type="tabular")
NUMBERS = MonitorConfig(model_type="regression")
COMPUTED = MonitorConfig(performance=PerformanceConfig(compute="precomputed_metrics"))
AGE = Feature("age", FeatureKind.INPUT, ValueType.CONTINUOUS)


@pytest.mark.parametrize(
    ("type_", "name", "config", "schema", "reason"),
    [
        ("performance", "bogus", CLASSES, (), "bogus is no metric of performance; use one of accuracy, "),
        (
            "performance",
            "acuracy",
            CLASSES,
            (),
            "acuracy is no metric of performance; did you mean accuracy?",
        ),
        ("performance", "mae", CLASSES, (), "mae is of numbers, but model_type is classification"),
        ("performance", "mae", NUMBERS, (), ""),
        ("performance", "mae", COMPUTED, (), ""),
        ("performance", "bogus", COMPUTED, (), "bogus is no metric of performance"),
        ("performance", "*", CLASSES, (), ""),
        ("health", "bogus", CLASSES, (), "bogus is no metric of health; use one of 4xx_requests, "),
        ("drift", "bogus", CLASSES, (), "bogus is no score of drift; use one of image, prediction."),
        ("drift", "image", CLASSES, (), ""),
        ("drift", "bogus", TABLE, (), ""),
        ("drift", "bogus", TABLE, (AGE,), "bogus is no score of drift; use one of age, prediction."),
        ("drift", "age", TABLE, (AGE,), ""),
    ],
)
def test_a_metric_that_the_monitor_never_has_is_named_with_those_that_it_has(
    type_: str, name: str, config: MonitorConfig, schema: tuple[Feature, ...], reason: str
) -> None:
    found = AlertRule("a", MetricType(type_), (replace(LOW, name=name),)).unknown(config, schema)
    assert len(found) == bool(reason)
    assert all(error.message.startswith(reason) for _, error in found)
