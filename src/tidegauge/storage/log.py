"""The inference log: hive-partitioned Parquet by event time. ``docs/log-format.md`` has the columns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegauge.domain.events import HEADER_LENGTH, LATENCY_US, REDACTED, REQUEST_TYPE, STATUS, Event
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Record

_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_HOUR = re.compile(r"date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})$")
_TIME = pa.timestamp("us", tz="UTC")
_ROWS = 256  # of a row group: small, so that a window reads little of a large file
_PLAIN = ("type", "source", "content_type", "model_version", "service_name", "namespace", "extensions")

# Extensions with a column of their own; the others are JSON text in `extensions`.
_INTEGERS = {"header_length": HEADER_LENGTH, "status": STATUS, "latency_us": LATENCY_US}
_STRINGS = {"model_version": "endpoint", "service_name": "inferenceservicename", "namespace": "namespace"}

SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("time", _TIME, nullable=False),
        pa.field("received_time", _TIME, nullable=False),
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
_TIME_INDEX = SCHEMA.get_field_index("time")


class InferenceLog:
    """Events of deployments in the object store, a file per segment, deployment and hour."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def write(self, segment_id: str, records: Iterable[Record]) -> list[tuple[str, str]]:
        """Store the records of a segment; the same segment again replaces its own files.

        On return the files outlive a power cut, so that the segment may be deleted. Returns the deployment
        and the path of each file.
        """
        parts: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            folder = _hour_folder(record.deployment_id, record.event.time)
            parts[f"{folder}/{segment_id}.parquet"].append(record)
        for path, part in parts.items():
            self._store.put(path, _parquet(part))
        for path in parts:
            self._store.sync(path)
        return [(part[0].deployment_id, path) for path, part in parts.items()]

    def files(self, deployment_id: str) -> list[str]:
        """Return the paths of all files of a deployment, oldest hour first."""
        folder = f"{_checked(deployment_id)}/log"
        return [info.path for info in self._store.list(folder) if info.path.endswith(".parquet")]

    def file(self, deployment_id: str, path: str) -> list[Record]:
        """Return what one file holds, by time and id."""
        table = pq.ParquetFile(self._store.open(path)).read(
            use_threads=False
        )  # they would wait for each other
        return [_record(deployment_id, row) for row in table.to_pylist()]

    def holding(self, paths: Iterable[str], event_ids: set[str]) -> dict[str, set[str]]:
        """Return which of these events each of these files holds; those that hold none are left out."""
        found: dict[str, set[str]] = {}
        for path in paths:
            try:
                ids = pq.read_table(self._store.open(path), columns=["event_id"])["event_id"]
            except NotFoundError:
                continue
            held = event_ids.intersection(ids.to_pylist())
            if held:
                found[path] = held
        return found

    def around(self, deployment_id: str, moments: Iterable[datetime]) -> list[str]:
        """Return the paths of the files of the hours that these times lie in."""
        folders = sorted({_hour_folder(deployment_id, moment) for moment in moments})
        return [info.path for folder in folders for info in self._store.list(folder)]

    def erase(self, path: str, event_ids: set[str]) -> int:
        """Write a file again without some events; return how many events went."""
        table = pq.ParquetFile(self._store.open(path)).read()
        gone = pc.is_in(table["event_id"], pa.array(sorted(event_ids), pa.string()))
        kept = table.filter(pc.invert(gone))
        if kept.num_rows == table.num_rows:
            return 0
        if kept.num_rows:
            self._store.replace(path, _encoded(kept))
        else:
            self._store.delete(path)
        return int(table.num_rows - kept.num_rows)

    def redact(self, deployment_id: str, path: str, spared: Container[str] = ()) -> bool:
        """Take the payloads of requests out of a file, save ``spared`` events; tell whether none was."""
        whole = True
        records = []
        for record in self.file(deployment_id, path):
            event = record.event
            if event.type == REQUEST_TYPE and event.id in spared:
                whole = False
            elif event.type == REQUEST_TYPE:
                # The length of a header that is gone would be looked for.
                extensions = {k: v for k, v in event.extensions.items() if k != HEADER_LENGTH}
                event = replace(event, data=b"", extensions={**extensions, REDACTED: True})
            records.append(replace(record, event=event))
        self._store.replace(path, _parquet(records))
        return whole

    def read(self, deployment_id: str, start: datetime, end: datetime) -> Iterator[Event]:
        """Yield the events with ``start <= time < end``, sorted by (time, id)."""
        return (record.event for record in self.records(deployment_id, start, end))

    def records(self, deployment_id: str, start: datetime, end: datetime) -> Iterator[Record]:
        """Yield what ``read`` does, with the times of arrival.

        Of events with the same source, id and type the first in the order counts. In memory are the keys
        of the window, and the payloads of row groups that overlap in event time.
        """
        seen: set[tuple[str, str, str]] = set()
        for row in self._rows(deployment_id, start, end):
            key = (row["source"], row["event_id"], row["type"])
            if key not in seen:
                seen.add(key)
                yield _record(deployment_id, row)

    def count(self, deployment_id: str, start: datetime, end: datetime) -> int:
        """Return how many distinct events ``read`` would yield; no payload is read."""
        keys = ["source", "event_id", "type"]
        groups = self._groups(deployment_id, start, end)
        tables = [_window(group, [*keys, "time"], start, end) for group in groups]
        return int(pa.concat_tables(tables).group_by(keys).aggregate([]).num_rows) if tables else 0

    def last_time(self, deployment_id: str) -> datetime | None:
        """Return the latest event time, or None when nothing was logged."""
        for folder in reversed(self._hour_folders(deployment_id)):
            groups = self._groups_of_hour(folder)
            if groups:
                return max(group.last for group in groups)
        return None

    def deployments(self) -> list[str]:
        """Return the ids of all deployments with a log, sorted."""
        found = (path for path in self._store.folders() if _DEPLOYMENT.fullmatch(path))
        return [path for path in found if f"{path}/log" in self._store.folders(path)]

    def _rows(self, deployment_id: str, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
        """Merge the row groups of the window by (time, id); each is read when the merge comes to its time."""
        heap: list[tuple[Any, ...]] = []
        tie = count()  # so that rows, which have no order, are never compared
        for group in self._groups(deployment_id, start, end):
            while heap and heap[0][0] < group.first:
                yield heappop(heap)[-1]
            for row in _window(group, SCHEMA.names, start, end).to_pylist():
                order = (row["time"], row["event_id"], row["source"], row["type"], row["received_time"])
                heappush(heap, (*order, next(tie), row))
        while heap:
            yield heappop(heap)[-1]

    def _groups(self, deployment_id: str, start: datetime, end: datetime) -> Iterator[_RowGroup]:
        """Yield the row groups that meet the window, by their first time."""
        for folder in self._hour_folders(deployment_id, start, end):
            yield from (group for group in self._groups_of_hour(folder) if group.meets(start, end))

    def _groups_of_hour(self, folder: str) -> list[_RowGroup]:
        groups = []
        for info in self._store.list(folder):
            if info.path.endswith(".parquet"):
                file = pq.ParquetFile(self._store.open(info.path))
                for index in range(file.num_row_groups):
                    times = file.metadata.row_group(index).column(_TIME_INDEX).statistics
                    groups.append(_RowGroup(file, index, times.min, times.max))
        return sorted(groups, key=lambda group: group.first)

    def _hour_folders(
        self, deployment_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[str]:
        """List the folders of hours that meet the window, oldest first; days outside are not listed."""
        folders: list[str] = []
        for day in self._store.folders(f"{_checked(deployment_id)}/log"):
            if _meets(f"{day}/hour=00", timedelta(days=1), start, end):
                hours = self._store.folders(day)
                folders.extend(hour for hour in hours if _meets(hour, timedelta(hours=1), start, end))
        return folders


def parse_log_file(deployment_id: str, data: bytes) -> list[Record]:
    """Return the records of a file of another cluster's log; InvalidInputError where it is none."""
    try:
        table = pq.read_table(pa.BufferReader(data))
        missing = [name for name in SCHEMA.names if name not in table.column_names]
        if missing:
            raise InvalidInputError(f"It is no file of an inference log: it has no column {missing[0]!r}.")
        rows = table.select(SCHEMA.names).cast(SCHEMA).to_pylist()
        return [_record(deployment_id, row) for row in rows]
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InvalidInputError(f"It cannot be read as a file of an inference log ({reason}).") from error


@dataclass(frozen=True)
class _RowGroup:
    """Part of a file of the log: some rows in order, and their first and last event time."""

    file: pq.ParquetFile
    index: int
    first: datetime
    last: datetime

    def meets(self, start: datetime, end: datetime) -> bool:
        return self.last >= start and self.first < end


def _window(group: _RowGroup, columns: Sequence[str], start: datetime, end: datetime) -> pa.Table:
    table = group.file.read_row_group(group.index, columns=list(columns))
    within = (pc.field("time") >= pa.scalar(start, _TIME)) & (pc.field("time") < pa.scalar(end, _TIME))
    return table.filter(within)


def _hour_folder(deployment_id: str, time: datetime) -> str:
    utc = time.astimezone(UTC)
    return f"{_checked(deployment_id)}/log/date={utc.date().isoformat()}/hour={utc.hour:02d}"


def _meets(folder: str, span: timedelta, start: datetime | None, end: datetime | None) -> bool:
    """Say whether the hour (or day) that the folder's name states meets [start, end)."""
    found = _HOUR.search(folder)
    if found is None:
        return False
    first = datetime.fromisoformat(f"{found[1]}T{found[2]}:00:00+00:00")
    # A difference, since the last hour of the year 9999 has no end to compare with.
    return (start is None or start - first < span) and (end is None or first < end)


def _checked(deployment_id: str) -> str:
    if not _DEPLOYMENT.fullmatch(deployment_id):
        raise InvalidInputError.of("deployment_id", f"deployment_id is {deployment_id!r}; that is no id.")
    return deployment_id


def _parquet(records: list[Record]) -> bytes:
    rows = sorted((_row(record) for record in records), key=lambda row: (row["time"], row["event_id"]))
    return _encoded(pa.Table.from_pylist(rows, SCHEMA))


def _encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=_ROWS,
        compression="zstd",
        use_dictionary=list(_PLAIN),
        write_statistics=["time", "received_time", "event_id", "status", "latency_us"],
    )
    return bytes(sink.getvalue())


def _row(record: Record) -> dict[str, Any]:
    event = record.event
    others = dict(event.extensions)
    row: dict[str, Any] = {
        "event_id": event.id,
        "type": event.type,
        "source": event.source,
        "time": event.time,
        "received_time": record.received,
        "content_type": event.content_type,
        "size": len(event.data),
        "data": event.data,
    }
    for columns, kind in ((_INTEGERS, int), (_STRINGS, str)):
        for column, name in columns.items():
            if type(others.get(name)) is kind:  # not isinstance: True is an int, and no status
                row[column] = others.pop(name)
    row["extensions"] = orjson.dumps(others, option=orjson.OPT_SORT_KEYS).decode()
    return row


def _record(deployment_id: str, row: dict[str, Any]) -> Record:
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
