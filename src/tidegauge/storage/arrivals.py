"""Arrivals: what collectors of a fleet took, safe in the store until it is in the log.

The disk of a pod can vanish, so an event is acknowledged when its object is there:

    .arrivals/<collector>/<uuid7>.segment   what came together, in the format of segments
    .arrivals/<collector>/<uuid7>.group     paths of arrivals that go to the log as one
    .arrivals/<collector>/<uuid7>.done      paths of arrivals that are in the log, kept for some minutes
    .arrivals/<collector>/alive             written again and again, on the condition that nobody else has

A group, and an arrival by itself, always give the same files of the log, whoever writes them. A collector
makes groups of its own arrivals only, and one counts once a sign of life has been given after it. Who adopts
what another left writes that sign, too: the other finds it and begins a new life. So whoever adopts sees
every group that counts; arrivals that are in none, or in one that came too late, go to the log one by one.

A store that was mute may carry out a PUT long after it was given up, or tried again and its object deleted.
What appears like that is no arrival: a collector knows its own, and of others' the ``done`` tell.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import orjson

from tidegauge.domain.identity import new_id
from tidegauge.errors import ConflictError, NotFoundError, UnavailableError
from tidegauge.storage.objects import ObjectInfo, ObjectStore
from tidegauge.storage.segments import SUFFIX, Record, Segment, build_segment, parse_segment

FOLDER = ".arrivals"
_GROUP, _DONE, _ALIVE, _DAMAGED = ".group", ".done", "alive", "damaged"
_GROUP_BYTES = 16 << 20
_LIST_SECONDS = 10.0
_DEAD = timedelta(seconds=60)  # without a sign of life, by the clock of the store
_LATEST = timedelta(minutes=5)  # that a store carries out what it was asked
_log = logging.getLogger(__name__)


class Arrivals:
    """The arrivals of one collector, and those of collectors that are dead."""

    at_once = 4  # a PUT takes its time, and the next need not wait for it

    def __init__(self, store: ObjectStore, max_waiting_bytes: int = 2 << 30) -> None:
        """Nothing is taken past ``max_waiting_bytes`` that wait for the log."""
        self._store = store
        self._max_waiting = max_waiting_bytes
        self._lock = threading.Lock()  # guards what follows up to the doubtful
        self._id = new_id()
        self._loose: dict[str, int] = {}  # sizes of own arrivals that are in no group, by path, oldest first
        self._forming: dict[str, dict[str, int]] = {}  # groups that may be in the store, and do not count yet
        self._groups: dict[str, dict[str, int]] = {}  # own arrivals by what goes to the log as one
        self._putting: set[str] = set()  # on their way to the store
        self._beating = threading.Lock()  # guards what follows
        self._beats: set[bytes] = set()  # signs of this life that may stand in the store
        self._listed_at = float("-inf")
        self._orphans: list[str] = []

    def append(self, records: Sequence[Record]) -> bool:
        """Put the records as one object, which others join; UnavailableError where the store fails."""
        if not records:
            return False
        refusal = self.refusal()
        if refusal:
            raise UnavailableError(refusal)
        if not self._beats:
            self._beat()  # or nobody could adopt what is left behind
        id_ = new_id()
        data = build_segment(id_, records)
        with self._lock:
            path = f"{FOLDER}/{self._id}/{id_}{SUFFIX}"
            self._putting.add(path)
        try:
            self._store.replace(path, data)
            with self._lock:
                if path.startswith(f"{FOLDER}/{self._id}/"):  # else it is adopted with all of that life
                    self._loose[path] = len(data)
        finally:
            with self._lock:
                self._putting.discard(path)
        return False

    def refusal(self) -> str:
        """Say why nothing more can be taken now; empty where there is room."""
        with self._lock:
            groups = [self._loose, *self._forming.values(), *self._groups.values()]
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
        self._form()
        if self._beat():
            with self._lock:
                self._groups |= self._forming
                self._forming = {}
        if time.monotonic() - self._listed_at > _LIST_SECONDS:
            self._orphans += [name for name in self._adopt() if name not in self._orphans]
            self._listed_at = time.monotonic()
        return [*self._groups, *self._orphans]

    def read(self, name: str) -> Segment:
        """Read what goes to the log as one; nothing where it is there already.

        Raises UnavailableError where it has been adopted meanwhile: the next ``sealed`` finds that out.
        """
        records: list[Record] = []
        damaged: list[tuple[int, int]] = []
        torn = 0
        try:
            for path in self._members(name):
                segment = parse_segment(_id_of(path), self._store.get(path))
                records += segment.records
                damaged += segment.damaged
                torn += segment.torn
        except NotFoundError as error:
            if name.endswith(_GROUP) and not self._store.exists(_done(name)):
                self._forget(name)
                raise UnavailableError(f"The arrivals of {name} were adopted.") from error
            return Segment(_id_of(name), [])
        return Segment(_id_of(name), records, torn, tuple(damaged))

    def discard(self, name: str, *, damaged: bool) -> None:
        """Delete what is in the log; what is left of damaged arrivals is kept for somebody to look at."""
        members = self._members(name)
        if members:
            self._store.replace(_done(name), orjson.dumps(members))
        for path in members:
            if damaged:
                with contextlib.suppress(NotFoundError):
                    self._store.put(f"{FOLDER}/{_DAMAGED}/{_id_of(path)}.{_DAMAGED}", self._store.get(path))
            self._store.delete(path)
        if name.endswith(_GROUP):
            self._store.delete(name)
        self._forget(name)

    def close(self) -> None:
        """Leave nothing but what others are to adopt, or to know."""
        alive = f"{FOLDER}/{self._id}/{_ALIVE}"
        with contextlib.suppress(UnavailableError):
            if [info.path for info in self._store.list(f"{FOLDER}/{self._id}")] == [alive]:
                self._store.delete(alive)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._groups.pop(name, None)
        if name in self._orphans:
            self._orphans.remove(name)

    def _beat(self) -> bool:
        """Give a sign of life; False where another has adopted this one, and a new one begins."""
        with self._beating:
            path = f"{FOLDER}/{self._id}/{_ALIVE}"
            sign = new_id().encode()
            if not self._beats:
                self._beats.add(sign)
                self._store.create(path, sign)
                return True
            try:
                found, tag = self._store.get_tagged(path)
                if found in self._beats:
                    self._beats.add(sign)  # also where there is no answer
                    self._store.replace(path, sign, tag)
                    self._beats = {sign}
                    return True
            except (NotFoundError, ConflictError):
                pass
            with self._lock:
                self._id = new_id()
                self._loose, self._forming, self._groups = {}, {}, {}
            self._beats = set()
            return False

    def _form(self) -> None:
        """Write groups of the arrivals that are in none; each is the same the next time if that fails."""
        with self._lock:
            while self._loose:
                members: dict[str, int] = {}
                for path, size in self._loose.items():
                    if members and sum(members.values()) + size > _GROUP_BYTES:
                        break
                    members[path] = size
                alone = len(members) == 1
                name = next(iter(members)) if alone else f"{FOLDER}/{self._id}/{new_id()}{_GROUP}"
                self._forming[name] = members
                for path in members:
                    del self._loose[path]
            forming = list(self._forming.items())
        for name, group in forming:
            if len(group) > 1:
                self._store.replace(name, orjson.dumps(list(group)))

    def _members(self, name: str) -> list[str]:
        own = self._groups.get(name)
        if own is not None:
            return list(own)
        if not name.endswith(_GROUP):
            return [name]
        try:
            return _paths(self._store.get(name))
        except NotFoundError:
            return []  # another has adopted it

    def _adopt(self) -> list[str]:
        """Take over what collectors left whose last sign of life is old; return it, oldest first."""
        found: dict[str, dict[str, ObjectInfo]] = {}
        for info in self._store.list(FOLDER):
            collector, _, file = info.path.removeprefix(f"{FOLDER}/").partition("/")
            if file and collector != _DAMAGED:
                found.setdefault(collector, {})[file] = info
        mine = found.pop(self._id, {})
        if _ALIVE not in mine:
            return []
        now = mine[_ALIVE].modified  # by the clock of the store
        self._sweep(mine, now)
        orphans: list[str] = []
        for collector, files in found.items():
            seen = files.get(_ALIVE) or max(files.values(), key=lambda info: info.modified)
            if now - seen.modified > _DEAD and self._take_over(collector):
                orphans += self._left(collector, now)
        return orphans

    def _sweep(self, files: Mapping[str, ObjectInfo], now: datetime) -> None:
        """Delete of one's own what nobody was told of, what is in the log, and what was told long enough."""
        with self._lock:
            known = self._putting.union(self._loose, *self._forming.values(), *self._groups.values())
        for info in files.values():
            if (info.path.endswith(SUFFIX) and info.path not in known) or _is_over(info, now):
                self._store.delete(info.path)

    def _take_over(self, collector: str) -> bool:
        """Write the sign of another's life in its place; False where it is alive, or another was faster."""
        path, sign = f"{FOLDER}/{collector}/{_ALIVE}", f"adopted {new_id()}".encode()
        try:
            _, tag = self._store.get_tagged(path)
            self._store.replace(path, sign, tag)
        except NotFoundError:
            return self._store.create(path, sign)
        except ConflictError:
            return False
        return True

    def _left(self, collector: str, now: datetime) -> list[str]:
        """Return what there is of one that was taken over: groups that count, other arrivals alone."""
        found = {info.path: info for info in self._store.list(f"{FOLDER}/{collector}")}
        groups, grouped = [], set()
        for group in sorted(path for path in found if path.endswith(_GROUP)):
            members = self._told(group)
            if members and (members <= found.keys() or _done(group) in found):
                groups.append(group)
                grouped |= members
            elif not members & found.keys():
                self._store.delete(group)
        loose = {path for path in found if path.endswith(SUFFIX)} - grouped
        dones = [info for info in found.values() if info.path.endswith(_DONE)]
        late = {path for info in dones for path in self._told(info.path)} & loose if loose else set()
        over = {info.path for info in dones if _is_over(info, now)}
        for path in late | over:
            self._store.delete(path)
        left = [*groups, *(loose - late)]
        if not left and len(over) == len(dones):
            self._store.delete(f"{FOLDER}/{collector}/{_ALIVE}")
        return sorted(left, key=_id_of)

    def _told(self, path: str) -> set[str]:
        """Return the arrivals that a group or a ``done`` names; none where it cannot be read."""
        try:
            return set(_paths(self._store.get(path)))
        except (NotFoundError, ValueError) as error:
            _log.error("%s cannot be read, and its arrivals go to the log alone: %s", path, error)
            return set()


def _done(name: str) -> str:
    return name.rpartition(".")[0] + _DONE


def _is_over(info: ObjectInfo, now: datetime) -> bool:
    return info.path.endswith(_DONE) and now - info.modified > _LATEST


def _paths(data: bytes) -> list[str]:
    """Return the members of a group; ValueError where it is none."""
    found = orjson.loads(data)
    if not isinstance(found, list) or not all(isinstance(path, str) for path in found):
        raise ValueError("it is no list of paths")
    return found


def _id_of(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]
