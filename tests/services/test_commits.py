"""Group commit: few writes for many, an error for all of a group, and nothing that hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from tidegauge.domain.events import Event
from tidegauge.errors import UnavailableError
from tidegauge.services.commits import Commits
from tidegauge.storage.segments import Record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(name: str) -> Record:
    return Record("d", NOW, Event(name, "/d", "request", NOW, "a/b", b""))


class Disk:
    """Takes its time, and fails where it is told to."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.groups: list[list[str]] = []
        self.failing: set[str] = set()
        self.at_once = 0
        self._seconds = seconds
        self._now = 0
        self._lock = threading.Lock()

    def append(self, records: Sequence[Record]) -> None:
        with self._lock:
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
            self.groups.append([each.event.id for each in records])
        if self.failing.intersection(self.groups[-1]):
            raise UnavailableError("the disk is full")


def test_those_that_come_while_others_are_written_go_together() -> None:
    disk = Disk()

    async def run() -> None:
        commits = Commits(disk.append)
        first = commits.add([record("first")])
        await asyncio.sleep(0.005)  # it is on its way
        await asyncio.gather(*(commits.add([record(str(n)), record(f"{n}b")]) for n in range(50)))
        assert first.done()
        commits.close()

    asyncio.run(run())
    assert disk.groups[0] == ["first"]
    assert [len(group) for group in disk.groups] == [1, 100]
    assert disk.groups[1][:4] == ["0", "0b", "1", "1b"]
    assert disk.at_once == 1


def test_some_groups_may_be_on_their_way_at_once() -> None:
    disk = Disk(0.05)

    async def run() -> None:
        commits = Commits(disk.append, at_once=3)
        waited = []
        for n in range(10):
            waited.append(commits.add([record(str(n))]))
            await asyncio.sleep(0.002)
        await asyncio.gather(*waited)
        commits.close()

    asyncio.run(run())
    assert disk.at_once == 3
    assert sorted(name for group in disk.groups for name in group) == [str(n) for n in range(10)]


def test_an_error_is_that_of_the_whole_group_and_of_no_other() -> None:
    disk = Disk()
    disk.failing = {"bad"}

    async def run() -> list[BaseException | None]:
        commits = Commits(disk.append)
        first = commits.add([record("first")])
        await asyncio.sleep(0.005)
        group = [commits.add([record(name)]) for name in ("a", "bad", "b")]
        answers = await asyncio.gather(first, *group, return_exceptions=True)
        await commits.add([record("after")])
        commits.close()
        return answers

    first, *others = asyncio.run(run())
    assert first is None
    assert all(isinstance(answer, UnavailableError) for answer in others)
    assert disk.groups[-1] == ["after"]


def test_closing_writes_what_is_on_its_way_and_refuses_the_rest() -> None:
    disk = Disk(0.1)

    async def run() -> None:
        commits = Commits(disk.append)
        under_way = commits.add([record("a")])
        await asyncio.sleep(0.02)
        waiting = commits.add([record("b")])
        commits.close()
        await under_way
        with pytest.raises(UnavailableError, match="closed"):
            await waiting
        with pytest.raises(UnavailableError, match="closed"):
            commits.add([record("c")])

    asyncio.run(run())
    assert disk.groups == [["a"]]
