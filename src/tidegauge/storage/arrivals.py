"""Arrivals: what collectors of a fleet took, safe in the store until it is in the log.

The disk of a pod can vanish, so an event is acknowledged when its object is there:

    .arrivals/<collector>/<uuid7>.segment   what came together, in the format of segments
    .arrivals/<collector>/<uuid7>.group     names of arrivals that go to the log as one
    .arrivals/<collector>/alive             written again and again; its age says whether the collector is

A group, and an arrival by itself, always give the same files of the log, whoever writes them. Members are
deleted only after that, so a group that lacks one is in the log. A collector whose sign of life is late
begins a new life and leaves its arrivals to be adopted: one by one, since groups are made only of what is
one's own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import orjson

from tidegauge.domain.identity import new_id
from tidegauge.errors import NotFoundError, UnavailableError
from tidegauge.storage.objects import ObjectInfo, ObjectStore
from tidegauge.storage.segments import SUFFIX, Record, Segment, build_segment, parse_segment

FOLDER = ".arrivals"
_GROUP, _ALIVE, _DAMAGED = ".group", "alive", "damaged"
_GROUP_BYTES = 16 << 20
_BEAT_SECONDS = 10.0
_LATE_SECONDS = 30.0  # a sign of life that comes so late begins a new life
_DEAD = timedelta(seconds=60)


class Arrivals:
    """The arrivals of one collector, and those of collectors that are dead."""

    at_once = 4  # a PUT takes its time, and the next need not wait for it

    def __init__(self, store: ObjectStore, max_waiting_bytes: int = 2 << 30) -> None:
        """Nothing is taken past ``max_waiting_bytes`` that wait for the log."""
        self._store = store
        self._max_waiting = max_waiting_bytes
        self._lock = threading.Lock()  # guards everything below
        self._id = new_id()
        self._loose: dict[str, int] = {}  # sizes of own arrivals that are in no group, by path, oldest first
        self._groups: dict[str, dict[str, int]] = {}  # own arrivals by what goes to the log as one
        self._forming: tuple[str, dict[str, int]] | None = None  # a group that may be in the store
        self._doubtful: set[str] = (
            set()
        )  # arrivals that may be in the store; nobody was told that they are safe
        self._beaten_at = time.monotonic()
        self._listed_at = float("-inf")
        self._orphans: list[str] = []

    def append(self, records: Sequence[Record]) -> None:
        """Put the records as one object; UnavailableError where the store does not take it."""
        if not records:
            return
        refusal = self.refusal()
        if refusal:
            raise UnavailableError(refusal)
        id_ = new_id()
        data = build_segment(id_, records)
        with self._lock:
            path = f"{FOLDER}/{self._id}/{id_}{SUFFIX}"
        try:
            self._store.replace(path, data)
        except UnavailableError:
            with self._lock:
                self._doubtful.add(path)
            raise
        with self._lock:
            if path.startswith(f"{FOLDER}/{self._id}/"):  # else it is adopted with all of that life
                self._loose[path] = len(data)

    def refusal(self) -> str:
        """Say why nothing more can be taken now; empty where there is room."""
        with self._lock:
            groups = [self._loose, *self._groups.values()]
            waiting = sum(size for group in groups for size in group.values())
        if waiting < self._max_waiting:
            return ""
        return (
            f"{waiting} bytes of events wait to be written to the inference log, of at most "
            f"{self._max_waiting}; see why the store takes none, and send the events again."
        )

    def seal(self) -> None:
        """Nothing stays open: each arrival is whole."""

    def sealed(self) -> list[str]:
        """Return what is to be written to the log: groups of one's own, and what the dead left.

        For one thread at a time. Raises UnavailableError where the store does not answer.
        """
        self._beat()
        for path in tuple(self._doubtful):
            self._store.delete(path)
            self._doubtful.discard(path)
        while self._group():
            pass
        if time.monotonic() - self._listed_at > _BEAT_SECONDS:
            self._orphans = self._find_orphans()
            self._listed_at = time.monotonic()
        return [*self._groups, *self._orphans]

    def read(self, name: str) -> Segment:
        """Read what goes to the log as one; nothing where another has written it there meanwhile."""
        records: list[Record] = []
        damaged: list[tuple[int, int]] = []
        torn = 0
        try:
            for path in self._members(name):
                segment = parse_segment(_id_of(path), self._store.get(path))
                records += segment.records
                damaged += segment.damaged
                torn += segment.torn
        except NotFoundError:
            return Segment(_id_of(name), [])
        return Segment(_id_of(name), records, torn, tuple(damaged))

    def discard(self, name: str, *, damaged: bool) -> None:
        """Delete what is in the log; what is left of damaged arrivals is kept for somebody to look at."""
        for path in self._members(name):
            if damaged:
                with contextlib.suppress(NotFoundError):
                    self._store.put(f"{FOLDER}/{_DAMAGED}/{_id_of(path)}.{_DAMAGED}", self._store.get(path))
            self._store.delete(path)
        self._store.delete(name)
        with self._lock:
            self._groups.pop(name, None)
        if name in self._orphans:
            self._orphans.remove(name)

    def close(self) -> None:
        """Leave nothing but what others are to adopt."""
        if not self._loose and not self._groups:
            with contextlib.suppress(UnavailableError):
                self._store.delete(f"{FOLDER}/{self._id}/{_ALIVE}")

    def _beat(self) -> None:
        """Give a sign of life; one that is late begins a new one."""
        since = time.monotonic() - self._beaten_at
        if since > _LATE_SECONDS:
            with self._lock:
                self._id = new_id()
                self._loose, self._groups, self._forming = {}, {}, None
            since = _BEAT_SECONDS
        if since >= _BEAT_SECONDS or self._listed_at < 0:
            self._store.put(f"{FOLDER}/{self._id}/{_ALIVE}", b"")
            self._beaten_at = time.monotonic()

    def _group(self) -> bool:
        """Let arrivals that are in no group go to the log as one; tell whether there were any."""
        with self._lock:
            if self._forming is None:
                members: dict[str, int] = {}
                for path, size in self._loose.items():
                    if members and sum(members.values()) + size > _GROUP_BYTES:
                        break
                    members[path] = size
                if not members:
                    return False
                alone = len(members) == 1
                name = next(iter(members)) if alone else f"{FOLDER}/{self._id}/{new_id()}{_GROUP}"
                self._forming = name, members
            name, members = self._forming
        if len(members) > 1:
            self._store.replace(name, orjson.dumps(list(members)))
        with self._lock:
            self._forming = None
            self._groups[name] = members
            for path in members:
                del self._loose[path]
        return True

    def _members(self, name: str) -> list[str]:
        own = self._groups.get(name)
        if own is not None:
            return list(own)
        if not name.endswith(_GROUP):
            return [name]
        try:
            members: list[str] = orjson.loads(self._store.get(name))
        except NotFoundError:
            return []  # another has adopted it
        return members

    def _find_orphans(self) -> list[str]:
        """Return what collectors left whose last sign of life is old by the store's clock, oldest first."""
        found: dict[str, dict[str, ObjectInfo]] = {}
        for info in self._store.list(FOLDER):
            collector, _, file = info.path.removeprefix(f"{FOLDER}/").partition("/")
            if file and collector != _DAMAGED:
                found.setdefault(collector, {})[file] = info
        own = found.pop(self._id, {}).get(_ALIVE)
        if own is None:
            return []
        orphans: list[str] = []
        for collector, files in found.items():
            newest = max(info.modified for info in files.values())
            if own.modified - newest < _DEAD:
                continue
            groups = [info.path for file, info in files.items() if file.endswith(_GROUP)]
            grouped = {path for group in groups for path in self._members(group)}
            loose = [
                info.path
                for file, info in files.items()
                if file.endswith(SUFFIX) and info.path not in grouped
            ]
            orphans += sorted(groups + loose, key=_id_of)
            if not groups and not loose:
                self._store.delete(f"{FOLDER}/{collector}/{_ALIVE}")
        return orphans


def _id_of(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]
