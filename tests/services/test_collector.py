from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parts_collector import build, report
from tidegauge.domain.events import Event
from tidegauge.errors import InvalidInputError, NotFoundError, UnavailableError
from tidegauge.services.collector import Collector, Hooks, Limits, Taken
from tidegauge.storage.objects import ObjectStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class FlakyStore(ObjectStore):
    """A store whose writes can be made to fail, as an unreachable bucket's do."""

    down = False

    def put(self, path: str, data: bytes) -> None:
        if self.down:
            raise OSError("connection refused")
        super().put(path, data)


@pytest.fixture
def store(store_url: str) -> FlakyStore:
    return FlakyStore(store_url)


def make(tmp_path: Path, store: ObjectStore, flush_seconds: float = 3600.0, **more: Any) -> Collector:
    services = {("xray", "ward"): "d2"}
    return build(
        tmp_path / "segments",
        store,
        {"d1", "d2"}.__contains__,
        lambda name, namespace: services.get((name, namespace)),
        flush_seconds,
        **more,
    )


@pytest.fixture
def collector(tmp_path: Path, store: FlakyStore) -> Iterator[Collector]:
    made = make(tmp_path, store)
    made.start()
    yield made
    made.close()


def event(name: str, source: str = "/anything", **extensions: str) -> Event:
    return Event(name, source, "request", NOW, "application/json", b"data", extensions)


def logged(collector: Collector, deployment: str = "d1") -> list[str]:
    return [found.id for found in collector.log.read(deployment, NOW - HOUR, NOW + HOUR)]


def test_accepted_events_are_in_the_log_after_a_flush(collector: Collector, tmp_path: Path) -> None:
    assert report(collector, "d1", [event("a"), event("b")], NOW) == Taken(2, 0)
    assert logged(collector) == []
    collector.flush()
    assert logged(collector) == ["a", "b"]
    assert list((tmp_path / "segments").glob("*.segment")) == []
    counts = collector.counts()
    assert (counts.received, counts.refused, counts.bytes, counts.written) == (2, 0, 8, 2)


