"""Repeated events: acknowledged only when the first of them is safe, and stored once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parts_collector import build, principal, report
from tidegauge.domain.cloudevents import Decoded
from tidegauge.domain.events import RESPONSE_TYPE, Event
from tidegauge.errors import UnavailableError
from tidegauge.services.collector import Hooks, Taken
from tidegauge.services.repeats import Repeats, key_of
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Record, Segments

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(name: str, source: str = "/s", type_: str = "request") -> Event:
    return Event(name, source, type_, NOW, "a/b", b"data")


def test_source_id_type_and_deployment_tell_events_apart(tmp_path: Path) -> None:
    collector = build(tmp_path / "segments", ObjectStore(str(tmp_path / "store")))
    sent = [event("1"), event("1", "/t"), event("1", "/s", "response"), event("2"), event("1")]
    assert report(collector, "d1", sent, NOW) == Taken(4, 1)
    assert report(collector, "d2", sent[:1], NOW) == Taken(1, 0)
    assert report(collector, "d1", sent, NOW) == Taken(0, 5)
    collector.close()


def test_the_newest_are_remembered_and_no_more_than_twice_as_many() -> None:
    repeats = Repeats(most=10)
    keys = [key_of("d", "/s", str(n), "request") for n in range(1000)]
    for key in keys:
        repeats.put(key, None)
    assert all(repeats.before(key) for key in keys[-10:])
    assert sum(bool(repeats.before(key)) for key in keys) <= 20
    repeats.fill(reversed(keys))
    assert all(repeats.before(key) for key in keys[-10:])


def test_a_repeat_waits_for_the_first_and_fails_with_it(tmp_path: Path) -> None:
    class Slow(Segments):
        failing = True

        def append(self, records: Sequence[Record]) -> None:
            seen.append(len(records))
            held.wait(10)
            if self.failing:
                raise UnavailableError("the disk is full")
            super().append(records)

    seen: list[int] = []
    held = threading.Event()
    collector = build(tmp_path / "unused", ObjectStore(str(tmp_path / "store")))
    slow = Slow(tmp_path / "segments")
    collector._journal, collector._commits._append = slow, slow.append

    def take() -> asyncio.Task[Taken]:
        return asyncio.create_task(collector.take(principal(), "d1", Decoded([event("1")], [0]), NOW))

    async def run() -> None:
        first, second = take(), take()
        await asyncio.sleep(0.05)
        assert not second.done()
        first.cancel()  # its sender went away: that is nothing to the others
        held.set()
        with pytest.raises(UnavailableError, match="full"):
            await second
        slow.failing = False
        assert await take() == Taken(1, 0)  # what failed is not known
        assert await take() == Taken(0, 1)

    asyncio.run(run())
    assert seen == [1, 1]
    collector.close()


def test_what_was_served_twice_under_one_id_is_told_by_both_of_its_numbers(tmp_path: Path) -> None:
    noted: list[Record] = []
    store = ObjectStore(str(tmp_path / "store"))
    collector = build(tmp_path / "segments", store, hooks=Hooks(noted=noted.extend))
    first, second = (
        Event("1", "/s", RESPONSE_TYPE, NOW, "a/b", b"data", {"sender": "x", "sequence": n}) for n in (1, 2)
    )
    report(collector, "d1", [first], NOW)
    report(collector, "d1", [second], NOW)
    collector.flush()
    assert [(each.event.extensions["sequence"], each.event.data) for each in noted] == [
        (1, b"data"),
        (2, b""),
    ]
    assert len(list(collector.log.read("d1", NOW, NOW.replace(hour=13)))) == 1
    collector.flush()
    assert len(noted) == 2
    collector.close()


def test_after_a_start_what_the_log_got_last_is_known(tmp_path: Path) -> None:
    recent = [key_of("d1", "/s", "1", "request")]
    store = ObjectStore(str(tmp_path / "store"))
    collector = build(tmp_path / "segments", store, hooks=Hooks(recent=lambda: iter(recent)))
    collector.start()
    assert report(collector, "d1", [event("1"), event("2")], NOW) == Taken(1, 1)
    collector.close()
