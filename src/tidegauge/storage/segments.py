"""Write-ahead segments: what is appended survives a crash before it is acknowledged.

A segment ``<uuid7>.segment`` is a row of records. One record is

    magic 4 bytes | payload length u32 | payload CRC-32 u32 | CRC-32 of these 12 bytes u32 | payload

and the payload is the length of a JSON head (u32), the head, and the event's data as they came. Integers
are little-endian. The second checksum starts from the CRC-32 of the segment's id, so that record bytes
inside an event's data are never taken for a record of this file.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import orjson

from tidegauge.domain.events import Event
from tidegauge.domain.identity import new_id
from tidegauge.errors import ConflictError, UnavailableError

SUFFIX = ".segment"
_LOCK = "lock"
_AT_ONCE = 1024  # parts of a write: more are refused
_LOOK_SECONDS = 1.0  # between looks at a disk that is full
_PATIENCE = 0.5  # seconds that an append waits for who reads
_MAGIC = b"TGr1"
_FRAME = struct.Struct("<4sIII")
_FRAME_START = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One event as the collector took it: whose it is and when it came (UTC)."""

    deployment_id: str
    received: datetime
    event: Event


@dataclass(frozen=True)
class Segment:
    """What a segment file holds: its records in order, and what could not be read.

    ``torn`` counts the bytes of a last record that was cut off, which nobody was told is safe;
    ``damaged`` are the (offset, length) of spans in the middle that were safe once and no longer are.
    """

    id: str
    records: list[Record]
    torn: int = 0
    damaged: tuple[tuple[int, int], ...] = ()


class Journal(Protocol):
    """Where records are safe until they are in the inference log: a folder, or a bucket.

    What waits is told by name. ``append`` returns when the records are safe, and raises UnavailableError when
    nothing of them is; ``at_once`` threads may call it. It tells whether what was open is full, so that there
    is something to read. ``refusal`` says why nothing more can be taken now.
    """

    at_once: int

    def append(self, records: Sequence[Record]) -> bool: ...
    def refusal(self) -> str: ...
    def seal(self) -> None: ...
    def sealed(self) -> list[str]: ...
    def read(self, name: str) -> Segment: ...
    def discard(self, name: str, *, damaged: bool) -> None: ...
    def close(self) -> None: ...


