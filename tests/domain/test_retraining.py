from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tidegauge.domain.alert import AlertRule, Condition, Subject
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor_config.file import MonitorFile, compare
from tidegauge.domain.report import Change
from tidegauge.domain.retraining import (
    DatasetVersion,
    Measured,
    PairedSet,
    Promote,
    RetrainAction,
    RetrainingRule,
    RetrainingState,
    check_step,
    judge,
)
from tidegauge.errors import ConflictError, InvalidInputError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def compared(low: float, high: float, name: str = "held-out v1", *, judged: bool = True) -> PairedSet:
    return PairedSet(
        name, 200, Measured((low + high) / 2, low, high, 200), better=5, worse=3, p_value=0.7, judged=judged
    )


@pytest.mark.parametrize(
    ("low", "high", "margin", "passes", "words"),
    [
        (0.01, 0.05, 0.02, True, "surely better"),
        (-0.01, 0.05, 0.02, True, "surely not worse by 0.02"),
        (-0.02, 0.05, 0.02, False, "it is not sure that the candidate is not worse by 0.02"),
        (-0.01, 0.05, 0.0, False, "it is not sure"),
        (-0.05, -0.01, 0.02, False, "surely worse"),
        (-0.01, -0.001, 0.02, True, "surely not worse by 0.02"),
    ],
)
def test_a_candidate_passes_if_it_is_surely_not_worse_by_the_margin(
    low: float, high: float, margin: float, passes: bool, words: str
) -> None:
    found, reason = judge(RetrainingRule(margin=margin), (compared(low, high),))
    assert found is passes
    assert words in reason


def test_it_has_to_pass_on_every_set_that_is_judged() -> None:
    good, bad = compared(0.01, 0.1), compared(-0.2, -0.1, "live images")
    assert judge(RetrainingRule(), (good, bad)) == (
        False,
        "On live images the candidate is surely worse: accuracy -0.150 (-0.200 to -0.100), 200 images.",
    )
    assert judge(RetrainingRule(), (good, compared(-0.2, -0.1, judged=False)))[0]


def test_with_nothing_to_measure_it_does_not_pass() -> None:
    empty = PairedSet("held-out v1", 0, Measured(None, None, None, 0), 0, 0, 1.0)
    assert not judge(RetrainingRule(metric="recall"), (empty,))[0]
    assert judge(RetrainingRule(), ()) == (False, "There is nothing to compare on.")


def test_an_ended_retraining_goes_nowhere() -> None:
    for state in RetrainingState:
        assert state.ended == (state in ("promoted", "refused", "failed"))
    with pytest.raises(ConflictError, match="is refused; from there it cannot become promoting"):
        check_step(RetrainingState.REFUSED, RetrainingState.PROMOTING)


def test_an_action_plans_the_days_before() -> None:
    held_out = DatasetVersion("test", 1)
    plan = RetrainAction(held_out=held_out, promote=Promote.AUTO, days=7, margin=0.1).plan(NOW)
    assert (plan.start, plan.end, plan.held_out) == (NOW - timedelta(days=7), NOW, held_out)
    assert (plan.promote, plan.margin) == (Promote.AUTO, 0.1)


def test_a_file_that_changes_the_action_of_an_alert_says_so_in_words() -> None:
    rule = AlertRule("low", MetricType.DRIFT, (Condition(on=Subject.EVIDENCE),))
    action = RetrainAction(held_out=DatasetVersion("test", 1))
    before, after = (MonitorFile("tiny", alerts=(one,)) for one in (rule, replace(rule, retrain=action)))
    assert compare(before, after) == (
        Change(
            "alerts.low.retrain",
            None,
            "the last pipeline on 30 days, compared on test v1 by accuracy with margin 0.02, ask, "
            "pause of 24 hours",
        ),
    )


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (RetrainingRule(metric="f1_score"), "metric"),
        (RetrainingRule(margin=-0.1), "margin"),
        (RetrainingRule(margin=float("nan")), "margin"),
        (RetrainAction(days=0), "days"),
        (RetrainAction(pause_hours=-1), "pause_hours"),
    ],
)
def test_a_wrong_value_is_named(rule: RetrainingRule, field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{field} is"):
        rule.check()
