"""Backups: one file with the rows, the objects and the segments of a server, made while it runs.

Objects are copied first, then segments, then the rows of one moment, then what objects came or changed
meanwhile: whatever the rows of that moment name is in the file. An event whose segment, or arrival, was
gone had been written to the log before; files of the log that no row names are taken down by the restore.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import IO, Any

import orjson

from tidegauge import __version__
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.storage import dumps
from tidegauge.storage.arrivals import FOLDER
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectInfo, ObjectStore
from tidegauge.storage.segments import SUFFIX

_FORMAT = 1
_MANIFEST = "manifest.json"
_TABLES, _OBJECTS, _SEGMENTS = "tables/", "objects/", "segments/"
_KEY = "secrets.key"
_PASSING = re.compile(rf"[^/]+/log/|{re.escape(FOLDER)}/")  # what went meanwhile was deleted, or is elsewhere

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Manifest:
    """What a backup holds: the last thing in it, so that one that was cut off has none.

    ``digests`` are BLAKE2b of each member by its name, the last of that name. ``keys`` name what its secrets
    are sealed with; only with ``_KEY`` among its members are they in it, too.
    """

    format: int
    version: str
    schema: str
    made_at: str
    rows: Mapping[str, int]
    digests: Mapping[str, str]
    keys: Sequence[str] = ()

    @property
    def has_key(self) -> bool:
        return _KEY in self.digests

    def summary(self) -> dict[str, Any]:
        """Return what people want to know of it."""
        names = list(self.digests)
        return {
            "version": self.version,
            "schema": self.schema,
            "made_at": self.made_at,
            "rows": sum(self.rows.values()),
            "objects": sum(name.startswith(_OBJECTS) for name in names),
            "keys": list(self.keys),
            "has_key": self.has_key,
            "segments": sum(name.startswith(_SEGMENTS) for name in names),
        }


def back_up(
    database: Database,
    store: ObjectStore,
    segments: Path,
    target: Path,
    now: datetime,
    tell: Tell,
    *,
    with_key: bool = False,
) -> Manifest:
    """Write a backup; nothing stands at ``target`` before it is whole.

    Secrets are in it as they are sealed; what opens them only ``with_key``.

    Raises ConflictError where something stands there already, UnavailableError where the disk refuses.
    """
    if target.exists():
        raise ConflictError(f"{target} is there already; give another name.")
    part = target.with_name(f".{target.name}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds everything there is
        with os.fdopen(descriptor, "wb") as file:
            with (
                tarfile.open(fileobj=file, mode="w") as tar,
                tempfile.TemporaryDirectory(dir=part.parent) as dir_,
            ):
                key = database.keys.content() if with_key else b""
                manifest = _fill(_Writer(tar, now), database, store, segments, Path(dir_), now, tell, key)
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    except OSError as error:
        raise UnavailableError(
            f"The backup cannot be written to {target.parent}: {error.strerror or error}."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return manifest


def _fill(
    out: _Writer,
    database: Database,
    store: ObjectStore,
    segments: Path,
    scratch: Path,
    now: datetime,
    tell: Tell,
    key: bytes,
) -> Manifest:
    if key:
        out.add(_KEY, key)
    copied, _ = _copy_objects(out, store, {}, tell)
    for path in sorted(segments.rglob(f"*{SUFFIX}")):  # collectors by themselves have folders below
        try:
            out.add(f"{_SEGMENTS}{path.name}", path.read_bytes())
        except FileNotFoundError:
            continue  # written to the log meanwhile, which is copied below
    schema, rows = dumps.dump(database, scratch, lambda name: tell(f"rows of {name}", 0, 0))
    for path in sorted(scratch.iterdir()):
        with path.open("rb") as file:
            out.stream(f"{_TABLES}{path.name}", file, path.stat().st_size)
    left, missed = _copy_objects(out, store, copied, tell)
    while missed:  # of the log, and merged into a file that is newer than the list
        copied |= left
        left, missed = _copy_objects(out, store, copied, tell)
    gone = {f"{_OBJECTS}{path}" for path in copied.keys() - left.keys() if _PASSING.match(path)}
    digests = {name: digest for name, digest in out.digests.items() if name not in gone}
    keys = sorted(name for name in database.vault.counts() if name)
    manifest = Manifest(_FORMAT, __version__, schema, now.isoformat(), rows, digests, keys)
    out.add(_MANIFEST, orjson.dumps(asdict(manifest)))
    return manifest


def _copy_objects(
    out: _Writer, store: ObjectStore, known: Mapping[str, ObjectInfo], tell: Tell
) -> tuple[dict[str, ObjectInfo], int]:
    """Add the objects that are not known as they are; return what there is, and how many went meanwhile."""
    arrived = list(store.list(FOLDER))  # first: what is there no more is in the log, which comes second
    others = (info for info in store.list("") if not info.path.startswith(f"{FOLDER}/"))
    found = {info.path: info for info in (*arrived, *others)}
    wanted = [info for info in found.values() if known.get(info.path) != info]
    for done, info in enumerate(wanted):
        tell("objects", done, len(wanted))
        try:
            with io.BufferedReader(store.open(info.path)) as file:
                size = file.seek(0, io.SEEK_END)
                file.seek(0)
                out.stream(f"{_OBJECTS}{info.path}", file, size)
        except NotFoundError:
            del found[info.path]
    return found, len(wanted) - sum(info.path in found for info in wanted)


def restore(database: Database, store: ObjectStore, segments: Path, source: Path, tell: Tell) -> Manifest:
    """Bring a backup into an empty home; the rows come last, so that one that failed can be begun again.

    Files of the log that were merged after the moment of the rows are found in the merged one; those that
    were written after it are taken down.

    Everything is checked before anything is written. Raises InvalidInputError for a file that is no backup
    or a damaged one, ConflictError where the database has rows.
    """
    if not source.is_file():
        raise NotFoundError(f"There is no file {source}.")
    try:
        with tarfile.open(source, "r:") as tar:
            members = {member.name: member for member in tar.getmembers()}  # the last of a name counts
            manifest = _manifest(tar, members, source)
            _check(tar, members, manifest, source, tell)
            with database.engine.connect() as connection:
                dumps.check_empty(connection)
            _write(tar, members, manifest, database, store, segments, tell)
    except tarfile.TarError as error:
        raise InvalidInputError.of("file", f"{source} is no backup of Tidegauge: {error}.") from error
    except OSError as error:
        raise UnavailableError(f"The backup cannot be restored: {error}.") from error
    return manifest


def _manifest(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], source: Path) -> Manifest:
    if _MANIFEST not in members:
        raise InvalidInputError.of("file", f"{source} has no manifest: it is no backup, or was cut off.")
    try:
        manifest = Manifest(**orjson.loads(_file(tar, members[_MANIFEST]).read()))
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InvalidInputError.of("file", f"The manifest of {source} cannot be read: {error}.") from error
    if manifest.format != _FORMAT:
        raise InvalidInputError.of(
            "file",
            f"{source} has the format {manifest.format}, made by {manifest.version}; use that version.",
        )
    return manifest


def _check(
    tar: tarfile.TarFile,
    members: Mapping[str, tarfile.TarInfo],
    manifest: Manifest,
    source: Path,
    tell: Tell,
) -> None:
    for done, (name, digest) in enumerate(manifest.digests.items()):
        tell("checking", done, len(manifest.digests))
        member = members.get(name)
        if member is None or not member.isfile() or ".." in name.split("/"):
            raise InvalidInputError.of("file", f"{source} is damaged: {name} is missing.")
        with _file(tar, member) as file:
            found = file_digest(file, blake2b).hexdigest()
        if found != digest:
            raise InvalidInputError.of("file", f"{source} is damaged: {name} is not what was written.")


def _write(
    tar: tarfile.TarFile,
    members: Mapping[str, tarfile.TarInfo],
    manifest: Manifest,
    database: Database,
    store: ObjectStore,
    segments: Path,
    tell: Tell,
) -> None:
    segments.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=segments.parent) as scratch:
        for done, name in enumerate(manifest.digests):
            tell("restoring", done, len(manifest.digests))
            with _file(tar, members[name]) as file:
                if name == _KEY:
                    database.keys.add(file.read())
                elif name.startswith(_OBJECTS):
                    store.replace(name.removeprefix(_OBJECTS), file.read())
                else:
                    folder = segments if name.startswith(_SEGMENTS) else Path(scratch)
                    (folder / Path(name).name).write_bytes(file.read())
        dumps.load(database, manifest.schema, Path(scratch), lambda name: tell(f"rows of {name}", 0, 0))
    compaction = Compaction(database, InferenceLog(store))
    for deployment in database.deployments.where():
        compaction.sweep(deployment.id, datetime.max.replace(tzinfo=UTC))


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo) -> io.BufferedReader:
    file = tar.extractfile(member)
    if not isinstance(file, io.BufferedReader):  # as tarfile makes them
        raise tarfile.ReadError(f"{member.name} is no file")
    return file


class _Writer:
    """Adds members to an archive and keeps what each of them was."""

    def __init__(self, tar: tarfile.TarFile, now: datetime) -> None:
        self.digests: dict[str, str] = {}
        self._tar = tar
        self._time = int(now.timestamp())

    def add(self, name: str, data: bytes) -> None:
        self.stream(name, io.BytesIO(data), len(data))

    def stream(self, name: str, file: IO[bytes], size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self._time, 0o600
        hashed = _Hashed(file)
        self._tar.addfile(info, hashed)  # type: ignore[arg-type]  # it is only read
        self.digests[name] = hashed.digest()


class _Hashed:
    """A file that is read once, and what it was."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = blake2b()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()
