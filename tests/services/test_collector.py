from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tidegauge.domain.events import Event
from tidegauge.errors import InvalidInputError, NotFoundError, UnavailableError
from tidegauge.services.collector import Collector
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
def store(tmp_path: Path) -> FlakyStore:
    return FlakyStore(str(tmp_path / "store"))


def make(
    tmp_path: Path, store: ObjectStore, flush_seconds: float = 3600.0, max_waiting_bytes: int = 1 << 20
) -> Collector:
    services = {("xray", "ward"): "d2"}
    return Collector(
        tmp_path / "segments",
        store,
        {"d1", "d2"}.__contains__,
        lambda name, namespace: services.get((name, namespace)),
        flush_seconds,
        max_waiting_bytes=max_waiting_bytes,
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
    assert collector.accept("d1", [event("a"), event("b")], NOW) == 2
    assert logged(collector) == []
    collector.flush()
    assert logged(collector) == ["a", "b"]
    assert list((tmp_path / "segments").glob("*.segment")) == []
    counts = collector.counts()
    assert (counts.received, counts.refused, counts.bytes, counts.written) == (2, 0, 8, 2)


def test_the_flusher_writes_by_itself(tmp_path: Path, store: FlakyStore) -> None:
    collector = make(tmp_path, store, flush_seconds=0.02)
    collector.start()
    collector.accept("d1", [event("a")], NOW)
    deadline = time.monotonic() + 10
    while logged(collector) != ["a"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert logged(collector) == ["a"]
    collector.close()


def test_close_writes_what_there_is(tmp_path: Path, store: FlakyStore) -> None:
    collector = make(tmp_path, store)
    collector.start()
    collector.accept("d1", [event("a")], NOW)
    collector.close()
    assert logged(collector) == ["a"]
    with pytest.raises(UnavailableError, match="closed"):
        collector.accept("d1", [event("b")], NOW)


def test_an_event_names_its_deployment_by_source_or_service(collector: Collector) -> None:
    sent = [
        event("a", "/deployments/d1"),
        event("b", "https://models.example/deployments/d2"),
        event("c", "http://localhost:9081/", inferenceservicename="xray", namespace="ward"),
    ]
    collector.accept(None, sent, NOW)
    collector.flush()
    assert (logged(collector, "d1"), logged(collector, "d2")) == (["a"], ["b", "c"])


def test_an_unknown_deployment_is_named_and_nothing_is_accepted(collector: Collector) -> None:
    sent = [
        event("a", "/deployments/d1"),
        event("b", "/deployments/d9"),
        event("c", inferenceservicename="xray", namespace="elsewhere"),
    ]
    with pytest.raises(InvalidInputError) as caught:
        collector.accept(None, sent, NOW)
    assert [error.field for error in caught.value.errors] == ["events[1].source", "events[2].source"]
    assert "'/deployments/d9'" in caught.value.message
    assert "'elsewhere'" in caught.value.errors[1].message
    with pytest.raises(NotFoundError, match="'d9'"):
        collector.accept("d9", [event("a")], NOW)
    collector.flush()
    assert logged(collector) == []
    assert (collector.counts().received, collector.counts().refused) == (0, 4)


def test_a_store_that_is_away_costs_nothing_but_time(
    collector: Collector, store: FlakyStore, tmp_path: Path
) -> None:
    store.down = True
    for name in ("a", "b"):
        collector.accept("d1", [event(name)], NOW)
        with pytest.raises(UnavailableError, match="connection refused"):
            collector.flush()
    assert (collector.counts().pending, collector.counts().failure) == (2, "connection refused")
    store.down = False
    collector.flush()
    assert logged(collector) == ["a", "b"]
    assert (collector.counts().pending, collector.counts().failure) == (0, "")


def test_start_goes_on_although_the_store_is_away(tmp_path: Path, store: FlakyStore) -> None:
    first = make(tmp_path, store)
    first.accept("d1", [event("a")], NOW)
    store.down = True
    first.close()
    second = make(tmp_path, store)
    second.start()
    assert second.counts().pending == 1
    store.down = False
    second.close()
    assert logged(second) == ["a"]


def test_a_crash_between_put_and_delete_leaves_each_event_once(tmp_path: Path, store: FlakyStore) -> None:
    first = make(tmp_path, store)
    first.accept("d1", [event("a"), event("b")], NOW)
    (segment,) = (tmp_path / "segments").glob("*.segment")
    kept = segment.read_bytes()
    first.close()
    segment.write_bytes(kept)  # as if the process had died before it could delete it
    second = make(tmp_path, store)
    second.start()
    second.close()
    assert ds.dataset(tmp_path / "store").count_rows() == 2


def test_a_damaged_segment_is_kept_and_the_rest_is_written(
    tmp_path: Path, store: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    first = make(tmp_path, store)
    for name in ("a", "b", "c"):
        first.accept("d1", [event(name, "/source-of-" + name)], NOW)
    store.down = True
    first.close()
    store.down = False
    (segment,) = (tmp_path / "segments").glob("*.segment")
    segment.write_bytes(segment.read_bytes().replace(b"source-of-b", b"source-of-x"))
    second = make(tmp_path, store)
    second.start()
    assert logged(second) == ["a", "c"]
    assert (second.counts().damaged, second.counts().pending) == (1, 0)
    assert segment.with_suffix(".damaged").exists()
    assert "is damaged" in caplog.text
    second.close()


def test_memory_for_requests_is_bounded(tmp_path: Path, store: FlakyStore) -> None:
    collector = make(tmp_path, store, max_waiting_bytes=100)
    with collector.room(200):  # a single request always finds room
        pass
    with collector.room(60), collector.room(40):
        with pytest.raises(UnavailableError, match="later"), collector.room(1):
            pass
        assert collector.counts().refused == 1
    with collector.room(100):
        pass
    collector.close()


WRITER = """
import os, sys, threading
from datetime import datetime, timedelta, UTC
from pathlib import Path
from tidegauge.domain.events import Event
from tidegauge.services.collector import Collector
from tidegauge.storage.objects import ObjectStore

home, run = Path(sys.argv[1]), sys.argv[2]
collector = Collector(home / "segments", ObjectStore(str(home / "store")), lambda _: True,
                      lambda *_: None, 0.05, segment_bytes=200_000)
collector.start()
acknowledged = os.open(home / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
start = datetime(2026, 3, 1, 12, tzinfo=UTC)

def load(worker):
    for n in range(1_000_000):
        names = [f"{run}-{worker}-{n}-{k}" for k in range(5)]
        events = [Event(name, "/s", "request", start + timedelta(minutes=n % 120), "a/b", os.urandom(900))
                  for name in names]
        collector.accept(f"d{n % 2}", events, start)
        os.write(acknowledged, ("\\n".join(names) + "\\n").encode())

for worker in range(6):
    threading.Thread(target=load, args=(worker,), daemon=True).start()
print("running", flush=True)
threading.Event().wait()
"""


def test_kill_9_under_load_loses_no_acknowledged_event_and_doubles_none(tmp_path: Path) -> None:
    rng = random.Random(2)
    for run in range(5):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(run)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"running\n"
            time.sleep(rng.uniform(0.05, 0.4))
            writer.send_signal(signal.SIGKILL)
    collector = Collector(
        tmp_path / "segments", ObjectStore(str(tmp_path / "store")), lambda _: True, lambda *_: None
    )
    collector.start()
    collector.close()
    acknowledged = (tmp_path / "acknowledged").read_text().split()
    rows = Counter(ds.dataset(tmp_path / "store").to_table(columns=["event_id"])["event_id"].to_pylist())
    print(json.dumps({"acknowledged": len(acknowledged), "rows": rows.total()}))
    assert len(acknowledged) > 500
    assert {run.split("-")[0] for run in acknowledged} == set("01234")
    assert [name for name in acknowledged if rows[name] != 1] == []
    assert set(rows.values()) == {1}
