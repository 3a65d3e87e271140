"""The object store: a local folder by default; S3, GCS or Azure by URL."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import obstore
import pyarrow as pa
from obstore.store import LocalStore
from obstore.store import ObjectStore as AnyStore

from tidegauge.errors import ConflictError, NotFoundError
from tidegauge.storage.buckets import (
    Access,
    ObjectFile,
    answering,
    get_whole,
    open_bucket,
    open_foreign,
    put_bucket,
    put_if,
)

# Where a folder's objects are written before they are named; readers of tables skip names with a dot.
_STAGED = ".staged"
_LOCK = ".lock"  # held while an object of a folder gets its name, or loses it
_STAGED_SECONDS = 24 * 3600

#: What says that an object is gone: when it is opened, and when more of it is read.
GONE = (NotFoundError, FileNotFoundError)


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object: path within the store, size in bytes, time of the last write (UTC)."""

    path: str
    size: int
    modified: datetime


class ObjectStore:
    """Objects by path. Writes are atomic: a reader sees the old object or the whole new one.

    Every method raises UnavailableError where the store does not answer, a bucket's within 40 s a request.
    After one of a write it is not known whether the object was written.
    """

    def __init__(self, url: str, access: Access | None = None) -> None:
        """Open a folder (a plain path or ``file://``) or a bucket (``s3://``, ``gs://``, ``az://``).

        ``access`` is how an ``s3://`` bucket of somebody else is reached. ``self.url`` is the folder, or the
        bucket and the prefix without parameters.
        """
        self.url = url
        self._store: AnyStore
        self._folder: Path | None = None
        if access is not None:
            self._store = open_foreign(url, access)
        elif "://" not in url or url.startswith("file://"):
            folder = Path(url.removeprefix("file://")).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = folder
            self._store = LocalStore(str(folder), automatic_cleanup=True)
        else:
            self.url, self._store = open_bucket(url)

    def put(self, path: str, data: bytes) -> None:
        """Write an object, in place of another where there is one."""
        self._write(path, data, safely=False)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object where there is none, to outlive a power cut; False where there is one already."""
        return self._write_if(path, data, None)

    def replace(self, path: str, data: bytes, tag: str | None = None) -> None:
        """Put an object in place of another; a power cut leaves one of them whole.

        With a ``tag`` of ``get_tagged``, ConflictError where the object has changed since, or is gone.
        """
        if tag is None:
            self._write(path, data, safely=True)
        elif not self._write_if(path, data, tag):
            raise ConflictError(f"The object {path!r} has changed since it was read; read it again.")

    def _write(self, path: str, data: bytes, *, safely: bool) -> None:
        if self._folder is None:
            put_bucket(self._store, path, data)
            return
        with self._staged(self._folder, data, safely=safely) as staged, self._naming(self._folder):
            obstore.rename(self._store, staged, path)
        if safely:
            self.sync(path)

    def _write_if(self, path: str, data: bytes, tag: str | None) -> bool:
        """Write safely what is still as it was with ``tag`` (None: absent); tell whether it was."""
        if self._folder is None:
            return put_if(self._store, path, data, tag)
        with self._staged(self._folder, data, safely=True) as staged, self._naming(self._folder, alone=True):
            if _tag(self._folder / path) != tag:
                return False
            obstore.rename(self._store, staged, path)
        self.sync(path)
        return True

    @contextlib.contextmanager
    def _staged(self, folder: Path, data: bytes, *, safely: bool) -> Iterator[str]:
        """Write what is to be named; what was not is deleted.

        The library would stage it beside its place, and a crash leave half a table among whole ones.
        """
        path = f"{_STAGED}/{uuid.uuid4().hex}"
        with answering():
            obstore.put(self._store, path, data)
            try:
                if safely:
                    self.sync(path)  # before it takes the place of what is safe
                yield path
            finally:
                (folder / path).unlink(missing_ok=True)

    @staticmethod
    @contextlib.contextmanager
    def _naming(folder: Path, *, alone: bool = False) -> Iterator[None]:
        """Keep out who looks at what a name is of before it changes it, or (``alone``) everybody."""
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

    def sweep(self) -> None:
        """Delete what processes left behind that were killed while they wrote, at least a day ago."""
        for file in (self._folder / _STAGED).glob("*") if self._folder else ():
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _STAGED_SECONDS:
                    file.unlink()

    def _is_inner(self, path: str) -> bool:
        """Tell whether a path is of what is being written, or of the lock; only a folder has these."""
        return self._folder is not None and path.partition("/")[0] in (_STAGED, _LOCK)

    def sync(self, path: str) -> None:
        """Make the object at ``path`` outlive a power cut; a bucket's PUT does so already."""
        if self._folder is None:
            return
        name = self._folder / path
        while name != self._folder.parent:
            with contextlib.suppress(NotFoundError), answering():  # deleted meanwhile: nothing to keep
                opened = os.open(name, os.O_RDONLY)
                try:
                    os.fsync(opened)
                finally:
                    os.close(opened)
            name = name.parent

    def get(self, path: str) -> bytes:
        if self._folder is None:
            return get_whole(self._store, path)[0]
        with answering():
            return bytes(obstore.get(self._store, path).bytes())

    def get_tagged(self, path: str) -> tuple[bytes, str]:
        """Return an object and its tag, which tells whether it is still the same."""
        if self._folder is None:
            return get_whole(self._store, path)
        data = self.get(path)
        return data, hashlib.sha256(data).hexdigest()

    def check(self) -> None:
        """Raise UnavailableError where the store does not answer."""
        with answering():
            next(iter(obstore.list(self._store, "blobs", chunk_size=1)), None)

    def open(self, path: str) -> ObjectFile | pa.NativeFile:
        """Open an object to read parts of it, such as one column of a table."""
        with answering():
            if self._folder is not None and ".." not in path.split("/"):
                # Parts go straight to where they are wanted: two to three times as fast.
                return pa.OSFile(str(self._folder / path.lstrip("/")))
            return ObjectFile(self._store, path)

    def exists(self, path: str) -> bool:
        try:
            with answering():
                obstore.head(self._store, path)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below the folder ``prefix`` (empty: all), sorted by path."""
        with answering():
            found = [meta for batch in obstore.list(self._store, prefix or None) for meta in batch]
        for meta in sorted(found, key=lambda meta: meta["path"]):
            if not self._is_inner(meta["path"]):
                yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"])

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        """Return the paths of the folders directly below the folder ``prefix``, sorted."""
        with answering():
            found = obstore.list_with_delimiter(self._store, prefix or None)
        return tuple(sorted(path for path in found["common_prefixes"] if not self._is_inner(path)))

    def delete(self, path: str) -> None:
        """Delete one object; an absent one is no error, so that a deletion can be repeated."""
        if self._folder is None:
            with answering():
                obstore.delete(self._store, path)
            return
        with contextlib.suppress(NotFoundError), answering(), self._naming(self._folder):
            obstore.delete(self._store, path)

    def delete_below(self, prefix: str) -> None:
        """Delete every object below the folder ``prefix``."""
        paths = [info.path for info in self.list(prefix)]
        if self._folder is None:
            with answering():
                obstore.delete(self._store, paths)  # a thousand a request
            return
        for path in paths:
            self.delete(path)


def _tag(file: Path) -> str | None:
    """Return the tag of a file: of its content, since times and inodes of files may come again."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return None


class Blobs:
    """Contents by SHA-256: the same bytes are stored once, whoever adds them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, data: bytes) -> tuple[str, bool]:
        """Store ``data``; return its hash and whether it was new."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if self._store.exists(path):
            return digest, False
        self._store.put(path, data)
        return digest, True

    def has(self, digest: str) -> bool:
        return self._store.exists(self._path(digest))

    def get(self, digest: str) -> bytes:
        return self._store.get(self._path(digest))

    def part(self, digest: str, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end``, without fetching the others."""
        with io.BufferedReader(self._store.open(self._path(digest))) as file:
            file.seek(start)
            return file.read(end - start)

    @staticmethod
    def _path(digest: str) -> str:
        return f"blobs/{digest[:2]}/{digest}"
