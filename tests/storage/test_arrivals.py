"""Arrivals of a fleet: on a folder and on a bucket, with collectors that die and are late."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tidegauge.domain.events import Event
from tidegauge.errors import UnavailableError
from tidegauge.storage import arrivals
from tidegauge.storage.arrivals import FOLDER, Arrivals
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(name: str, data: bytes = b"payload") -> Record:
    return Record("d", NOW, Event(name, "/deployments/d", "request", NOW, "a/b", data))


def names(journal: Arrivals) -> list[list[str]]:
    return [[found.event.id for found in journal.read(name).records] for name in journal.sealed()]


def objects(store: ObjectStore) -> list[str]:
    return [info.path.rpartition("/")[2].rpartition(".")[2] for info in store.list(FOLDER)]


@pytest.fixture
def any_store(store_url: str) -> ObjectStore:
    return ObjectStore(store_url)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let collectors be dead after a second without a sign of life, by the clock of the store."""
    monkeypatch.setattr(arrivals, "_BEAT_SECONDS", 0.0)
    monkeypatch.setattr(arrivals, "_DEAD", arrivals.timedelta(seconds=1))


def test_what_arrives_is_safe_at_once_and_goes_to_the_log_as_one(any_store: ObjectStore) -> None:
    journal = Arrivals(any_store)
    journal.append([record("a"), record("b")])
    assert objects(any_store) == ["segment"]
    journal.append([record("c")])
    (name,) = journal.sealed()
    assert [found.event.id for found in journal.read(name).records] == ["a", "b", "c"]
    assert sorted(objects(any_store)) == ["alive", "group", "segment", "segment"]
    assert journal.sealed() == [name]  # until it is in the log
    assert journal.read(name).id == journal.read(name).id == name.rpartition("/")[2].removesuffix(".group")
    journal.discard(name, damaged=False)
    assert (journal.sealed(), objects(any_store)) == ([], ["alive"])
    journal.close()
    assert objects(any_store) == []


def test_groups_are_bounded_in_bytes(any_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_GROUP_BYTES", 2500)
    journal = Arrivals(any_store)
    for n in range(5):
        journal.append([record(str(n), bytes(1000))])
    assert names(journal) == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.usefixtures("quick")
def test_what_the_dead_left_is_adopted_group_by_group(any_store: ObjectStore) -> None:
    dead, other = Arrivals(any_store), Arrivals(any_store)
    dead.append([record("a")])
    dead.append([record("b")])
    dead.sealed()
    dead.append([record("c")])  # in no group yet
    other.append([record("z")])
    assert names(other) == [["z"]]  # it may be alive
    deadline = time.monotonic() + 20
    while len(found := other.sealed()) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [[each.event.id for each in other.read(name).records] for name in found] == [
        ["z"],
        ["a", "b"],
        ["c"],
    ]
    for name in found:
        other.discard(name, damaged=False)
    other.sealed()
    assert objects(any_store) == ["alive"]  # that of the dead is gone


def test_a_group_that_lacks_a_member_is_in_the_log_already(any_store: ObjectStore) -> None:
    journal = Arrivals(any_store)
    journal.append([record("a")])
    journal.append([record("b")])
    (name,) = journal.sealed()
    first = next(info.path for info in any_store.list(FOLDER) if info.path.endswith(".segment"))
    any_store.delete(first)  # as another that wrote the group to the log does
    assert journal.read(name).records == []
    journal.discard(name, damaged=False)
    assert objects(any_store) == ["alive"]


@pytest.mark.usefixtures("quick")
def test_a_collector_that_was_away_too_long_leaves_its_arrivals_to_be_adopted(
    any_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Arrivals(any_store)
    late.append([record("a")])
    late.append([record("b")])
    monkeypatch.setattr(arrivals, "_LATE_SECONDS", -1.0)
    assert late.sealed() == []  # who is taken for dead makes no group of what others may be writing
    monkeypatch.setattr(arrivals, "_LATE_SECONDS", 30.0)
    deadline = time.monotonic() + 20
    while not (found := late.sealed()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [[each.event.id for each in late.read(name).records] for name in found] == [["a"], ["b"]]


class Slow(ObjectStore):
    """A store in which something else happens while it takes an object."""

    def replace(self, path: str, data: bytes, tag: str | None = None) -> None:
        super().replace(path, data, tag)
        self.meanwhile()


@pytest.mark.usefixtures("quick")
def test_what_arrives_for_a_former_life_is_left_to_be_adopted(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Slow(str(tmp_path))
    late = Arrivals(store)

    def begin_anew() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(arrivals, "_LATE_SECONDS", -1.0)
            late.sealed()

    store.meanwhile = begin_anew
    late.append([record("a")])
    assert names(late) == []  # others may be about to write it to the log under its own name
    deadline = time.monotonic() + 20
    while not (found := names(late)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == [["a"]]


class Flaky(ObjectStore):
    """A store that does not answer a PUT, after it has written or before."""

    fails = ""

    def replace(self, path: str, data: bytes, tag: str | None = None) -> None:
        if self.fails == "before":
            raise UnavailableError("away")
        super().replace(path, data, tag)
        if self.fails == "after":
            raise UnavailableError("away")


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_was_not_acknowledged_is_taken_back(tmp_path: Any, when: str) -> None:
    store = Flaky(str(tmp_path))
    journal = Arrivals(store)
    store.fails = when
    with pytest.raises(UnavailableError):
        journal.append([record("a")])
    store.fails = ""
    journal.append([record("a")])
    assert names(journal) == [["a"]]
    assert objects(store).count("segment") == 1


def test_a_group_whose_writing_failed_is_the_same_the_next_time(tmp_path: Any) -> None:
    store = Flaky(str(tmp_path))
    journal = Arrivals(store)
    for name in ("a", "b"):
        journal.append([record(name)])
    store.fails = "after"
    with pytest.raises(UnavailableError):
        journal.sealed()
    store.fails = ""
    journal.append([record("c")])
    assert names(journal) == [["a", "b"], ["c"]]
    assert objects(store).count("group") == 1


def test_too_much_that_waits_is_refused(any_store: ObjectStore) -> None:
    journal = Arrivals(any_store, max_waiting_bytes=1500)
    for name in ("a", "b"):
        assert journal.refusal() == ""
        journal.append([record(name, bytes(1000))])
    assert "of at most 1500" in journal.refusal()
    with pytest.raises(UnavailableError, match="of at most 1500"):
        journal.append([record("c")])
    for name in journal.sealed():
        journal.discard(name, damaged=False)
    journal.append([record("c")])


def test_what_is_damaged_is_kept_and_the_rest_is_read(any_store: ObjectStore) -> None:
    journal = Arrivals(any_store)
    journal.append([record("a", b"first"), record("b", b"second"), record("c", b"third")])
    (name,) = journal.sealed()
    any_store.put(name, any_store.get(name).replace(b"second", b"sxcond"))
    segment = journal.read(name)
    assert [found.event.id for found in segment.records] == ["a", "c"]
    journal.discard(name, damaged=True)
    assert sorted(objects(any_store)) == ["alive", "damaged"]
    assert journal.sealed() == []