def test_the_flusher_writes_by_itself(tmp_path: Path, store: FlakyStore) -> None:
    collector = make(tmp_path, store, flush_seconds=0.02)
    collector.start()
    report(collector, "d1", [event("a")], NOW)
    deadline = time.monotonic() + 10
    while logged(collector) != ["a"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert logged(collector) == ["a"]
    collector.close()


def test_close_writes_what_there_is(tmp_path: Path, store: FlakyStore) -> None:
    collector = make(tmp_path, store)
    collector.start()
    report(collector, "d1", [event("a")], NOW)
    collector.close()
    assert logged(collector) == ["a"]
    with pytest.raises(UnavailableError, match="closed"):
        report(collector, "d1", [event("b")], NOW)


def test_an_event_names_its_deployment_by_source_or_service(collector: Collector) -> None:
    sent = [
        event("a", "/deployments/d1"),
        event("b", "https://models.example/deployments/d2"),
        event("c", "http://localhost:9081/", inferenceservicename="xray", namespace="ward"),
    ]
    report(collector, None, sent, NOW)
    collector.flush()
    assert (logged(collector, "d1"), logged(collector, "d2")) == (["a"], ["b", "c"])


def test_an_unknown_deployment_is_named_and_the_others_count(collector: Collector) -> None:
    wrong = [event("b", "/deployments/d9"), event("c", inferenceservicename="xray", namespace="elsewhere")]
    taken = report(collector, None, [event("a", "/deployments/d1"), *wrong], NOW)
    assert (taken.accepted, [error.field for error in taken.refused]) == (
        1,
        ["events[1].source", "events[2].source"],
    )
    assert "'/deployments/d9'" in taken.refused[0].message
    assert "'elsewhere'" in taken.refused[1].message
    with pytest.raises(InvalidInputError) as caught:
        report(collector, None, wrong, NOW)
    assert [error.field for error in caught.value.errors] == ["events[0].source", "events[1].source"]
    with pytest.raises(NotFoundError, match="'d9'"):
        report(collector, "d9", [event("a")], NOW)
    collector.flush()
    assert logged(collector) == ["a"]
    assert (collector.counts().received, collector.counts().refused) == (1, 5)


def test_a_store_that_is_away_costs_nothing_but_time(
    collector: Collector, store: FlakyStore, tmp_path: Path
) -> None:
    store.down = True
    for name in ("a", "b"):
        report(collector, "d1", [event(name)], NOW)
        with pytest.raises(UnavailableError, match="connection refused"):
            collector.flush()
    assert (collector.counts().pending, collector.counts().failure) == (2, "connection refused")
    store.down = False
    collector.flush()
    assert logged(collector) == ["a", "b"]
    assert (collector.counts().pending, collector.counts().failure) == (0, "")


def test_start_goes_on_although_the_store_is_away(tmp_path: Path, store: FlakyStore) -> None:
    first = make(tmp_path, store)
    report(first, "d1", [event("a")], NOW)
    store.down = True
    first.close()
    second = make(tmp_path, store)
    second.start()
    with pytest.raises(UnavailableError):
        second.flush()
    assert second.counts().pending == 1
    store.down = False
    second.close()
    assert logged(second) == ["a"]


def test_a_crash_between_put_and_delete_leaves_each_event_once(tmp_path: Path, store: FlakyStore) -> None:
    first = make(tmp_path, store)
    report(first, "d1", [event("a"), event("b")], NOW)
    (segment,) = (tmp_path / "segments").glob("*.segment")
    kept = segment.read_bytes()
    first.close()
    segment.write_bytes(kept)  # as if the process had died before it could delete it
    second = make(tmp_path, store)
    second.start()
    second.close()
    files = second.log.files("d1")
    assert [record.event.id for path in files for record in second.log.file("d1", path)] == ["a", "b"]


def test_a_damaged_segment_is_kept_and_the_rest_is_written(
    tmp_path: Path, store: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = make(tmp_path, store)
    for name in ("a", "b", "c"):
        report(first, "d1", [event(name, "/source-of-" + name)], NOW)
    store.down = True
    first.close()
    store.down = False
    (segment,) = (tmp_path / "segments").glob("*.segment")
    segment.write_bytes(segment.read_bytes().replace(b"source-of-b", b"source-of-x"))
    second = make(tmp_path, store)
    second.start()
    second.flush()
    assert logged(second) == ["a", "c"]
    assert (second.counts().damaged, second.counts().pending) == (1, 0)
    assert segment.with_suffix(".damaged").exists()
    assert "is damaged" in caplog.text
    second.close()


def test_memory_for_requests_is_bounded(tmp_path: Path, store: FlakyStore) -> None:
    collector = make(tmp_path, store, limits=Limits(waiting_bytes=100))
    with collector.room() as hold:
        hold(200)  # a single request always finds room
    with collector.room() as one, collector.room() as other, collector.room() as third:
        one(30)
        one(30)
        other(40)
        with pytest.raises(UnavailableError, match="later"):
            third(1)
        assert collector.counts().refused == 1
    with collector.room() as hold:
        hold(100)
    collector.close()


def test_many_that_flush_at_once_share_what_one_writes(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, began, go = collector._write_log, threading.Event(), threading.Event()
    writes: list[int] = []

    def slow() -> None:
        writes.append(1)
        began.set()
        assert go.wait(20)
        write()

    monkeypatch.setattr(collector, "_write_log", slow)
    report(collector, None, [event("a", "/deployments/d1")], NOW)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(collector.flush)
        assert began.wait(20)
        report(collector, None, [event("b", "/deployments/d1")], NOW)  # the first may have missed it
        others = [pool.submit(collector.flush) for _ in range(8)]
        deadline = time.monotonic() + 20
        while collector._asked < 9 and time.monotonic() < deadline:
            time.sleep(0.01)
        go.set()
        for one in (first, *others):
            one.result()
    assert len(writes) == 2
    assert sorted(logged(collector, "d1")) == ["a", "b"]


def test_what_is_deleted_while_it_is_written_is_taken_out_again(tmp_path: Path, store: FlakyStore) -> None:
    deleted: set[str] = set()
    hooks = Hooks(
        wrote=lambda _: deleted.add("b"),
        kept=lambda records: [record for record in records if record.event.id not in deleted],
    )
    collector = make(tmp_path, store, hooks=hooks)
    report(collector, "d1", [event("a"), event("b")], NOW)
    collector.flush()
    assert logged(collector) == ["a"]
    collector.close()


def test_nothing_ends_the_flusher(
    tmp_path: Path, store: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    collector = make(tmp_path, store, flush_seconds=0.02)
    sealed, broken = collector._journal.sealed, [True]

    def unwell() -> list[str]:
        if broken.pop() if broken else False:
            raise ValueError("what is this?")
        return sealed()

    collector._journal.sealed = unwell  # type: ignore[method-assign]
    collector.start()
    report(collector, "d1", [event("a")], NOW)
    deadline = time.monotonic() + 10
    while logged(collector) != ["a"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert logged(collector) == ["a"]
    collector.close()


def test_a_collector_starts_though_it_cannot_learn_what_came_before(
    tmp_path: Path, store: FlakyStore
) -> None:
    def damaged() -> Any:
        raise ValueError("no Parquet")

    collector = make(tmp_path, store, hooks=Hooks(recent=damaged))
    collector.start()
    assert report(collector, "d1", [event("a")], NOW).accepted == 1
    collector.close()
