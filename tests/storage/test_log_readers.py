"""The log as its documentation has it, read without Tidegauge: by polars, pyarrow and DuckDB."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from parts_collector import build, report
from tidegauge.domain.cloudevents import decode_json
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE, Event
from tidegauge.domain.tensors import encode_binary
from tidegauge.storage.objects import ObjectStore

NOON = datetime(2026, 3, 1, 12, 59, 59, 123456, tzinfo=UTC)
RECEIVED = NOON + timedelta(minutes=7)
HOUR = timedelta(hours=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 1), np.uint8)
DOCUMENTED = re.findall(
    r"^\| `(\w+)` \| ([\w\[, \]]+?)(, null)? \|",
    (Path(__file__).parents[2] / "docs/log-format.md").read_text().partition("Numbers and reports")[0],
    re.MULTILINE,
)

#: What a reader without Tidegauge does: rows as JSON, and counts of events that were sent once or twice.
READER = """
import json, sys
def shown(value):
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else value
def rows(found):
    return [{name: shown(value) for name, value in row.items()} for row in found]
log, found = sys.argv[1], {}

import polars as pl
frame = pl.scan_parquet(f"{log}/**/*.parquet", hive_partitioning=True)
key = ["source", "event_id", "type"]
order = frame.sort("time", "received_time", "event_id", "source", "type")
found["polars"] = {
    "rows": rows(order.collect().to_dicts()),
    "types": {name: str(kind) for name, kind in frame.collect_schema().items()},
    "events": frame.unique(key).collect().height,
    "failed": frame.unique(key).filter(pl.col("status") >= 500).collect().height,
    "of_hour": frame.filter(pl.col("hour") == 13).collect().height,
}

import pyarrow.compute as pc
import pyarrow.dataset as ds
dataset = ds.dataset(log, partitioning="hive")
names = ("time", "received_time", "event_id", "source", "type")
table = dataset.to_table().sort_by([(name, "ascending") for name in names])
unique = table.group_by(key).aggregate([("status", "max")])
found["pyarrow"] = {
    "rows": rows(table.to_pylist()),
    "types": {field.name: str(field.type) for field in table.schema},
    "null": {field.name: field.nullable for field in table.schema},
    "events": len(unique),
    "failed": pc.sum(pc.greater_equal(unique["status_max"], 500)).as_py(),
    "of_hour": dataset.count_rows(filter=pc.field("hour") == 13),
}

import duckdb
duckdb.sql("SET TimeZone = 'UTC'")
duckdb.sql(f"CREATE VIEW log AS SELECT * FROM read_parquet('{log}/**/*.parquet', hive_partitioning = true)")
whole = duckdb.sql("SELECT * FROM log ORDER BY time, received_time, event_id, source, type")
def one(query):
    return duckdb.sql(query).fetchall()[0][0]
