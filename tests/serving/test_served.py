"""The numbers and the counts of what was served, without a collector."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidegauge.domain.capture import Capture, reported
from tidegauge.domain.events import SERVED_TYPE, Event
from tidegauge.serving import served as module
from tidegauge.serving.served import Served

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(clock: Clock) -> Served:
    return Served(clock)


def told(served: Served) -> dict[str, tuple[int | None, int, int]]:
    """Return what a report tells: served, overflow and refused, by the minute."""
    _, reports = served.report()
    return {
        f"{c.minute:%H:%M}": (c.served, c.overflow, c.refused) for data in reports for c in captures(data)
    }


def captures(data: bytes) -> list[Capture]:
    return reported("d", Event("r", "/s", SERVED_TYPE, NOW, "application/json", data))


def test_numbers_begin_at_one_and_count_every_request(served: Served):
    numbers = [served.number(NOW + n * MINUTE) for n in range(3)]
    served.lose(numbers[1], "overflow")
    served.lose(served.number(NOW), "refused")
    assert [number.sequence for number in numbers] == [1, 2, 3]
    assert {number.sender for number in numbers} == {served.sender}
    assert Served().sender != served.sender
    assert told(served) == {"03:04": (2, 0, 1), "03:05": (1, 1, 0), "03:06": (1, 0, 0)}


def test_only_minutes_that_changed_are_told_again_and_with_all_that_is_known(served: Served):
    served.number(NOW)
    served.number(NOW + MINUTE)
    told(served)
    assert told(served) == {}
    served.number(NOW)
    assert told(served) == {"03:04": (2, 0, 0)}


def test_a_report_that_did_not_come_through_is_told_again_with_what_came_meanwhile(served: Served):
    served.number(NOW)
    minutes, _ = served.report()
    served.number(NOW)
    served.not_told(minutes)
    assert told(served) == {"03:04": (2, 0, 0)}


def test_a_report_is_due_as_ten_seconds_of_the_clock_end_or_at_once_at_the_end(served: Served, clock: Clock):
    clock.now = 112.5
    assert not served.has_news()  # nothing to tell
    served.number(NOW)
    assert served.has_news()
    told(served)
    served.number(NOW)
    assert not served.has_news()
    assert served.has_news(at_once=True)
    assert served.seconds() == 7.5
    clock.now = 120.0
    assert served.has_news()


def test_many_minutes_are_told_sooner_and_in_parts(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    for n in range(5):
        served.number(NOW + n * MINUTE)
    assert served.has_news()
    assert list(told(served)) == ["03:04", "03:05", "03:06"]
    assert list(told(served)) == ["03:07", "03:08"]


def test_what_changed_long_ago_is_forgotten(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    for n in (0, 1, 0, 2):
        served.number(NOW + n * MINUTE)
    assert told(served) == {"03:04": (2, 0, 0), "03:06": (1, 0, 0)}


def test_past_the_last_number_another_sender_begins(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LAST", 2)
    numbers = [served.number(NOW) for _ in range(3)]
    assert [number.sequence for number in numbers] == [1, 2, 1]
    assert numbers[2].sender != numbers[0].sender
    _, reports = served.report()
    found = {c.sender: c.served for data in reports for c in captures(data)}
    assert found == {numbers[0].sender: 2, numbers[2].sender: 1}
