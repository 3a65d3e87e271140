"""The inference log: hive-partitioned Parquet by event time. ``docs/log-format.md`` has the columns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegauge.domain.events import HEADER_LENGTH, REDACTED, REQUEST_TYPE, Event
from tidegauge.domain.identity import new_id
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.storage.log_file import (
    SCHEMA,
    TIME,
    Writer,
    encode,
    groups_of,
    read_group,
    rewritten,
    to_record,
    to_records,
    to_table,
)
from tidegauge.storage.objects import GONE, ObjectInfo, ObjectStore
from tidegauge.storage.segments import Record

T = TypeVar("T")
_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_HOUR = re.compile(r"date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})$")
_SUFFIX = ".parquet"
_MERGED = ".merged.parquet"
_TIME_INDEX = SCHEMA.get_field_index("time")
_TRIES = 20  # at a file that others change or merge meanwhile


def hour_of(folder: str) -> datetime | None:
    """Return the hour that the name of a folder of the log states."""
    found = _HOUR.search(folder)
    return datetime.fromisoformat(f"{found[1]}T{found[2]}:00:00+00:00") if found else None


def is_merged(path: str) -> bool:
    """Tell whether a file of the log was made of others."""
    return path.endswith(_MERGED)


class InferenceLog:
    """Events of deployments in the object store, a file per segment, deployment and hour.

    Small files of an hour become parts of a merged one. Who knows a part by its path asks for it ``within``
    the file that it was merged into. A file is written again only where nobody else has done so meanwhile.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def write(
        self,
        segment_id: str,
        records: Iterable[Record],
        known: Callable[[Collection[str]], Container[str]] = lambda _paths: (),
    ) -> list[tuple[str, str]]:
        """Store the records of a segment; the same segment again replaces its own files.

        ``known`` says which of these paths have been taken down before: these were written whole, and may
        have been merged, redacted or deleted since, so they are not written again. On return the files
        outlive a power cut, so that the segment may be deleted. Returns the deployment and the path of each
        file that was written.
        """
        parts: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            folder = _hour_folder(record.deployment_id, record.event.time)
            parts[f"{folder}/{segment_id}{_SUFFIX}"].append(record)
        done = known(parts.keys())
        fresh = {path: part for path, part in parts.items() if path not in done}
        for path, part in fresh.items():
            self._store.put(path, encode(part))
        for path in fresh:
            self._store.sync(path)
        return [(part[0].deployment_id, path) for path, part in fresh.items()]

    def files(self, deployment_id: str) -> list[str]:
        """Return the paths of all files of a deployment, merged ones too, oldest hour first."""
        return [info.path for infos in self.hours(deployment_id).values() for info in infos]

    def hours(self, deployment_id: str) -> dict[datetime, list[ObjectInfo]]:
        """Return what the log has of each hour that it has something of, oldest first."""
        found: dict[datetime, list[ObjectInfo]] = {}
        for info in self._store.list(f"{_checked(deployment_id)}/log"):
            hour = hour_of(info.path.rpartition("/")[0])
            if hour is not None and info.path.endswith(_SUFFIX):
                found.setdefault(hour, []).append(info)
        return dict(sorted(found.items()))

    def file(self, deployment_id: str, path: str, within: str = "") -> list[Record]:
        """Return what one file holds, by time and id; ``within``: what became of it in the merged file."""
        file = pq.ParquetFile(self._store.open(within or path))
        groups = groups_of(file.metadata).get(_name(path) if within else "", ())
        table = file.read_row_groups(list(groups), use_threads=False)  # they would wait for each other
        return to_records(deployment_id, table)

    def parts(self, path: str) -> list[str]:
        """Return the paths of the files that a merged one was made of."""
        folder = path.rpartition("/")[0]
        return [f"{folder}/{name}" for name in groups_of(pq.read_metadata(self._store.open(path)))]

    def merge(self, paths: Sequence[str], deleted: Callable[[str], bool]) -> str:
        """Write one file with what several files of an hour hold, save deleted events; return its path.

        In memory are the new file, one of the others and one of its row groups. Raises NotFoundError where
        one is there no more, and InvalidInputError where one is none of ours.
        """
        file = Writer()
        for path in paths:
            data = self._store.get(path)
            file.add(_name(path), SCHEMA.empty_table())
            try:
                part = pq.ParquetFile(pa.BufferReader(data))
                for group in range(part.num_row_groups):
                    table = read_group(part, group)
                    gone = {id_ for id_ in table["event_id"].to_pylist() if deleted(id_)}
                    file.add(_name(path), _without(table, gone) if gone else table)
            except (pa.ArrowException, KeyError, ValueError, OSError) as error:
                raise InvalidInputError(f"The file {path} cannot be merged with others: {error}.") from error
        merged = f"{paths[0].rpartition('/')[0]}/{new_id()}{_MERGED}"
        if not self._store.create(merged, file.close()):
            raise ConflictError(f"There is a file {merged!r} already.")
        return merged

    def keep(self, path: str, parts: Collection[str]) -> None:
        """Write a merged file again with nothing but some of its parts, given by their former paths."""
        named = {_name(part) for part in parts}
        self._change(path, lambda part, table: table if part in named else SCHEMA.empty_table())

    def begin(self, deployment_id: str) -> datetime | None:
        """Return the first hour that the log has something of, or None when nothing was logged."""
        for day in self._store.folders(f"{_checked(deployment_id)}/log"):
            for hour in self._store.folders(day):
                if found := hour_of(hour):
                    return found
        return None

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error."""
        for path in paths:
            self._store.delete(path)

    def keys(self, path: str, within: str = "") -> list[tuple[str, str, str]]:
        """Return the source, id and type of each event of any file; ``within``: of a part of that."""
        file = pq.ParquetFile(self._store.open(within or path))
        groups = groups_of(file.metadata).get(_name(path), ()) if within else range(file.num_row_groups)
        names = ("source", "event_id", "type")
        columns = file.read_row_groups(list(groups), columns=list(names), use_threads=False)
        return list(zip(*(columns[name].to_pylist() for name in names), strict=True))

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

    def erase(self, path: str, event_ids: set[str]) -> int:
        """Write a file again without some events; return how many rows went, 0 where it is there no more."""
        try:
            return self._change(path, lambda _part, table: _without(table, event_ids))
        except NotFoundError:
            return 0

    def redact(
        self, deployment_id: str, path: str, spared: Container[str] = (), parts: Collection[str] = ()
    ) -> set[str]:
        """Take the payloads of requests out of a file, save ``spared`` events; return the files with those.

        Of a merged file only these ``parts`` are meant, by their former paths.
        """
        named = {_name(part): part for part in parts} or {"": path}
        kept: set[str] = set()

        def without(part: str, table: pa.Table) -> pa.Table:
            if part not in named:
                return table
            records = []
            for record in to_records(deployment_id, table):
                event = record.event
                if event.type == REQUEST_TYPE and event.id in spared:
                    kept.add(named[part])
                elif event.type == REQUEST_TYPE:
                    # The length of a header that is gone would be looked for.
                    extensions = {k: v for k, v in event.extensions.items() if k != HEADER_LENGTH}
                    event = replace(event, data=b"", extensions={**extensions, REDACTED: True})
                records.append(replace(record, event=event))
            return to_table(records)

        self._change(path, without)
        return kept

    def _change(self, path: str, change: Callable[[str, pa.Table], pa.Table]) -> int:
        """Write a file again, where nobody else has done so meanwhile; return how many rows it has lost."""
        for _ in range(_TRIES):
            data, tag = self._store.get_tagged(path)
            new = rewritten(data, change)
            if new.data is data:
                return 0
            if not new.rows:
                self._store.delete(path)
                return new.lost
            try:
                self._store.replace(path, new.data, tag)
            except ConflictError:
                continue
            return new.lost
        raise ConflictError(f"The log file {path} changes again and again; try again.")

    def read(self, deployment_id: str, start: datetime, end: datetime) -> Iterator[Event]:
        """Yield the events with ``start <= time < end``, sorted by (time, id)."""
        return (record.event for record in self.records(deployment_id, start, end))

    def records(self, deployment_id: str, start: datetime, end: datetime) -> Iterator[Record]:
        """Yield what ``read`` does, with the times of arrival.

        Of events with the same source, id and type the first in the order counts. In memory are the keys
        of the window, and the payloads of row groups that overlap in event time.
        """
        seen: set[tuple[str, str, str]] = set()
        for row in self._rows_of(deployment_id, start, end):
            key = (row["source"], row["event_id"], row["type"])
            if key not in seen:
                seen.add(key)
                yield to_record(deployment_id, row)

    def _rows_of(self, deployment_id: str, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
        """Yield the rows of a window in order, those of files that are merged meanwhile once more."""
        for left in reversed(range(_TRIES)):
            try:
                yield from self._rows(deployment_id, start, end)
            except GONE:
                if not left:
                    raise
            else:
                return

    def count(self, deployment_id: str, start: datetime, end: datetime) -> int:
        """Return how many distinct events ``read`` would yield; no payload is read."""
        keys = ["source", "event_id", "type"]

        def count() -> int:
            groups = self._groups(deployment_id, start, end)
            tables = [_window(group, [*keys, "time"], start, end) for group in groups]
            return int(pa.concat_tables(tables).group_by(keys).aggregate([]).num_rows) if tables else 0

        return _settled(count)

    def last_time(self, deployment_id: str) -> datetime | None:
        """Return the latest event time, or None when nothing was logged."""

        def last() -> datetime | None:
            for folder in reversed(self._hour_folders(deployment_id)):
                groups = self._groups_of_hour(folder)
                if groups:
                    return max(group.last for group in groups)
            return None

        return _settled(last)

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
            if info.path.endswith(_SUFFIX):
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
    within = (pc.field("time") >= pa.scalar(start, TIME)) & (pc.field("time") < pa.scalar(end, TIME))
    return table.filter(within)


def _hour_folder(deployment_id: str, time: datetime) -> str:
    utc = time.astimezone(UTC)
    return _folder(deployment_id, utc.date(), utc.hour)


@lru_cache(maxsize=1024)
def _folder(deployment_id: str, day: date, hour: int) -> str:
    return f"{_checked(deployment_id)}/log/date={day.isoformat()}/hour={hour:02d}"


def _meets(folder: str, span: timedelta, start: datetime | None, end: datetime | None) -> bool:
    """Say whether the hour (or day) that the folder's name states meets [start, end)."""
    first = hour_of(folder)
    if first is None:
        return False
    # A difference, since the last hour of the year 9999 has no end to compare with.
    return (start is None or start - first < span) and (end is None or first < end)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _without(table: pa.Table, event_ids: set[str]) -> pa.Table:
    """Return the rows of other events; the very table where it has none of these."""
    gone = pc.is_in(table["event_id"], pa.array(sorted(event_ids), pa.string()))
    return table.filter(pc.invert(gone)) if pc.any(gone).as_py() else table


def _settled(read: Callable[[], T]) -> T:
    """Read what lies in several files; when one of them is merged meanwhile, once more."""
    for _ in range(_TRIES - 1):
        try:
            return read()
        except GONE:
            continue
    return read()


def _checked(deployment_id: str) -> str:
    if not _DEPLOYMENT.fullmatch(deployment_id):
        raise InvalidInputError.of("deployment_id", f"deployment_id is {deployment_id!r}; that is no id.")
    return deployment_id
