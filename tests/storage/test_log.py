from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tidegauge.domain.events import Event
from tidegauge.errors import InvalidInputError
from tidegauge.storage import log_file
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.log_file import SCHEMA
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Record

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def event(name: str, time: datetime, kind: str = "request", **extensions: str | int | bool) -> Event:
    return Event(name, "/deployments/d", kind, time, "application/json", name.encode(), extensions)


def records(events: list[Event], deployment: str = "d", received: datetime = MIDNIGHT) -> list[Record]:
    return [Record(deployment, received, each) for each in events]


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return ObjectStore(store_url)


@pytest.fixture
def folder_store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path / "store"))


def paths(store: ObjectStore) -> list[str]:
    return [info.path for info in store.list("d")]


def test_events_come_back_equal_in_order_of_time_and_id(store: ObjectStore) -> None:
    events = [
        event("b", MIDNIGHT, status=200, latencyus=1500, headerlength=77, endpoint="v3"),
        event("a", MIDNIGHT, inferenceservicename="xray", namespace="ward", other="é", flag=True, n=-3),
        event("c", MIDNIGHT - SECOND, status="oddly a string"),
    ]
    log = InferenceLog(store)
    log.write("s1", records(events))
    assert list(log.read("d", MIDNIGHT - SECOND, MIDNIGHT + SECOND)) == [events[2], events[1], events[0]]
    assert [found.received for found in log.records("d", MIDNIGHT, MIDNIGHT + SECOND)] == [MIDNIGHT] * 2


def test_files_are_partitioned_by_event_time_in_utc(store: ObjectStore) -> None:
    east = timezone(timedelta(hours=2))
    InferenceLog(store).write(
        "s1",
        records(
            [
                event("a", MIDNIGHT - SECOND / 1_000_000),
                event("b", MIDNIGHT),
                event("c", datetime(2026, 3, 1, 3, 30, tzinfo=east)),
                event("late", datetime(987, 1, 2, tzinfo=UTC)),
            ]
        ),
    )
    assert paths(store) == [
        "d/log/date=0987-01-02/hour=00/s1.parquet",
        "d/log/date=2026-02-28/hour=23/s1.parquet",
        "d/log/date=2026-03-01/hour=00/s1.parquet",
        "d/log/date=2026-03-01/hour=01/s1.parquet",
    ]


