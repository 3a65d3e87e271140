from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from report_rows import MINUTES, START, add_history, add_monitor, add_span, look_again
from tidegauge.app import build_services
from tidegauge.domain.report import Made, Report, Step, digest, document
from tidegauge.domain.status import Status
from tidegauge.errors import InvalidInputError
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

WINDOW = timedelta(minutes=MINUTES)
NOW = START + timedelta(days=40)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(load_settings(tmp_path, {"port": 1}, {}), lambda: NOW)
    yield services
    services.database.close()


def make(services: Services, start: datetime, end: datetime) -> tuple[Report, Made]:
    (monitor,) = services.database.monitors.where()
    return services.reports.make(monitor, start, end, "operator")


def fill(services: Services, windows: int) -> datetime:
    """Add a monitor with so many windows and their history; return the end."""
    monitor = add_monitor(services.database)
    end = START + windows * WINDOW
    add_span(services.database, monitor, windows)
    add_history(services.database, monitor, end)
    return end


def test_a_span_without_runs_says_so(services: Services) -> None:
    add_monitor(services.database)
    report, _ = make(services, START, START + timedelta(days=1))
    assert "looked at no window of chest-xray" in report.summary[0]
    assert (report.shares, report.metrics, report.series, report.evidence) == ((), (), (), None)


def test_the_end_must_come_after_the_start(services: Services) -> None:
    add_monitor(services.database)
    for end in (START, START - WINDOW):
        with pytest.raises(InvalidInputError, match="not after start") as caught:
            make(services, START, end)
        assert caught.value.errors[0].field == "end"


def test_only_windows_that_begin_in_the_span_count(services: Services) -> None:
    end = fill(services, 30)
    report, _ = make(services, START + 10 * WINDOW, end - 10 * WINDOW)
    assert report.shares[0].windows == 10
    assert report.series[0].start == START + 10 * WINDOW
    assert report.firings == ()  # its window is the last of all


def test_what_people_and_alerts_did_is_in_the_report(services: Services) -> None:
    report, _ = make(services, START, fill(services, 30))
    (firing,) = report.firings
    assert firing.event.summary == "accuracy was 0.61, surely below 0.85"
    assert [(sent.channel, sent.state) for sent in firing.notified] == [("duty-doctor", "sent")]
    assert report.acknowledgements[0].by == "dr-miller"
    assert report.maintenances[0].reason == "scanner service"
    assert [change.why for change in report.transitions] == ["started"]
    assert report.subject.alerts[0].channels == ("duty-doctor",)
    assert report.subject.baseline_made_at == START - timedelta(minutes=57)
    assert report.config_versions == (1,)
    assert len(report.evidence.alarms) == 1


def test_a_window_without_a_result_is_named(services: Services) -> None:
    end = fill(services, 30)
    assert make(services, START, end)[0].absent == ()
    runs = services.database.monitor_runs
    for run in runs.where(sort="start")[4:6]:
        runs.delete(run.id)
    report, _ = make(services, START, end)
    assert [(row.start, row.end, row.windows) for row in report.absent] == [
        (START + 4 * WINDOW, START + 6 * WINDOW, 2)
    ]
    assert "2 windows that were due have no result." in report.summary


def test_what_is_not_due_yet_is_not_missed(services: Services) -> None:
    end = fill(services, 30)
    assert make(services, START, end + timedelta(days=2))[0].absent == ()


def test_the_latest_revision_counts_and_the_change_is_listed(services: Services) -> None:
    end = fill(services, 12)
    first = services.database.monitor_runs.where(sort="start", limit=1)[0]
    look_again(services.database, first, status=Status.WARNING, problems=("row 7 has no class",))
    report, _ = make(services, START, end)
    assert report.shares[0].windows == 12
    assert report.series[0].status is Status.WARNING
    (revision,) = report.revisions
    assert (revision.cause, revision.after) == ("late labels", Status.WARNING)
    assert "1 result was revised (1 by late labels); 1 of these changed the status." in report.summary
    assert [problem.text for problem in report.problems] == ["row 7 has no class"]


def test_the_same_rows_give_the_same_hash_and_others_another(services: Services) -> None:
    end = fill(services, 12)
    (monitor,) = services.database.monitors.where()
    one, other = (services.reports.make(monitor, START, end, by)[1] for by in ("operator", "auditor"))
    assert one.sha256 == other.sha256
    first = services.database.monitor_runs.where(sort="start", limit=1)[0]
    look_again(services.database, first, status=Status.WARNING)
    assert make(services, START, end)[1].sha256 != one.sha256


def test_the_hash_can_be_checked_from_the_file_alone(services: Services) -> None:
    report, made = make(services, START, fill(services, 12))
    whole = json.loads(document(report, made))
    assert digest(whole["report"]) == whole["made"]["sha256"] == made.sha256
    assert whole["report"]["form"] == "tidegauge-report/1"
    assert len(whole["report"]["series"]) == 12
    whole["report"]["shares"][0]["critical"] += 1
    assert digest(whole["report"]) != made.sha256


def test_no_image_leaves_unasked(services: Services) -> None:
    report, made = make(services, START, fill(services, 12))
    text = document(report, made).decode()
    assert "person1-virus" not in text
    assert "IM-0115" not in text
    assert "s3cret" not in text


def test_values_that_json_cannot_say_are_left_out(services: Services) -> None:
    end = fill(services, 3)
    first = services.database.monitor_runs.where(sort="start", limit=1)[0]
    look_again(
        services.database, first, metrics=(replace(first.metrics[0], detail={}, low=float("-inf"), high=0.5),)
    )
    report, made = make(services, START, end)
    point = json.loads(document(report, made))["report"]["series"][0]
    assert (point["metrics"]["image"]["low"], point["metrics"]["image"]["high"]) == (None, 0.5)


def test_more_than_two_thousand_windows_are_drawn_by_the_hour(services: Services) -> None:
    monitor = add_monitor(services.database)
    add_span(services.database, monitor, 2001)
    report, _ = make(services, START, START + timedelta(days=30))
    assert report.step is Step.HOUR
    assert len(report.series) == 167  # 2,001 windows of five minutes: 166 hours and a bit
    assert report.shares[0].windows == 2001
    assert report.metrics[0].windows == 2001
