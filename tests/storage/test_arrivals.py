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
    monkeypatch.setattr(arrivals, "_LIST_SECONDS", 0.0)
    monkeypatch.setattr(arrivals, "_DEAD", arrivals.timedelta(seconds=1))
    monkeypatch.setattr(arrivals, "_LATEST", arrivals.timedelta(seconds=2))


def test_what_arrives_is_safe_at_once_and_goes_to_the_log_as_one(any_store: ObjectStore) -> None:
    journal = Arrivals(any_store)
    journal.append([record("a"), record("b")])
    assert sorted(objects(any_store)) == ["alive", "segment"]
    journal.append([record("c")])
    (name,) = journal.sealed()
    assert [found.event.id for found in journal.read(name).records] == ["a", "b", "c"]
    assert sorted(objects(any_store)) == ["alive", "group", "segment", "segment"]
    assert journal.sealed() == [name]  # until it is in the log
    assert journal.read(name).id == journal.read(name).id == name.rpartition("/")[2].removesuffix(".group")
    journal.discard(name, damaged=False)
    assert (journal.sealed(), sorted(objects(any_store))) == ([], ["alive", "done"])


@pytest.mark.usefixtures("quick")
def test_who_ends_leaves_nothing_but_what_others_are_to_know(any_store: ObjectStore) -> None:
    first, second = Arrivals(any_store), Arrivals(any_store)
    first.append([record("a")])
    for name in first.sealed():
        first.discard(name, damaged=False)
    first.close()
    second.append([record("b")])
    deadline = time.monotonic() + 20
    while "done" in objects(any_store) and time.monotonic() < deadline:
        for name in second.sealed():
            second.discard(name, damaged=False)
        time.sleep(0.2)
    second.close()
    assert objects(any_store) == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("several", [False, True])
def test_what_a_mute_store_carries_out_late_is_not_taken_again(any_store: ObjectStore, several: bool) -> None:
    """A PUT was tried again, its object went to the log and was deleted; then the first try arrives."""
    living, dead, other = Arrivals(any_store), Arrivals(any_store), Arrivals(any_store)
    for journal in (living, dead):
        for name in ("a", "b") if several else ("a",):
            journal.append([record(name)])
        (name,) = journal.sealed()
        path = journal._members(name)[0]
        data = any_store.get(path)
        journal.discard(name, damaged=False)
        any_store.put(path, data)
    other.append([record("z")])
    deadline = time.monotonic() + 10
    while objects(any_store).count("segment") > 1 and time.monotonic() < deadline:
        assert living.sealed() == []
        assert names(other) == [["z"]]
        time.sleep(0.1)
    assert objects(any_store).count("segment") == 1  # that of z


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
    while objects(any_store) != ["alive"] and time.monotonic() < deadline:
        other.sealed()
    assert objects(any_store) == ["alive"]  # that of the dead is gone


def test_a_group_that_is_done_is_not_written_again(any_store: ObjectStore) -> None:
    journal = Arrivals(any_store)
    journal.append([record("a")])
    journal.append([record("b")])
    (name,) = journal.sealed()
    any_store.put(name.replace(".group", ".done"), b"")  # as another that adopted it and was killed then does
    any_store.delete(next(info.path for info in any_store.list(FOLDER) if info.path.endswith(".segment")))
    assert journal.read(name).records == []
    journal.discard(name, damaged=False)
    assert sorted(objects(any_store)) == ["alive", "done"]


def adopted(journal: Arrivals) -> list[list[str]]:
    """Return what is adopted, as soon as something is."""
    deadline = time.monotonic() + 20
    while not (found := journal.sealed()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [[each.event.id for each in journal.read(name).records] for name in found]


@pytest.mark.usefixtures("quick")
def test_who_was_adopted_begins_a_new_life_and_makes_no_group_of_the_old(any_store: ObjectStore) -> None:
    late, other = Arrivals(any_store), Arrivals(any_store)
    for name in ("a", "b"):
        late.append([record(name)])
    assert adopted(other) == [["a"], ["b"]]
    assert late.sealed() == []
    late.append([record("c")])
    assert [ids for ids in names(late) if ids == ["c"]] == [["c"]]


@pytest.mark.usefixtures("quick")
def test_a_group_that_comes_after_the_adoption_does_not_count(any_store: ObjectStore) -> None:
    """The store takes its time over a group, and meanwhile another writes one of its members to the log."""
    late, other, third = Arrivals(any_store), Arrivals(any_store), Arrivals(any_store)
    for name in ("a", "b"):
        late.append([record(name)])
    form = late._form

    def stalled() -> None:
        assert adopted(other) == [["a"], ["b"]]
        other.discard(other.sealed()[0], damaged=False)
        form()

    late._form = stalled  # type: ignore[method-assign]
    assert late.sealed() == []
    assert objects(any_store).count("group") == 1  # it names one arrival that is gone
    assert adopted(third) == [["b"]]
    for name in third.sealed():
        third.discard(name, damaged=False)
    deadline = time.monotonic() + 20
    while set(objects(any_store)) != {"alive"} and time.monotonic() < deadline:
        third.sealed()
    assert set(objects(any_store)) == {"alive"}


@pytest.mark.usefixtures("quick")
def test_a_group_that_counts_is_adopted_as_one(any_store: ObjectStore) -> None:
    slow, other = Arrivals(any_store), Arrivals(any_store)
    for name in ("a", "b"):
        slow.append([record(name)])
    (group,) = slow.sealed()
    assert adopted(other) == [["a", "b"]]
    assert other.sealed() == [group]  # both write the same files of the log
    other.discard(group, damaged=False)
    assert slow.read(group).records == []
    any_store.delete(next(info.path for info in any_store.list(FOLDER) if info.path.endswith(".done")))
    with pytest.raises(UnavailableError, match="adopted"):  # minutes later
        slow.read(group)
    assert slow.sealed() == []


@pytest.mark.usefixtures("quick")
def test_a_group_that_cannot_be_read_holds_up_nothing(
    any_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    dead, other = Arrivals(any_store), Arrivals(any_store)
    for name in ("a", "b"):
        dead.append([record(name)])
    (group,) = dead.sealed()
    any_store.put(group, b"no JSON")
    assert adopted(other) == [["a"], ["b"]]
    assert "cannot be read, and its arrivals go to the log alone" in caplog.text


class Slow(ObjectStore):
    """A store in which something else happens while it takes an object."""

    def replace(self, path: str, data: bytes, tag: str | None = None) -> None:
        super().replace(path, data, tag)
        if path.endswith(".segment"):
            self.meanwhile()


@pytest.mark.usefixtures("quick")
def test_what_arrives_for_a_former_life_is_left_to_be_adopted(tmp_path: Any) -> None:
    store = Slow(str(tmp_path))
    late, other = Arrivals(store), Arrivals(store)

    def be_adopted() -> None:
        adopted(other)
        late.sealed()

    store.meanwhile = be_adopted
    late.append([record("a")])
    other._listed_at = float("inf")  # it leaves it alone from now on
    assert names(late) == []
    assert adopted(late) == [["a"]]


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
    assert sorted(objects(any_store)) == ["alive", "damaged", "done"]
    assert journal.sealed() == []
