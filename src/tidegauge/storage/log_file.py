"""A file of the inference log: its columns, events as its rows, and several files merged into one.

``docs/log-format.md`` has the columns. A merged file has the row groups of its parts one after the other, and
says in its metadata how many each part has, so that a part is read, and changed, as the file that it was.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tidegauge.domain.events import HEADER_LENGTH, LATENCY_US, STATUS, Event
from tidegauge.errors import InvalidInputError
from tidegauge.storage.segments import Record

TIME = pa.timestamp("us", tz="UTC")
_ROWS = 256  # of a row group: small, so that a window reads little of a large file
_PLAIN = ("type", "source", "content_type", "model_version", "service_name", "namespace", "extensions")
_PARTS = b"tidegauge.parts"  # metadata of merged files: names of parts with the counts of their row groups

# Extensions with a column of their own; the others are JSON text in `extensions`.
_INTEGERS = {"header_length": HEADER_LENGTH, "status": STATUS, "latency_us": LATENCY_US}
_STRINGS = {"model_version": "endpoint", "service_name": "inferenceservicename", "namespace": "namespace"}

SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("received_time", TIME, nullable=False),
        pa.field("content_type", pa.string(), nullable=False),
        pa.field("header_length", pa.int64()),
        pa.field("status", pa.int64()),
        pa.field("latency_us", pa.int64()),
        pa.field("model_version", pa.string()),
        pa.field("service_name", pa.string()),
        pa.field("namespace", pa.string()),
        pa.field("extensions", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)


def encode(records: Iterable[Record]) -> bytes:
    """Return a file with these records, by time and id."""
    file = Writer()
    file.add("", to_table(sorted(records, key=lambda record: (record.event.time, record.event.id))))
    return file.close()


def to_table(records: Sequence[Record]) -> pa.Table:
    events = [record.event for record in records]
    others = [dict(event.extensions) for event in events]
    columns: dict[str, Any] = {
        "event_id": [event.id for event in events],
        "type": [event.type for event in events],
        "source": [event.source for event in events],
        "time": [event.time for event in events],
        "received_time": [record.received for record in records],
        "content_type": [event.content_type for event in events],
        "size": [len(event.data) for event in events],
        "data": _joined([event.data for event in events]),
    }
    some = set().union(*others)
    for names, kind in ((_INTEGERS, int), (_STRINGS, str)):
        for column, name in names.items():
            known = name in some
            columns[column] = [_taken(left, name, kind) for left in others] if known else [None] * len(others)
    # What is left when those with a column are taken.
    columns["extensions"] = [
        orjson.dumps(left, option=orjson.OPT_SORT_KEYS).decode() if left else "{}" for left in others
    ]
    # Column by column: three times as fast as row by row.
    return pa.Table.from_pydict(columns, SCHEMA)


def _taken(extensions: dict[str, Any], name: str, kind: type) -> Any:
    """Take out the extension of a column; one of another kind, which the column cannot hold, stays."""
    # Not isinstance: True is an int, and no status.
    return extensions.pop(name) if type(extensions.get(name)) is kind else None


def _joined(payloads: Sequence[bytes]) -> pa.LargeBinaryArray:
    """Return payloads as a column: the library's own way grows a buffer, and copies all at each step."""
    ends = np.cumsum([0, *map(len, payloads)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(payloads))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(payloads), buffers)


def to_records(deployment_id: str, table: pa.Table) -> list[Record]:
    return [to_record(deployment_id, row) for row in table.to_pylist()]


class Writer:
    """Writes a file into memory, part after part."""

    def __init__(self) -> None:
        self._sink = io.BytesIO()  # pyarrow's own doubles, and is copied once more
        self._groups: dict[str, int] = {}
        self._file = pq.ParquetWriter(
            self._sink,
            SCHEMA,
            compression="zstd",
            use_dictionary=list(_PLAIN),
            write_statistics=["time", "received_time", "event_id", "status", "latency_us"],
        )

    def add(self, part: str, table: pa.Table) -> None:
        """Add rows to a part; those of one part come one after the other."""
        groups = self._groups.setdefault(part, 0)
        if table.num_rows:
            self._file.write_table(table, row_group_size=_ROWS)
            self._groups[part] = groups - (-table.num_rows // _ROWS)

    def close(self) -> bytes:
        """Return the file; one with a single part without a name is none that was merged."""
        if list(self._groups) != [""]:
            self._file.add_key_value_metadata({_PARTS: orjson.dumps(list(self._groups.items()))})
        self._file.close()
        return self._sink.getvalue()


@dataclass(frozen=True)
class Rewritten:
    """A file made again, how many rows it has and has lost; the very same ``data`` where nothing changed."""

    data: bytes
    rows: int
    lost: int


def groups_of(metadata: pq.FileMetaData) -> dict[str, range]:
    """Return the row groups of each part of a merged file; of another all, under the empty name."""
    noted = (metadata.metadata or {}).get(_PARTS)
    if noted is None:
        return {"": range(metadata.num_row_groups)}
    found, start = {}, 0
    for name, count in orjson.loads(noted):
        found[name] = range(start, start + count)
        start += count
    return found


def read_group(file: pq.ParquetFile, group: int) -> pa.Table:
    """Return the rows of a row group, of a file of whichever writer."""
    return file.read_row_group(group, use_threads=False).select(SCHEMA.names).cast(SCHEMA)


def rewritten(data: bytes, change: Callable[[str, pa.Table], pa.Table]) -> Rewritten:
    """Make a file again of what ``change`` makes of the rows of each part; what it returns as is stays."""
    file, written = pq.ParquetFile(pa.BufferReader(data)), Writer()
    before, after, same = 0, 0, True
    for part, groups in groups_of(file.metadata).items():
        written.add(part, SCHEMA.empty_table())  # it stays a part, whatever is left of it
        for group in groups:
            table = read_group(file, group)
            new = change(part, table)
            written.add(part, new)
            before, after, same = before + table.num_rows, after + new.num_rows, same and new is table
    return Rewritten(data if same else written.close(), after, before - after)


def parts_of(data: bytes) -> list[str]:
    """Return the names of the files that a merged one was made of; none for what cannot be read."""
    try:
        return [name for name in groups_of(pq.read_metadata(pa.BufferReader(data))) if name]
    except (pa.ArrowException, ValueError, OSError):
        return []


def parse_log_file(deployment_id: str, data: bytes, part: str = "") -> list[Record]:
    """Return the records of a file of another cluster's log, or of a part of a merged one.

    Raises InvalidInputError where it is none.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        groups = groups_of(file.metadata)[part] if part else range(file.num_row_groups)
        table = file.read_row_groups(list(groups), use_threads=False)
        missing = [name for name in SCHEMA.names if name not in table.column_names]
        if missing:
            raise InvalidInputError(f"It is no file of an inference log: it has no column {missing[0]!r}.")
        rows = table.select(SCHEMA.names).cast(SCHEMA).to_pylist()
        return [to_record(deployment_id, row) for row in rows]
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InvalidInputError(f"It cannot be read as a file of an inference log ({reason}).") from error


def to_record(deployment_id: str, row: dict[str, Any]) -> Record:
    extensions: dict[str, str | int | bool] = orjson.loads(row["extensions"])
    for column, name in (_INTEGERS | _STRINGS).items():
        if row[column] is not None:
            extensions[name] = row[column]
    event = Event(
        id=row["event_id"],
        source=row["source"],
        type=row["type"],
        time=row["time"].astimezone(UTC),
        content_type=row["content_type"],
        data=row["data"],
        extensions=extensions,
    )
    return Record(deployment_id, row["received_time"].astimezone(UTC), event)