def test_a_window_is_half_open_across_hours_and_days(store: ObjectStore) -> None:
    log = InferenceLog(store)
    times = [MIDNIGHT + timedelta(minutes=10 * n) for n in range(-300, 300)]
    log.write("s1", records([event(f"{n:03}", time) for n, time in enumerate(times)]))
    for start, end in ((0, 600), (295, 306), (299, 300), (300, 301), (10, 10), (150, 449)):
        last = times[end] if end < 600 else times[-1] + SECOND
        found = [each.id for each in log.read("d", times[start], last)]
        assert found == [f"{n:03}" for n in range(start, end)]
        assert log.count("d", times[start], last) == end - start
    everything = log.read("d", datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    assert sum(1 for _ in everything) == 600


def test_only_partitions_of_the_window_are_opened(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = InferenceLog(store)
    log.write("s1", records([event(str(n), MIDNIGHT + timedelta(hours=n)) for n in range(-30, 30)]))
    opened: list[str] = []
    open_one = ObjectStore.open
    monkeypatch.setattr(ObjectStore, "open", lambda self, path: opened.append(path) or open_one(self, path))
    list(log.read("d", MIDNIGHT - timedelta(minutes=5), MIDNIGHT + timedelta(minutes=5)))
    assert opened == [
        "d/log/date=2026-02-28/hour=23/s1.parquet",
        "d/log/date=2026-03-01/hour=00/s1.parquet",
    ]


def test_late_events_and_small_row_groups_are_merged_in_order(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "_ROWS", 7)
    rng = random.Random(5)
    events = [event(f"{n:04}", MIDNIGHT + SECOND * rng.randrange(600)) for n in range(500)]
    log = InferenceLog(store)
    for part in range(5):
        log.write(f"s{part}", records(events[part::5]))
    expected = sorted(events, key=lambda each: (each.time, each.id))
    assert list(log.read("d", MIDNIGHT, MIDNIGHT + SECOND * 600)) == expected
    middle = [each for each in expected if 100 <= (each.time - MIDNIGHT).seconds < 200]
    assert list(log.read("d", MIDNIGHT + SECOND * 100, MIDNIGHT + SECOND * 200)) == middle


def test_a_resent_event_counts_once_and_a_response_is_not_its_request(store: ObjectStore) -> None:
    log = InferenceLog(store)
    pair = [event("a", MIDNIGHT), event("a", MIDNIGHT, kind="response")]
    log.write("s1", records(pair))
    log.write("s2", records([pair[0], event("a", MIDNIGHT + timedelta(hours=1))], received=MIDNIGHT + SECOND))
    found = list(log.records("d", MIDNIGHT, MIDNIGHT + timedelta(hours=2)))
    assert [each.event for each in found] == pair
    assert found[0].received == MIDNIGHT  # the copy that came first
    assert log.count("d", MIDNIGHT, MIDNIGHT + timedelta(hours=2)) == 2


def test_writing_a_segment_again_replaces_its_files(store: ObjectStore) -> None:
    log = InferenceLog(store)
    part = records([event("a", MIDNIGHT), event("b", MIDNIGHT + timedelta(hours=1))])
    log.write("s1", part)
    before = paths(store)
    log.write("s1", part)
    assert paths(store) == before
    assert [each.id for each in log.read("d", MIDNIGHT, MIDNIGHT + timedelta(days=1))] == ["a", "b"]


def test_deployments_and_last_time(store: ObjectStore) -> None:
    log = InferenceLog(store)
    assert (log.deployments(), log.last_time("d")) == ([], None)
    store.put("blobs/ab/abcd", b"not a log")
    store.put("x/livedata/labels.csv", b"not a log")
    log.write("s1", records([event("a", MIDNIGHT + SECOND), event("b", MIDNIGHT)]))
    log.write("s2", records([event("c", MIDNIGHT - SECOND)], deployment="e"))
    assert log.deployments() == ["d", "e"]
    assert log.last_time("d") == MIDNIGHT + SECOND
    assert log.last_time("nobody") is None
    assert list(log.read("nobody", MIDNIGHT, MIDNIGHT + SECOND)) == []


def test_an_id_that_is_a_path_is_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidInputError, match="no id"):
        InferenceLog(store).write("s1", records([event("a", MIDNIGHT)], deployment="../d"))


def test_the_log_is_read_by_polars_and_pyarrow_alone(folder_store: ObjectStore, tmp_path: Path) -> None:
    InferenceLog(folder_store).write(
        "s1",
        records(
            [
                event("a", MIDNIGHT, status=200, endpoint="v3", other="x"),
                event("b", MIDNIGHT + timedelta(hours=1)),
            ]
        ),
    )
    folder = tmp_path / "store" / "d" / "log"
    frame = pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=True).sort("event_id").collect()
    assert frame["time"].to_list() == [MIDNIGHT, MIDNIGHT + timedelta(hours=1)]
    assert frame["data"].to_list() == [b"a", b"b"]
    assert frame["status"].to_list() == [200, None]
    assert frame["extensions"].to_list() == ['{"other":"x"}', "{}"]
    assert [str(day) for day in frame["date"]] == ["2026-03-01"] * 2
    table = ds.dataset(folder, partitioning="hive").to_table(filter=ds.field("hour") == 1)
    assert table["event_id"].to_pylist() == ["b"]
    assert table["size"].to_pylist() == [1]


def test_the_documented_columns_are_those_of_the_files(folder_store: ObjectStore, tmp_path: Path) -> None:
    InferenceLog(folder_store).write("s1", records([event("a", MIDNIGHT)]))
    (path,) = (tmp_path / "store").rglob("*.parquet")
    text = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text()
    table = text.partition("| column |")[2].partition("\n\n")[0]
    documented = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert pq.read_schema(path).names == SCHEMA.names == documented
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