distinct = "SELECT DISTINCT ON (source, event_id, type) * FROM log ORDER BY time, received_time"
found["duckdb"] = {
    "rows": rows(dict(zip(whole.columns, row)) for row in whole.fetchall()),
    "types": dict(zip(whole.columns, map(str, whole.types))),
    "events": one(f"SELECT count(*) FROM ({distinct})"),
    "failed": one(f"SELECT count(*) FROM ({distinct}) WHERE status >= 500"),
    "of_hour": one("SELECT count(*) FROM log WHERE hour = '13'"),
}
assert not any(name.partition(".")[0] == "tidegauge" for name in sys.modules)
print(json.dumps(found))
"""


def exchange(id_: str, source: str, time: datetime, status: int) -> list[Event]:
    """A request in JSON and an answer in binary tensors, with every kind of attribute."""
    answer, length = encode_binary({"p": np.array([[0.25, 0.75]], np.float32)}, "outputs")
    kserve = {"inferenceservicename": "xray", "namespace": "ward", "endpoint": "v3", "hospital": "är"}
    noted = {**kserve, "status": status, "latencyus": 1500, "headerlength": length, "sampledrate": 10}
    body = b'{"instances":[[1,2.5,"x"]]}'
    return [
        Event(id_, source, REQUEST_TYPE, time, "application/json", body, {"urgent": True}),
        Event(id_, source, RESPONSE_TYPE, time, "application/octet-stream", answer, noted),
    ]


def image(id_: str, time: datetime) -> Event:
    """A request of an image as a client sends it: numbers in JSON."""
    sent = {"specversion": "1.0", "id": id_, "source": "/c", "type": REQUEST_TYPE, "time": time.isoformat()}
    body = orjson.dumps({**sent, "data": {"instances": PIXELS.tolist()}})
    (event,) = decode_json(body, batch=False, now=RECEIVED).events
    return event


SENT = [
    half
    for number in range(3)
    for source in ("/a", "/b")  # both count from 0
    for half in exchange(str(number), source, NOON + number * timedelta(seconds=1), 200 + 300 * (number == 2))
] + [image("i", NOON + HOUR)]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What three readers make of a log that two collectors have written, each of which got some events."""
    folder = tmp_path_factory.mktemp("log")
    store = ObjectStore(str(folder / "store"))
    for number, events in enumerate((SENT, SENT[:4])):  # the sender heard nothing, and asked another one
        collector = build(folder / f"collector-{number}", store)
        collector.start()
        report(collector, "d1", events, RECEIVED + number * timedelta(seconds=1))
        collector.close()
    command = [sys.executable, "-c", READER, str(folder / "store/d1/log")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


@pytest.fixture(params=["polars", "pyarrow", "duckdb"])
def found(request: pytest.FixtureRequest, read: dict[str, Any]) -> dict[str, Any]:
    return dict(read[request.param])


def test_the_columns_are_those_that_are_documented(read: dict[str, Any]) -> None:
    types = {"timestamp[us, UTC]": "timestamp[us, tz=UTC]"}
    wanted = {name: types.get(kind, kind) for name, kind, _ in DOCUMENTED}
    assert len(wanted) == 15
    partitions = {"date", "hour"}
    arrow = read["pyarrow"]
    assert {name: kind for name, kind in arrow["types"].items() if name not in partitions} == wanted
    assert {name: arrow["null"][name] for name in wanted} == {
        name: bool(null) for name, _, null in DOCUMENTED
    }
    assert set(read["polars"]["types"]) == set(read["duckdb"]["types"]) == {*wanted, *partitions}
    assert read["polars"]["types"]["time"] == "Datetime(time_unit='us', time_zone='UTC')"
    assert read["duckdb"]["types"]["time"] == "TIMESTAMP WITH TIME ZONE"
    assert {read[tool]["types"]["data"] for tool in ("polars", "duckdb")} == {"Binary", "BLOB"}


def test_every_value_is_what_was_sent(found: dict[str, Any]) -> None:
    sent = [(event, RECEIVED) for event in SENT]
    sent += [(event, RECEIVED + timedelta(seconds=1)) for event in SENT[:4]]
    sent.sort(key=lambda one: (one[0].time, one[1], one[0].id, one[0].source, one[0].type))
    assert len(found["rows"]) == len(sent)
    for row, (event, received) in zip(found["rows"], sent, strict=True):
        others = dict(event.extensions)
        columns = {
            "event_id": event.id,
            "type": event.type,
            "source": event.source,
            "content_type": event.content_type,
            "header_length": others.pop("headerlength", None),
            "status": others.pop("status", None),
            "latency_us": others.pop("latencyus", None),
            "model_version": others.pop("endpoint", None),
            "service_name": others.pop("inferenceservicename", None),
            "namespace": others.pop("namespace", None),
            "size": len(event.data),
            "data": event.data.hex(),
        }
        assert {name: row[name] for name in columns} == columns
        assert json.loads(row["extensions"]) == others
        assert datetime.fromisoformat(row["time"]) == event.time
        assert datetime.fromisoformat(row["received_time"]) == received
        assert (str(row["date"]), int(row["hour"])) == (f"{event.time:%Y-%m-%d}", event.time.hour)


def test_events_that_were_sent_twice_count_once_by_the_documented_key(found: dict[str, Any]) -> None:
    assert len(found["rows"]) == len(SENT) + 4
    assert found["events"] == len(SENT) == 13
    assert found["failed"] == 2
    assert found["of_hour"] == 9  # 12:59:59 and the two seconds after it, and an hour later


def test_payloads_are_read_by_their_documentation(found: dict[str, Any]) -> None:
    (row,) = [row for row in found["rows"] if row["event_id"] == "i"]
    data = bytes.fromhex(row["data"])
    (tensor,) = json.loads(data[: row["header_length"]])["inputs"]
    assert tensor["datatype"] == "UINT8"
    pixels = np.frombuffer(data[row["header_length"] :], np.uint8).reshape(tensor["shape"])
    np.testing.assert_array_equal(pixels, PIXELS)
    answer = next(row for row in found["rows"] if row["type"] == RESPONSE_TYPE)
    numbers = np.frombuffer(bytes.fromhex(answer["data"])[answer["header_length"] :], "<f4")
    assert numbers.tolist() == [0.25, 0.75]
    asked = next(row for row in found["rows"] if row["type"] == REQUEST_TYPE)
    assert json.loads(bytes.fromhex(asked["data"])) == {"instances": [[1, 2.5, "x"]]}
