"""Code, datasets and models with their versions."""

from __future__ import annotations

import builtins
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from pydantic_core import to_jsonable_python

from tidegauge.client.connection import Connection, Progress, decode, wait_for
from tidegauge.client.sharing import Sharing
from tidegauge.domain.catalogue import Repository, Version, VersionState
from tidegauge.errors import (
    InvalidInputError,
    TidegaugeError,
)

_STREAM_SECONDS = 600.0


class Repositories(Sharing[Repository]):
    """Code, datasets or models with their versions."""

    _kind = Repository

    def __init__(self, client: Connection, plural: str) -> None:
        self._client = client
        self._path = f"/api/v1/{plural}"

    def create(
        self,
        name: str,
        *,
        git: str = "",
        branch: str = "",
        sub_path: str = "",
        folder: str | Path = "",
        form: str | None = None,
        endpoint: str = "",
        region: str = "",
        access_key: str = "",
        secret_key: str = "",
    ) -> Repository:
        """Create a repository from git, from a folder, or (neither) for uploads.

        ``folder`` is one on the server's machine, or s3://bucket/prefix; a bucket may have an ``endpoint``
        (an S3 server's URL) and keys of its own in place of the server's.
        """
        if git and folder:
            raise InvalidInputError.of("folder", "Give git or folder, not both.")
        kind = "git" if git else "upload"
        if folder:
            kind = "s3" if str(folder).startswith("s3://") else "folder"
        source = {"type": kind, "url": git or str(folder), "branch": branch, "sub_path": sub_path}
        bucket = {"endpoint": endpoint, "region": region, "access_key": access_key, "secret_key": secret_key}
        source |= {name: value for name, value in bucket.items() if value}
        body = {"name": name, "source": source, "form": form}
        return self._client.read(Repository, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[Repository]:
        return list(self._client.pages(Repository, self._path, q))

    def get(self, name: str) -> Repository:
        answer = self._client.json("GET", self._at(name))
        return decode(Repository, answer["repository"])

    def versions(self, name: str) -> builtins.list[Version]:
        answer = self._client.json("GET", self._at(name))
        return [decode(Version, item) for item in answer["versions"]]

    def version(self, name: str, number: int) -> Version:
        return self._client.read(Version, "GET", f"{self._at(name)}/versions/{number}")

    def delete(self, name: str) -> None:
        self._client.request("DELETE", self._at(name))

    def add_version(
        self,
        name: str,
        source: str | Path | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        timeout: float = 3600.0,
    ) -> Version:
        """Import a version and wait for it.

        Without ``source`` it is read from the repository's own source; a folder or an archive is uploaded.
        """
        files: dict[str, Any] = {}
        with tempfile.TemporaryFile() as spool:
            if source is not None:
                _pack(Path(source), spool)
                size = spool.tell()
                spool.seek(0)
                body = _Watched(spool, size, progress) if progress else spool
                files = {"archive": ("archive", body, "application/octet-stream")}
            path = f"{self._at(name)}/versions"
            data = {"meta": json.dumps(to_jsonable_python(meta or {}))}
            version = self._client.read(
                Version, "POST", path, data=data, files=files or None, timeout=timeout
            )
        return self._wait(name, version.number, progress, timeout)

    def download(self, name: str, version: int, folder: str | Path, progress: Progress | None = None) -> Path:
        """Write the files of a version into ``folder`` (labelled forms: ``folder/<label>/<file>``)."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as spool:
            with self._client.stream(
                f"{self._at(name)}/versions/{version}/archive", _STREAM_SECONDS
            ) as answer:
                total = int(answer.headers.get("content-length", 0))
                for chunk in answer.iter_bytes(1 << 20):
                    spool.write(chunk)
                    if progress:
                        progress("download", spool.tell(), total)
            spool.seek(0)
            with tarfile.open(fileobj=spool) as tar:
                tar.extractall(target, filter="data")
        return target

    def _wait(self, name: str, number: int, progress: Progress | None, timeout: float) -> Version:
        def look() -> Version:
            version = self.version(name, number)
            if progress:
                progress("import", version.done, version.total)
            return version

        version = wait_for(
            look, lambda v: v.state is not VersionState.IMPORTING, f"The import of {name} v{number}", timeout
        )
        if version.state is VersionState.FAILED:
            raise TidegaugeError(f"Version v{number} of {name!r} could not be imported: {version.error}")
        return version

    def _at(self, name: str) -> str:
        return f"{self._path}/{quote(name, safe='')}"


class _Watched(io.RawIOBase):
    """A file that tells how far it is read."""

    def __init__(self, file: IO[bytes], size: int, progress: Progress) -> None:
        super().__init__()
        self._file = file
        self._size = size
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._progress("upload", self._file.tell(), self._size)
        return part

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


def _pack(source: Path, spool: Any) -> None:
    """Write a folder as a tar, or an archive as it is."""
    if source.is_file():
        with source.open("rb") as file:
            while chunk := file.read(1 << 20):
                spool.write(chunk)
        return
    if not source.is_dir():
        raise InvalidInputError.of(
            "source", f"source is {str(source)!r}; give a folder or an archive that exists."
        )
    with tarfile.open(fileobj=spool, mode="w") as tar:
        tar.add(source, arcname=".")
