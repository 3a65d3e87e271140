"""The object store: a local folder by default; S3, GCS or Azure by URL."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
from obstore.store import LocalStore, from_url
from obstore.store import ObjectStore as AnyStore

from tidegauge.errors import InvalidInputError, NotFoundError, UnavailableError

# Where a folder's objects are written before they are named; readers of tables skip names with a dot.
_STAGED = ".staged"
_STAGED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object: path within the store, size in bytes, time of the last write (UTC)."""

    path: str
    size: int
    modified: datetime


class ObjectFile(io.RawIOBase):
    """One object as a seekable file whose parts are fetched when they are read."""

    def __init__(self, reader: obstore.ReadableFile) -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._reader.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Word what the store's library raises."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"The store has no such object: {error}") from error
    except (OSError, obstore.exceptions.BaseError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")  # what follows is for programmers
        raise UnavailableError(f"The object store does not answer: {reason}.") from error


class ObjectStore:
    """Objects by path. Writes are atomic: a reader sees the old object or the whole new one."""

    def __init__(self, url: str, seconds: int | None = None) -> None:
        """Open a folder (a plain path or ``file://``) or a bucket (``s3://``, ``gs://``, ``az://``).

        ``seconds`` is how long a bucket that does not answer is asked; None: as long as is usual.
        """
        self.url = url
        self._store: AnyStore
        self._folder: Path | None = None
        if "://" not in url or url.startswith("file://"):
            folder = Path(url.removeprefix("file://")).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = folder
            self._store = LocalStore(str(folder), automatic_cleanup=True)
            return
        try:
            limit = None if seconds is None else timedelta(seconds=seconds)
            self._store = from_url(
                url, retry_config={"max_retries": 2, "retry_timeout": limit} if limit else None
            )
        except (ValueError, obstore.exceptions.BaseError) as error:
            raise InvalidInputError.of(
                "store_url",
                f"store_url {url!r} cannot be opened: {error}. Give a folder or s3://bucket/prefix.",
            ) from error

    def put(self, path: str, data: bytes) -> None:
        self._put(path, data, safely=False)

    def replace(self, path: str, data: bytes) -> None:
        """Put an object in place of another; a power cut leaves one of them whole."""
        self._put(path, data, safely=True)
        self.sync(path)

    def _put(self, path: str, data: bytes, *, safely: bool) -> None:
        with _answering():
            if self._folder is None:
                obstore.put(self._store, path, data)
                return
            # The library would stage it beside its place, and a crash leave half a table among whole ones.
            staged = f"{_STAGED}/{uuid.uuid4().hex}"
            obstore.put(self._store, staged, data)
            if safely:
                self.sync(staged)  # before it takes the place of what is safe
            obstore.rename(self._store, staged, path)

    def sweep(self) -> None:
        """Delete what processes left behind that were killed while they wrote, at least a day ago."""
        for file in (self._folder / _STAGED).glob("*") if self._folder else ():
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _STAGED_SECONDS:
                    file.unlink()

    def _is_staged(self, path: str) -> bool:
        """Tell whether a path is of what is being written; only a folder has that."""
        return self._folder is not None and path.partition("/")[0] == _STAGED

    def sync(self, path: str) -> None:
        """Make the object at ``path`` outlive a power cut; a bucket's PUT does so already."""
        if self._folder is None:
            return
        name = self._folder / path
        while name != self._folder.parent:
            opened = os.open(name, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
            name = name.parent

    def get(self, path: str) -> bytes:
        with _answering():
            return bytes(obstore.get(self._store, path).bytes())

    def check(self) -> None:
        """Raise UnavailableError where the store does not answer."""
        with _answering():
            next(iter(obstore.list(self._store, "blobs", chunk_size=1)), None)

    def open(self, path: str) -> ObjectFile | pa.NativeFile:
        """Open an object to read parts of it, such as one column of a table."""
        with _answering():
            if self._folder is not None and ".." not in path.split("/"):
                # Parts go straight to where they are wanted: two to three times as fast.
                return pa.OSFile(str(self._folder / path.lstrip("/")))
            return ObjectFile(obstore.open_reader(self._store, path))

    def exists(self, path: str) -> bool:
        try:
            with _answering():
                obstore.head(self._store, path)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below the folder ``prefix`` (empty: all), sorted by path."""
        with _answering():
            found = [meta for batch in obstore.list(self._store, prefix or None) for meta in batch]
        for meta in sorted(found, key=lambda meta: meta["path"]):
            if not self._is_staged(meta["path"]):
                yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"])

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        """Return the paths of the folders directly below the folder ``prefix``, sorted."""
        with _answering():
            found = obstore.list_with_delimiter(self._store, prefix or None)
        return tuple(sorted(path for path in found["common_prefixes"] if not self._is_staged(path)))

    def delete(self, path: str) -> None:
        """Delete one object; an absent one is no error, so that a deletion can be repeated."""
        with contextlib.suppress(NotFoundError), _answering():
            obstore.delete(self._store, path)

    def delete_below(self, prefix: str) -> None:
        """Delete every object below the folder ``prefix``."""
        for info in self.list(prefix):
            self.delete(info.path)


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
