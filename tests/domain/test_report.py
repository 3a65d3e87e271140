from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import (
    Cause,
    ConfigVersion,
    EvidenceResult,
    Metric,
    MonitorRun,
    MonitorState,
    Transition,
)
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.pooling import condense, overlap, pool, step_of
from tidegauge.domain.report import Absent, Step, digest
from tidegauge.domain.report_parts import (
    absent,
    active,
    config_changes,
    episodes,
    evidence,
    governed,
    metrics,
    revisions,
    shares,
)
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CRITICAL, HEALTHY, UNKNOWN, WARNING = Status.CRITICAL, Status.HEALTHY, Status.UNKNOWN, Status.WARNING


def run(number: int, status: Status = HEALTHY, *found: Metric, minutes: int = 5) -> MonitorRun:
    start = START + number * minutes * MINUTE
    return MonitorRun(
        f"run-{number}", "m", 1, start, start + minutes * MINUTE, 1, start,
        status, HEALTHY, status, HEALTHY, found,
    )  # fmt: skip


def accuracy(table: list[list[int]], classes: list[str], positive: str | None = "sick") -> Metric:
    n = sum(map(sum, table))
    right = sum(table[k][k] for k in range(len(table)))
    detail = {"confusion": table, "classes": classes, "positive": positive}
    return Metric("accuracy", MetricType.PERFORMANCE, right / n if n else None, n, HEALTHY, detail=detail)


def score(value: float | None, status: Status = HEALTHY) -> Metric:
    return Metric("image", MetricType.DRIFT, value, 10, status)


def test_statuses_are_counted_for_each_part() -> None:
    runs = [run(0), run(1, CRITICAL), run(2, CRITICAL), run(3, UNKNOWN)]
    found = {part.part: part for part in shares(runs)}
    assert (found["drift"].healthy, found["drift"].critical, found["drift"].unknown) == (1, 2, 1)
    assert found["health"].share(HEALTHY) == 1.0
    assert found["monitor"].windows == 4
    assert shares([]) == ()


def test_a_gap_or_a_better_window_ends_a_critical_period() -> None:
    runs = [run(0, CRITICAL), run(1, CRITICAL), run(2), run(3, CRITICAL), run(5, CRITICAL)]
    assert [(period.part, period.start, period.windows) for period in episodes(runs)] == [
        ("drift", START, 2),
        ("drift", START + 15 * MINUTE, 1),
        ("drift", START + 25 * MINUTE, 1),
    ]


def test_labels_of_all_windows_are_pooled_by_the_names_of_their_classes() -> None:
    both = run(0, HEALTHY, accuracy([[3, 1], [0, 4]], ["sick", "well"]))
    one = run(1, HEALTHY, accuracy([[2]], ["well"]))  # this window saw one class only
    found = pool([both, one, run(2)])
    assert (found["accuracy"].value, found["accuracy"].n, found["accuracy"].windows) == (0.9, 10, 2)
    assert found["recall"].value == 0.75
    low, high = found["accuracy"].low, found["accuracy"].high
    # By hand: Wilson's interval of 9 of 10.
    assert (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4)) == (0.5958, 0.9821)


def test_without_one_positive_class_nothing_that_depends_on_it_is_pooled() -> None:
    mixed = [
        run(0, HEALTHY, accuracy([[3, 1], [0, 4]], ["sick", "well"], "sick")),
        run(1, HEALTHY, accuracy([[3, 1], [0, 4]], ["sick", "well"], "well")),
    ]
    assert set(pool(mixed)) == {"accuracy", "balanced_accuracy", "mcc"}


def test_nothing_is_pooled_without_labels() -> None:
    assert pool([run(0), run(1, HEALTHY, accuracy([], []))]) == {}


def test_windows_that_share_time_are_noticed() -> None:
    assert not overlap([run(0), run(1), run(3)])
    assert overlap([run(0), replace(run(0), end=START + MINUTE)])


def test_many_windows_become_hours_and_more_become_days() -> None:
    runs = [run(number) for number in range(0, 288, 2)]
    assert step_of(runs, "UTC", 144) is Step.WINDOW
    assert step_of(runs, "UTC", 143) is Step.HOUR
    assert step_of(runs, "UTC", 23) is Step.DAY


def test_a_day_is_one_of_the_monitors_time_zone() -> None:
    runs = [run(number, minutes=60) for number in range(24)]
    days = condense(runs, Step.DAY, "Europe/Berlin")
    assert [(day.start, day.end - day.start) for day in days] == [
        (START - timedelta(hours=1), timedelta(days=1)),
        (START + timedelta(hours=23), timedelta(days=1)),
    ]


def test_an_hour_has_the_worst_status_and_the_median_between_the_extremes() -> None:
    requests = Metric("requests", MetricType.HEALTH, 4.0, 4, UNKNOWN)
    runs = [
        run(0, HEALTHY, score(0.1), requests, accuracy([[3, 1], [0, 4]], ["sick", "well"])),
        run(1, CRITICAL, score(0.9, CRITICAL), requests),
        run(2, UNKNOWN, score(None, UNKNOWN), requests, accuracy([[2]], ["well"])),
    ]
    (hour,) = condense(runs, Step.HOUR, "UTC")
    image, right = hour.metric("image"), hour.metric("accuracy")
    assert hour.drift is CRITICAL
    assert (image.value, image.low, image.high, image.n, image.status) == (0.5, 0.1, 0.9, 30, CRITICAL)
    assert hour.metric("requests").value == 12.0
    assert (right.value, right.n) == (0.9, 10)
    assert right.low < 0.9 < right.high
    assert condense(runs, Step.WINDOW, "UTC") == tuple(runs)