class Segments:
    """The folder of segments of one collector. One thread appends at a time; others may read and discard."""

    at_once = 1

    def __init__(
        self,
        folder: Path,
        max_bytes: int = 16 << 20,
        max_age: float = 60.0,
        max_waiting_bytes: int = 2 << 30,
        reserve_bytes: int | None = None,
        neighbours: Sequence[Path] = (),
    ) -> None:
        """Open ``folder``; a segment is closed at ``max_bytes`` or after ``max_age`` seconds.

        Nothing is taken past ``max_waiting_bytes`` of segments, nor where less than ``reserve_bytes`` would
        be left on the disk: by default twice a segment, so that a log on the same disk can be written.
        What is left in folders of ``neighbours`` that are no more goes to the log as well.
        Raises ConflictError when another process has the folder: its open segment looks like one left
        by a crash, and would be deleted under its hands.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._max_waiting = max_waiting_bytes
        self._reserve = 2 * max_bytes if reserve_bytes is None else reserve_bytes
        self._state = threading.Lock()  # guards the sizes; never held while the disk works
        self._io = threading.Lock()  # guards the open file
        self._free, self._free_at = _free(folder), time.monotonic()
        self._file: int | None = None
        self._path = folder
        self._size = 0
        self._opened = 0.0
        self._closed = False
        self._kept: dict[str, list[Record]] = {}  # of some segments: need not be read back
        self._kept_bytes = 0
        self._read = threading.Condition(self._state)
        self._is_read = False  # while segments are closed
        self._guard = _claim(folder)
        _adopt(folder, neighbours)
        self._sealed = {path.stem: path.stat().st_size for path in folder.glob(f"*{SUFFIX}")}

    def append(self, records: Sequence[Record]) -> bool:
        """Write the records and return when they are safe on the disk; tell whether the segment is full.

        Raises UnavailableError when the disk refuses; nothing of these records counts then, and the
        next append starts a new segment.
        """
        if not records:
            return False
        payloads = [_encode(record) for record in records]
        self._let_read(bytes_of(records))
        try:
            with self._io:
                self._write(records, payloads)
                return self._file is None
        except OSError as error:
            raise UnavailableError(
                f"The collector cannot write to {self._folder}: {error.strerror or error}. "
                "Nothing was accepted; free the disk and send the events again."
            ) from error

    def refusal(self) -> str:
        """Say why nothing more can be taken now; empty where there is room. Never waits for the disk."""
        if self._free < self._reserve and time.monotonic() - self._free_at > _LOOK_SECONDS:
            self._look()  # nothing is appended any more that would find out
        return self._refusal(0)

    def seal(self) -> None:
        """Close the open segment, if there is one, so that it can be read and flushed."""
        with self._io:
            self._close_file()

    def sealed(self) -> list[str]:
        """Return the closed segments, oldest first; those of an earlier process are among them."""
        with self._state:
            return sorted(self._sealed)

    def read(self, name: str) -> Segment:
        """Read a closed segment, up to what was safe: the end may be of a write that failed."""
        with self._state:
            kept = self._release(name)
            self._is_read = True
            self._read.notify()
        if kept is not None:
            return Segment(name, kept)
        content = self._place(name).read_bytes()
        with self._state:
            size = self._sealed.get(name, len(content))
        return parse_segment(name, content[:size])

    def discard(self, name: str, *, damaged: bool) -> None:
        """Forget a segment that is in the log; a damaged one is kept for somebody to look at."""
        path = self._place(name)
        if damaged:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)
        with self._state:
            self._release(name)
            self._sealed.pop(name, None)

    def close(self) -> None:
        """Close the open segment and let another process have the folder."""
        with self._io:
            self._close_file()
            if not self._closed:
                self._closed = True
                os.close(self._guard)

    def _place(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _refusal(self, size: int) -> str:
        with self._state:
            waiting = sum(self._sealed.values()) + self._size
        if waiting + size > self._max_waiting:
            return (
                f"{waiting} bytes of events wait to be written to the inference log, of at most "
                f"{self._max_waiting}; see why the store takes none, and send the events again."
            )
        if self._free - size < self._reserve:
            return (
                f"The disk of {self._folder} has {self._free} bytes left; {self._reserve} are kept for "
                "writing the log; free the disk and send the events again."
            )
        return ""

    def _look(self) -> None:
        self._free, self._free_at = _free(self._folder), time.monotonic()

    def _let_read(self, size: int) -> None:
        """Wait a moment where more would be kept than may be: to read it back costs more than the moment.

        Where nobody reads, as while the store is away, only the first to come waits.
        """
        with self._state:
            if self._is_read and self._sealed and self._kept_bytes + size > 2 * self._max_bytes:
                self._is_read = self._read.wait(_PATIENCE)

    def _keep(self, records: Sequence[Record], *, begins: bool) -> None:
        """Keep what the open segment has got, all of it or nothing; in all at most two segments."""
        name, size = self._path.stem, bytes_of(records)
        if (begins or name in self._kept) and self._kept_bytes + size <= 2 * self._max_bytes:
            self._kept.setdefault(name, []).extend(records)
            self._kept_bytes += size
        else:
            self._release(name)

    def _release(self, name: str) -> list[Record] | None:
        """Return what was kept of a segment, None for nothing; it is kept no longer."""
        kept = self._kept.pop(name, None)
        self._kept_bytes -= bytes_of(kept or ())
        return kept

    def _write(self, records: Sequence[Record], payloads: list[_Payload]) -> None:
        if self._closed:
            raise OSError("the collector is closed")
        self._look()
        refusal = self._refusal(sum(payload.length for payload in payloads))
        if refusal:
            raise UnavailableError(refusal)
        file = self._file if self._file is not None else self._open()
        parts = _frames(self._path.stem, payloads)
        try:
            _write_all(file, parts)
            os.fsync(file)
        except BaseException:
            self._abandon(file)
            raise
        with self._state:  # before the segment can be closed, and read
            self._keep(records, begins=not self._size)
            self._size += sum(map(len, parts))
        if self._size >= self._max_bytes or time.monotonic() - self._opened >= self._max_age:
            self._close_file()

    def _open(self) -> int:
        path = self._place(new_id())
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            _sync_folder(self._folder)
        except OSError:
            os.close(file)
            raise
        self._file, self._path, self._size, self._opened = file, path, 0, time.monotonic()
        return file

    def _abandon(self, file: int) -> None:
        """Leave a segment whose last write failed; after a failed fsync its tail is not to be trusted."""
        with contextlib.suppress(OSError):  # replay drops the tail if it cannot be cut off here
            os.ftruncate(file, self._size)
            os.fsync(file)
        self._close_file()

    def _close_file(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        with contextlib.suppress(OSError):  # all that counts was synced before
            os.close(file)
        if self._size:
            with self._state:
                self._sealed[self._path.stem], self._size = self._size, 0
        else:
            with contextlib.suppress(OSError):
                self._path.unlink()


def bytes_of(records: Iterable[Record]) -> int:
    """Return how many bytes of payload records have."""
    return sum(len(record.event.data) for record in records)


@dataclass(frozen=True)
class _Payload:
    """A record ready for the disk, in parts."""

    parts: tuple[bytes, ...]
    length: int
    crc: int


def build_segment(id_: str, records: Sequence[Record]) -> bytes:
    """Return a whole segment of these records."""
    return b"".join(_frames(id_, [_encode(record) for record in records]))


def _frames(id_: str, payloads: Sequence[_Payload]) -> list[bytes]:
    seed = zlib.crc32(id_.encode())
    return [part for payload in payloads for part in (_frame(payload, seed), *payload.parts)]


def parse_segment(id_: str, content: bytes) -> Segment:
    """Read a closed segment; a torn end and damaged spans are left out and reported."""
    seed = zlib.crc32(id_.encode())
    records: list[Record] = []
    damaged: list[tuple[int, int]] = []
    offset = 0
    while offset < len(content):
        end = _record_end(content, offset, seed)
        if end is not None:
            record = _read_record(content, offset, end)
            if record is not None:
                records.append(record)
                offset = end
                continue
        following = _next_record(content, offset + 1 if end is None else end, seed)
        if following is None:
            break
        damaged.append((offset, following - offset))
        offset = following
    torn = len(content) - offset
    if damaged:
        _log.error("Segment %s is damaged at (offset, length) %s; the rest was read.", id_, damaged)
    return Segment(id_, records, torn, tuple(damaged))


def _record_end(content: bytes, offset: int, seed: int) -> int | None:
    """Return where the record at ``offset`` ends, or None when no whole record starts there."""
    if offset + _FRAME.size > len(content):
        return None
    magic, length, _, check = _FRAME.unpack_from(content, offset)
    if magic != _MAGIC or check != zlib.crc32(content[offset : offset + 12], seed):
        return None
    end: int = offset + _FRAME.size + length
    return end if end <= len(content) else None


def _read_record(content: bytes, offset: int, end: int) -> Record | None:
    payload = memoryview(content)[offset + _FRAME.size : end]
    if _FRAME.unpack_from(content, offset)[2] != zlib.crc32(payload):
        return None
    return _decode(payload)


def _next_record(content: bytes, offset: int, seed: int) -> int | None:
    while (offset := content.find(_MAGIC, offset)) >= 0:
        if _record_end(content, offset, seed) is not None:
            return offset
        offset += 1
    return None


def _encode(record: Record) -> _Payload:
    event = record.event
    head = orjson.dumps(
        [
            record.deployment_id,
            (record.received - _EPOCH) // _MICROSECOND,
            event.id,
            event.source,
            event.type,
            (event.time - _EPOCH) // _MICROSECOND,
            event.content_type,
            dict(event.extensions),
        ]
    )
    start = _LENGTH.pack(len(head)) + head
    return _Payload(
        (start, event.data), len(start) + len(event.data), zlib.crc32(event.data, zlib.crc32(start))
    )


def _decode(payload: memoryview) -> Record:
    (length,) = _LENGTH.unpack_from(payload)
    deployment_id, received, event_id, source, kind, at, content_type, extensions = orjson.loads(
        payload[4 : 4 + length]
    )
    event = Event(
        id=event_id,
        source=source,
        type=kind,
        time=_EPOCH + at * _MICROSECOND,
        content_type=content_type,
        data=bytes(payload[4 + length :]),
        extensions=extensions,
    )
    return Record(deployment_id, _EPOCH + received * _MICROSECOND, event)


def _frame(payload: _Payload, seed: int) -> bytes:
    start = _FRAME_START.pack(_MAGIC, payload.length, payload.crc)
    return start + _LENGTH.pack(zlib.crc32(start, seed))


def _write_all(file: int, parts: Sequence[bytes]) -> None:
    """Write all without joining it first; a full disk shows as a short write, then as an error."""
    for start in range(0, len(parts), _AT_ONCE):
        some = parts[start : start + _AT_ONCE]
        written = os.writev(file, some)
        if written < sum(map(len, some)):
            rest = memoryview(b"".join(some))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]


def _adopt(folder: Path, others: Sequence[Path]) -> None:
    """Move the segments of folders that no process has into ``folder``."""
    for other in others:
        if other == folder or not (other / _LOCK).exists():
            continue
        try:
            guard = _claim(other)
        except ConflictError:
            continue
        try:
            for path in other.glob(f"*{SUFFIX}"):
                path.rename(folder / path.name)
            _sync_folder(folder)
        finally:
            os.close(guard)


def _free(folder: Path) -> int:
    """Return the bytes that are left on the disk of a folder."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _claim(folder: Path) -> int:
    guard = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(guard)
        raise ConflictError(
            f"Another process collects into {folder}; stop it, or give this one a home of its own."
        ) from error
    _sync_folder(folder.parent)
    return guard


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
