"""Files that are read where they are: in the store, in a live Dataset, in a version of one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from tidegauge.domain.catalogue import RepositoryKind, SourceType, Version
from tidegauge.domain.content import Manifest, printable
from tidegauge.errors import InvalidInputError, NotFoundError, UnavailableError
from tidegauge.links.folders import inside, sub_path, walk
from tidegauge.services.catalogue import Catalogue
from tidegauge.storage.objects import Blobs, ObjectInfo, ObjectStore


class Files(Protocol):
    """Files by path, as an ObjectStore has them."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the files below the folder ``prefix``, sorted by path."""
        ...

    def get(self, path: str) -> bytes:
        """Return the content of a file; NotFoundError where there is none."""
        ...


class DatasetFiles(Files, Protocol):
    """The files of a Dataset: ``version`` is its label, or ``live``."""

    @property
    def version(self) -> str: ...

    def part(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to ``end`` of a file, fewer where it ends before."""
        ...


class LiveFolder:
    """The files of a folder on this machine, as they are now; links that lead out of it are not followed."""

    version = "live"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        below = inside(self._folder, prefix, "prefix")
        if not below.is_dir():
            return
        start = f"{prefix.strip('/')}/".lstrip("/")
        try:
            paths = walk(below).paths
        except OSError as error:
            raise UnavailableError(f"The folder {str(below)!r} cannot be read: {error.strerror}.") from error
        for path in paths:
            if printable(path) != path:
                raise InvalidInputError(f"The file name {printable(path)!r} is not UTF-8; rename it.")
            try:
                known = (below / path).stat()
            except OSError:
                continue  # deleted since it was listed
            modified = datetime.fromtimestamp(known.st_mtime, UTC)
            yield ObjectInfo(start + path, known.st_size, modified)

    def get(self, path: str) -> bytes:
        return self.part(path, 0, -1)

    def part(self, path: str, start: int, end: int) -> bytes:
        place = inside(self._folder, path, "path")
        try:
            with place.open("rb") as file:
                file.seek(start)
                return file.read(end - start if end >= 0 else -1)
        except FileNotFoundError as error:
            raise NotFoundError(f"There is no file {path!r}.") from error
        except OSError as error:
            raise UnavailableError(f"The file {path!r} cannot be read: {error.strerror}.") from error


class VersionFiles:
    """The files of a version, under the paths of its manifest."""

    def __init__(self, manifest: Manifest, blobs: Blobs, version: Version) -> None:
        self._files = {file.path: file for file in manifest.files}
        self._blobs = blobs
        self._created_at = version.created_at
        self.version = version.label

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        start = f"{prefix.strip('/')}/".lstrip("/")
        for path in sorted(path for path in self._files if path.startswith(start)):
            yield ObjectInfo(path, self._files[path].size, self._created_at)

    def get(self, path: str) -> bytes:
        return self._blobs.get(self._digest(path))

    def part(self, path: str, start: int, end: int) -> bytes:
        return self._blobs.part(self._digest(path), start, end)

    def _digest(self, path: str) -> str:
        if path not in self._files:
            raise NotFoundError(f"The version has no file {path!r}.")
        return self._files[path].sha256


class Bucket:
    """The files below a prefix of a bucket, as they are now."""

    version = "live"

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def get(self, path: str) -> bytes:
        return self._store.get(path)

    def part(self, path: str, start: int, end: int) -> bytes:
        with BufferedReader(self._store.open(path)) as file:
            file.seek(start)
            return file.read(end - start)

    def check(self) -> None:
        """Raise UnavailableError where the bucket does not answer."""
        self._store.check()


class Datasets:
    """Opens Datasets for reading, those of one owner at a time."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def identify(self, owner: str, name: str) -> str:
        """Return the id of a Dataset of this owner; NotFoundError where they have none of this name."""
        return self._catalogue.get(RepositoryKind.DATASET, owner, name).id

    def check(self, owner: str, name: str, version: int | None) -> None:
        """Raise what ``open`` does, and UnavailableError for a bucket that does not answer."""
        files = self.open(owner, name, version)
        if isinstance(files, Bucket):
            files.check()

    def open(self, owner: str, name: str, version: int | None) -> DatasetFiles:
        """Return the files of a version; without one, a folder or bucket as it is, else the newest version.

        Raises NotFoundError, ConflictError or InvalidInputError where there is nothing to read.
        """
        repository = self._catalogue.get(RepositoryKind.DATASET, owner, name)
        source = repository.source
        if version is None and source.type is SourceType.S3:
            return Bucket(self._catalogue.bucket(repository))
        if version is None and source.type is SourceType.FOLDER:
            folder = Path(source.url).expanduser()
            if not folder.is_dir():
                raise InvalidInputError(f"The folder {source.url!r} of the dataset {name!r} is not there.")
            return LiveFolder(sub_path(folder, source.sub_path))
        found = (
            self._catalogue.version(repository)
            if version is None
            else self._catalogue.ready_version(RepositoryKind.DATASET, owner, name, version)
        )
        manifest = self._catalogue.manifest(repository, found)
        return VersionFiles(manifest, self._catalogue.blobs, found)