def test_worst_is_the_metrics_own_way() -> None:
    low, high = accuracy([[1, 3], [0, 4]], ["sick", "well"]), accuracy([[4, 0], [0, 4]], ["sick", "well"])
    runs = [run(0, HEALTHY, score(0.1), high), run(1, WARNING, score(0.5, WARNING), low), run(2)]
    thresholds = parse_thresholds({"image": {"type": "drift", "soft": 0.4, "hard": 0.6}})
    image, right = metrics(runs, pool(runs), thresholds)
    assert (image.worst, image.best, image.worst_at, image.windows) == (0.5, 0.1, START + 5 * MINUTE, 2)
    assert (image.warnings, image.criticals, image.pooled, image.threshold) == (
        1,
        0,
        None,
        thresholds["image"],
    )
    assert (right.worst, right.best, right.median, right.n) == (0.625, 1.0, 0.8125, 16)
    assert right.pooled.n == 16


def test_evidence_tells_the_highest_and_each_alarm() -> None:
    def at(number: int, log_e: float, alarm_at: datetime | None, feature: str = "contrast") -> MonitorRun:
        found = EvidenceResult(log_e, log_e, alarm_at is not None, alarm_at, START, feature, 3.0, 10)
        return replace(run(number), evidence=found)

    first, second = START + 6 * MINUTE, START + 21 * MINUTE
    runs = [
        at(0, 1.0, None), at(1, 9.0, first), at(2, 12.0, first, "sharpness"),
        at(3, 0.0, None), at(4, 8.0, second),
    ]  # fmt: skip
    found = evidence([*runs, run(5)])
    assert (found.windows, found.highest, found.highest_at) == (5, 12.0, START + 15 * MINUTE)
    assert [(alarm.raised_at, alarm.windows, alarm.feature) for alarm in found.alarms] == [
        (first, 2, "sharpness"),
        (second, 1, "contrast"),
    ]
    assert evidence([run(0)]) is None


def test_every_further_look_at_a_window_is_a_revision() -> None:
    later = replace(
        run(0, CRITICAL), revision=2, cause=Cause.LATE_LABELS, created_at=START + timedelta(days=3)
    )
    (found,) = revisions([run(0), run(1), later])
    assert (found.revision, found.cause, found.before, found.after) == (2, "late labels", HEALTHY, CRITICAL)


def move(minutes: int, after: MonitorState) -> Transition:
    return Transition(str(minutes), "m", MonitorState.READY, after, "me", "", START + minutes * MINUTE)


def test_a_monitor_is_active_from_its_start_to_its_stop() -> None:
    moves = [
        move(-60, MonitorState.ACTIVE), move(-30, MonitorState.READY), move(7, MonitorState.ACTIVE),
        move(20, MonitorState.ERROR), move(40, MonitorState.ACTIVE),
    ]  # fmt: skip
    assert active(moves, START, START + 60 * MINUTE) == [
        (START + 7 * MINUTE, START + 20 * MINUTE),
        (START + 40 * MINUTE, START + 60 * MINUTE),
    ]


def test_windows_that_were_due_and_have_no_result_stand_in_rows() -> None:
    spans = [((START + 7 * MINUTE, START + 42 * MINUTE), MonitorConfig())]
    waiting = [(START + 35 * MINUTE, START + 40 * MINUTE)]
    # Due are the windows at 5, 10, ..., 35; the one at 40 was under way at the stop.
    found = absent([run(3), run(4)], START, spans, waiting)
    assert found == (
        Absent(START + 5 * MINUTE, START + 15 * MINUTE, 2, 0),
        Absent(START + 25 * MINUTE, START + 40 * MINUTE, 3, 1),
    )
    assert (
        absent([], START + 30 * MINUTE, spans, [])[0].windows == 2
    )  # what begins before is another report's


def test_each_time_has_the_windows_of_its_own_configuration() -> None:
    hourly = MonitorConfig(frequency_minutes=60)
    versions = [
        ConfigVersion("1", "m", 1, MonitorConfig(), "me", START - timedelta(days=1)),
        ConfigVersion("2", "m", 2, hourly, "me", START + timedelta(hours=1)),
    ]
    spans = governed([(START, START + timedelta(hours=3))], versions, hourly)
    assert [(high - low, config.frequency_minutes) for (low, high), config in spans] == [
        (timedelta(hours=1), 5),
        (timedelta(hours=2), 60),
    ]
    assert sum(row.windows for row in absent([], START, spans, [])) == 14
    assert governed([(START, START + MINUTE)], [], hourly) == [((START, START + MINUTE), hourly)]


def test_a_change_of_configuration_names_its_fields() -> None:
    versions = [
        ConfigVersion("1", "m", 1, MonitorConfig(), "me", START - MINUTE),
        ConfigVersion("2", "m", 2, MonitorConfig(minimum_samples=9), "you", START),
        ConfigVersion("3", "m", 3, MonitorConfig(), "me", START + timedelta(days=1)),
    ]
    (change,) = config_changes(versions, START, START + timedelta(days=1))
    assert (change.number, change.by) == (2, "you")
    assert [(item.field, item.before, item.after) for item in change.changes] == [("minimum_samples", 5, 9)]


def test_the_hash_depends_on_values_and_not_on_their_order() -> None:
    assert digest({"a": 1, "b": [0.1, None]}) == digest(json.loads('{"b": [0.1, null], "a": 1}'))
    assert digest({"a": 1}) != digest({"a": 2})
