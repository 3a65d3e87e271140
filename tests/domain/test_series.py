"""Series: what a monitor found, in no more spans than a chart can show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import EvidenceResult, Metric, MonitorRun
from tidegauge.domain.series import COLUMNS, Point, WindowResult, named, series, series_of, values_of
from tidegauge.domain.status import Status

START = datetime(2026, 3, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
HEALTHY, WARNING, CRITICAL, UNKNOWN = Status.HEALTHY, Status.WARNING, Status.CRITICAL, Status.UNKNOWN


def run(
    number: int, score: float | None = 0.1, status: Status = HEALTHY, log_e: float | None = None
) -> MonitorRun:
    metrics = [Metric("image", MetricType.DRIFT, score, 12, status)]
    if number % 2:
        metrics.append(
            Metric("accuracy", MetricType.PERFORMANCE, 0.5 + number / 100, 12, HEALTHY, 0.25, 0.75)
        )
    evidence = None
    if log_e is not None:
        evidence = EvidenceResult(log_e, log_e, log_e > 6, None, None, "sharpness", 1.0, 12)
    start = START + number * STEP
    return MonitorRun(
        f"run-{number}", "monitor", 1, start, start + STEP, 1, start, status, HEALTHY, status, UNKNOWN,
        tuple(metrics), evidence=evidence,
    )  # fmt: skip


def test_few_windows_are_a_span_each() -> None:
    found = series_of([run(0), run(1, 0.5, CRITICAL)])
    assert [(span.start, span.end, span.windows) for span in found.spans] == [
        (START, START + STEP, 1),
        (START + STEP, START + 2 * STEP, 1),
    ]
    assert found.spans[1].status is CRITICAL
    assert found.spans[1].points["accuracy"] == Point(
        pytest.approx(0.51), pytest.approx(0.51), pytest.approx(0.51), 0.25, 0.75
    )
    assert "accuracy" not in found.spans[0].points
    assert found.metrics(MetricType.PERFORMANCE) == ("accuracy",)


def test_many_windows_are_joined_with_their_extremes_and_the_worst_status() -> None:
    runs = [run(n, n / 100, CRITICAL if n == 7 else HEALTHY, log_e=float(n == 3)) for n in range(20)]
    found = series_of(runs, most=4)
    assert [span.windows for span in found.spans] == [5, 5, 5, 5]
    second = found.spans[1]
    assert (second.status, second.run_id) == (CRITICAL, "run-7")
    point = second.points["image"]
    assert (point.value, point.least, point.most) == pytest.approx((0.07, 0.05, 0.09))
    assert found.spans[0].evidence == 1.0


def test_of_several_worst_windows_the_last_is_shown() -> None:
    found = series_of([run(0, 0.9, WARNING), run(1, 0.9, WARNING), run(2)], most=1)
    assert found.spans[0].run_id == "run-1"


def test_there_are_never_more_spans_than_asked_for() -> None:
    for count in (1, 479, 480, 481, 1000):
        assert len(series_of([run(n) for n in range(count)]).spans) <= 480


def test_what_has_no_value_is_left_out() -> None:
    found = series_of([run(0, None), run(2, None)])
    assert found.spans[0].points == {}
    assert found.names == ()


def test_names_keep_their_places_when_others_come() -> None:
    before = named((), [run(0)])
    old = WindowResult.of(run(0, 0.25), before)
    names = named(before, [run(1)])
    new = WindowResult.of(run(1, 0.5), names)
    found = series([tuple(getattr(one, name) for name in COLUMNS) for one in (old, new)], names)
    assert [span.points["image"].value for span in found.spans] == [0.25, 0.5]
    assert ["accuracy" in span.points for span in found.spans] == [False, True]
    assert values_of(old.packed, names) == {"image": 0.25}


def test_nothing_is_nothing() -> None:
    assert series_of([]).spans == ()
    assert series([], ()).names == ()


def test_an_alarm_within_a_span_is_seen() -> None:
    found = series_of([run(0, log_e=7.0), run(1, log_e=-1.0)], most=1)
    assert (found.spans[0].alarm, found.spans[0].evidence) == (True, 7.0)
