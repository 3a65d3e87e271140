"""What collectors take down of senders, on both databases."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from parts_prometheus import add_deployment
from tidegauge.domain.capture import Coverage, report
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE, SERVED_TYPE, Event
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.services.captures import LOSS, Captures
from tidegauge.storage.database import Database
from tidegauge.storage.segments import Record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    now = NOW + timedelta(hours=1)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def captures(database: Database, clock: Clock) -> Captures:
    return Captures(database, clock)


@pytest.fixture
def deployment(database: Database) -> str:
    return deploy(database, "xray")


def deploy(database: Database, name: str) -> str:
    return add_deployment(database, name, NOW).id


def pair(deployment: str, number: object, minute: int = 0, sender: str = "s") -> list[Record]:
    extensions = {"sender": sender, "sequence": number}
    at = NOW + minute * MINUTE + timedelta(seconds=7)
    return [
        Record(deployment, NOW, Event(f"{sender}-{number}", "/s", type_, at, "a/b", b"", extensions))
        for type_ in (REQUEST_TYPE, RESPONSE_TYPE)
    ]


def told(deployment: str, *counts: tuple[int, int, int, int], sender: str = "s") -> Record:
    """Return a report of (minute, served, overflow, refused)."""
    names = ("minute", "served", "overflow", "refused")
    minutes = [dict(zip(names, (NOW + n * MINUTE, *rest), strict=True)) for n, *rest in counts]
    data = report(sender, minutes)
    return Record(deployment, NOW, Event(new_id(), "/s", SERVED_TYPE, NOW, "application/json", data))


def total(captures: Captures, deployment: str, first: int = 0, last: int = 1) -> Coverage:
    return captures.of_span(deployment, NOW + first * MINUTE, NOW + last * MINUTE).total


def test_numbers_and_reports_come_to_what_the_log_has(captures: Captures, deployment: str):
    captures.note([*pair(deployment, 1), *pair(deployment, 2), *pair(deployment, 6, minute=1)])
    captures.note([told(deployment, (0, 5, 2, 1), (1, 1, 0, 0))])
    assert total(captures, deployment) == Coverage(5, 2, 2, 1, 0)
    assert total(captures, deployment, 0, 2) == Coverage(6, 3, 2, 1, 0)


def test_to_note_again_and_in_another_order_changes_nothing(
    captures: Captures, deployment: str, database: Database
):
    segments = [
        [*pair(deployment, 1), told(deployment, (0, 1, 0, 0))],
        [*pair(deployment, 3), *pair(deployment, 4, minute=1)],
        [told(deployment, (0, 3, 1, 0), (1, 1, 0, 0))],
    ]
    for segment in segments:
        captures.note(segment)
    rows = database.captures.where()
    for segment in reversed(segments):
        captures.note(segment)
    assert database.captures.where() == rows
    assert total(captures, deployment, 0, 2) == Coverage(4, 3, 1, 0, 0)


def test_senders_and_deployments_are_counted_apart(captures: Captures, deployment: str, database: Database):
    other = deploy(database, "other")
    captures.note(
        [*pair(deployment, 1), *pair(deployment, 3), *pair(deployment, 1, sender="t"), *pair(other, 9)]
    )
    found = captures.of_span(deployment, NOW, NOW + MINUTE)
    assert found.senders == {"s": Coverage(3, 2, missing=1), "t": Coverage(1, 1)}
    assert found.total == Coverage(4, 3, missing=1)
    assert total(captures, other) == Coverage(1, 1)


def test_a_gap_after_a_long_silence_is_seen_and_numbers_of_long_ago_are_none(
    captures: Captures, deployment: str
):
    captures.note(
        [*pair(deployment, 1, minute=-600), *pair(deployment, 4), *pair(deployment, 3, minute=-700)]
    )
    assert total(captures, deployment) == Coverage(1, 1)
    captures.note(pair(deployment, 7))
    assert total(captures, deployment) == Coverage(4, 2, missing=2)


def test_what_cannot_be_read_is_passed_over(
    captures: Captures, deployment: str, database: Database, caplog: pytest.LogCaptureFixture
):
    bad = told(deployment, (0, 1, 0, 0))
    bad = replace(bad, event=replace(bad.event, data=b"{}"))
    captures.note([bad, *pair(deployment, "A7"), *pair("gone", 1), *pair(deployment, 1)])
    assert [capture.numbers for capture in database.captures.where()] == [((1, 1),)]
    assert "cannot be read" in caplog.text


def test_collectors_that_hear_of_the_same_minutes_at_once_lose_nothing(
    database: Database, deployment: str, clock: Clock
):
    def collect(part: int) -> None:
        captures = Captures(database, clock)
        for number in range(part, 100, 4):
            captures.note(
                [*pair(deployment, number + 1, number % 3), told(deployment, (number % 3, number, 0, 0))]
            )

    threads = [threading.Thread(target=collect, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = database.captures.where(sort="minute")
    assert [row.captured for row in rows] == [34, 33, 33]
    assert [row.served for row in rows] == [99, 97, 98]


def test_a_minute_that_came_after_the_lock_is_not_overwritten(
    postgres_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """One collector adds it after another has locked what there is, and before that one reads."""
    database = Database(postgres_url)
    database.migrate()
    deployment = deploy(database, "xray")
    captures, other = Captures(database, clock), Captures(database, clock)
    lock, where = database.captures.lock, database.captures.where

    def in_a_thread(number: int) -> None:
        thread = threading.Thread(target=other.note, args=(pair(deployment, number),))
        thread.start()
        thread.join(20)

    def locked(*ids: str) -> list[str]:
        monkeypatch.undo()
        found = lock(*ids)
        in_a_thread(1)
        monkeypatch.setattr(database.captures, "where", read)
        return found

    def read(**wanted: Any) -> Any:
        monkeypatch.undo()
        found = where(**wanted)
        in_a_thread(2)
        return found

    monkeypatch.setattr(database.captures, "lock", locked)
    captures.note(pair(deployment, 3))
    assert total(captures, deployment) == Coverage(3, 3)
    database.close()


def test_many_minutes_are_taken_down_in_parts(
    captures: Captures, deployment: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tidegauge.services.captures._AT_ONCE", 3)
    captures.note([record for n in range(10) for record in pair(deployment, n + 1, n)])
    assert total(captures, deployment, 0, 10) == Coverage(10, 10)


def test_rows_go_after_thirty_days(captures: Captures, deployment: str, database: Database, clock: Clock):
    captures.note(pair(deployment, 1))
    clock.now = NOW + timedelta(days=30, minutes=2)
    captures.note(pair(deployment, 2, minute=43_200))
    assert [row.captured for row in database.captures.where()] == [1]
    assert total(captures, deployment, 43_200, 43_201) == Coverage(1, 1)  # 1 is no gap: it is not known


def test_minutes_that_are_not_kept_or_are_far_ahead_are_left_out(
    captures: Captures, deployment: str, database: Database
):
    day = 24 * 60
    kept = (-30 * day + 61, 25 * 60)  # it is 13:00
    for minute in (-30 * day + 59, *kept, 25 * 60 + 1, 74 * 365 * day):
        captures.note([*pair(deployment, 1, minute), told(deployment, (minute, 1, 0, 0))])
    minutes = [capture.minute for capture in database.captures.where(sort="minute")]
    assert minutes == [NOW + minute * MINUTE for minute in kept]


def test_a_deployment_that_is_deleted_takes_its_rows_along(
    captures: Captures, deployment: str, database: Database
):
    captures.note(pair(deployment, 1))
    database.deployments.delete(deployment)
    captures.note(pair(deployment, 2))
    assert database.captures.where() == ()


def test_by_default_the_last_day_is_looked_at(captures: Captures, deployment: str):
    captures.note([*pair(deployment, 1, minute=-24 * 60 - 1), *pair(deployment, 2)])
    found = captures.of_span(deployment)
    assert (found.start, found.end) == (Clock.now - timedelta(days=1), Clock.now)
    assert found.total == Coverage(1, 1)


def test_a_window_has_a_metric_and_a_sentence_where_there_is_a_gap(captures: Captures, deployment: str):
    captures.note([*pair(deployment, 1), told(deployment, (0, 4, 2, 0))])
    metric = captures.of_window(deployment, NOW, NOW + 5 * MINUTE)
    assert (metric.name, metric.type, metric.value, metric.n) == ("captured", MetricType.HEALTH, 0.25, 4)
    assert metric.detail == {
        "served": 4,
        "captured": 1,
        "overflow": 2,
        "refused": 0,
        "never_arrived": 1,
        LOSS: "3 of 4 served requests are not in the log: "
        "2 overflowed the model server's queue, 1 never arrived.",
    }


def test_windows_are_widened_to_whole_minutes_and_say_so(captures: Captures, deployment: str):
    captures.note([*pair(deployment, 1), *pair(deployment, 3)])
    start = NOW + timedelta(seconds=30)
    metric = captures.of_window(deployment, start, start + MINUTE)
    assert metric.n == 3
    assert metric.detail[LOSS].endswith("1 never arrived. (Whole minutes, 12:00 to 12:02 UTC.)")


def test_a_window_without_a_gap_has_no_sentence_and_one_without_numbers_no_value(
    captures: Captures, deployment: str
):
    captures.note(pair(deployment, 1))
    whole = captures.of_window(deployment, NOW, NOW + MINUTE)
    assert (whole.value, LOSS in whole.detail) == (1.0, False)
    nothing = captures.of_window(deployment, NOW + MINUTE, NOW + 2 * MINUTE)
    assert (nothing.value, nothing.n, nothing.detail) == (None, 0, {})
