"""Archives: unpacking zip, tar and tar.gz from people who may mean harm."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from tidegauge.domain.content import MAX_BYTES, MAX_FILES, MAX_PATH, printable
from tidegauge.errors import InvalidInputError, TooLargeError

_BLOCK = 1024 * 1024
_MAX_HEADER = 1024 * 1024  # bytes of one tar header; real ones have a few hundred
_DEEPEST = 100  # folders in one another
_MAX_CONTENTS = 256 * 1024 * 1024  # bytes of a zip's table of contents, which is read as a whole
_RATIO_COUNTS_FROM = 64 * 1024 * 1024  # small files may well shrink a thousandfold
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a method of compression that zipfile does not read
    RuntimeError,  # a password is needed
    ValueError,
    UnicodeError,
)


def unpack(
    archive_path: Path,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    max_ratio: float = 200.0,
) -> int:
    """Unpack a zip, tar or tar.gz, recognised by its content, into ``folder``; return the number of files.

    Only regular files and folders are written, only below ``folder``. Raises InvalidInputError naming the
    first member that leads out, is a link or a device, or is damaged, and TooLargeError where the files
    are more than ``max_bytes`` or ``max_ratio`` times the archive, or more than ``max_files``. What was
    written before remains in ``folder``.
    """
    limit = _Limit(archive_path.stat().st_size, max_bytes, max_files, max_ratio)
    target = folder.resolve()
    with archive_path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if head[:2] == b"PK":
            _unpack_zip(file, target, limit)
        elif head[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as plain:
                _unpack_tar(plain, target, limit)
        else:
            _unpack_tar(file, target, limit)
    if not limit.files:
        raise InvalidInputError("The archive holds no files.")
    return limit.files


@dataclass
class _Limit:
    """Counts what is really written, since an archive may lie about its sizes."""

    packed: int
    max_bytes: int
    max_files: int
    max_ratio: float
    files: int = 0
    written: int = 0
    members: int = 0
    spelled: dict[str, str] = field(default_factory=dict)

    def add_member(self, name: str) -> None:
        """Count a member of any kind: folders cost time, too."""
        self.members += 1
        if self.members > 2 * self.max_files:
            raise TooLargeError(f"The archive holds more than {2 * self.max_files} members (at {name!r}).")

    def spell(self, parts: Sequence[str]) -> None:
        """Refuse two names that only some file systems tell apart: one would be written over the other."""
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            plain = unicodedata.normalize("NFC", name).casefold()
            other = self.spelled.setdefault(name if plain == name else plain, name)
            if other != name:
                raise InvalidInputError(
                    f"The archive holds {printable(other)!r} and {printable(name)!r}, which differ only in "
                    "capitals or accents; give them names that differ everywhere."
                )

    def add_file(self, name: str) -> None:
        self.files += 1
        if self.files > self.max_files:
            raise TooLargeError(f"The archive holds more than {self.max_files} files (at {name!r}).")

    def add_bytes(self, count: int, name: str) -> None:
        self.written += count
        if self.written > self.max_bytes:
            raise TooLargeError(
                f"The archive unpacks to more than {self.max_bytes} bytes (at {name!r}); send it in parts."
            )
        if self.written > max(_RATIO_COUNTS_FROM, self.max_ratio * self.packed):
            raise TooLargeError(
                f"The archive unpacks to more than {self.max_ratio:g} times its size (at {name!r}), as one "
                "made to fill the disk does; send the files with less compression."
            )


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _unpack_zip(file: IO[bytes], target: Path, limit: _Limit) -> None:
    name = "its table of contents"
    try:
        _check_contents(file)
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = printable(member.filename)
                limit.add_member(name)
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _no_link(name)
                if member.is_dir():
                    _make_folder(target, member.filename, limit)
                    continue
                with archive.open(member) as content:
                    _write(content, target, member.filename, limit)
    except _BROKEN as error:
        raise _damaged(name, error) from error


def _check_contents(file: IO[bytes]) -> None:
    """Refuse a table of contents that would fill the memory before its first file is counted."""
    found = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001 - as ZipFile finds it
    if found and found[5] > _MAX_CONTENTS:
        raise TooLargeError(
            f"The archive's table of contents is more than {_MAX_CONTENTS} bytes; send parts."
        )
    file.seek(0)


def _unpack_tar(file: IO[bytes] | gzip.GzipFile, target: Path, limit: _Limit) -> None:
    name = "its start"
    headers = _Headers(file)
    try:
        with tarfile.open(fileobj=headers, mode="r:") as archive:  # type: ignore[call-overload]
            for member in _members(archive, headers):
                name = printable(member.name)
                limit.add_member(name)
                if member.isdir():
                    _make_folder(target, member.name, limit)
                    continue
                if not member.isreg() or member.issparse():
                    raise _no_link(name)
                content = archive.extractfile(member)
                if content is not None:
                    _write(content, target, member.name, limit)
    except tarfile.ReadError as error:
        if name == "its start":
            raise InvalidInputError(
                "The file is no zip, tar or tar.gz archive; send one of these."
            ) from error
        raise _damaged(name, error) from error
    except _BROKEN as error:
        raise _damaged(name, error) from error


def _members(archive: tarfile.TarFile, headers: _Headers) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it keeps all of them otherwise
        yield member
    # tarfile takes a header that is cut off or overwritten for the end.
    headers.seek(archive.offset)
    if headers.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.HeaderError("the rest is cut off")


class _Headers:
    """A file that refuses the one huge read by which a tar header would fill the memory."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise tarfile.HeaderError(f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def _write(content: _Readable, target: Path, name: str, limit: _Limit) -> None:
    shown = printable(name)
    limit.add_file(shown)
    path = _inside(target, name, limit)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            while block := content.read(_BLOCK):
                limit.add_bytes(len(block), shown)
                out.write(block)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInputError(
            f"The archive holds {shown!r} twice; give every file its own name."
        ) from error


def _make_folder(target: Path, name: str, limit: _Limit) -> None:
    try:
        _inside(target, name, limit).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInputError(f"The archive holds {printable(name)!r} as file and as folder.") from error


def _inside(target: Path, name: str, limit: _Limit) -> Path:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    wrong = name.startswith("/") or ".." in parts or any(character in name for character in "\\\0")
    wrong = wrong or len(parts) > _DEEPEST or any(ord(character) < 32 for character in name)
    if wrong or len(name) > MAX_PATH or (parts and parts[0].endswith(":")):
        raise InvalidInputError(
            f"The archive's member {printable(name[:MAX_PATH])!r} would be written outside the folder, or "
            "its name cannot be kept; pack relative paths without '..' or '\\'."
        )
    limit.spell(parts)
    path = target.joinpath(*parts)
    # No link is ever written, but the folder may have held one before.
    if os.path.realpath(path.parent if parts else path) != str(path.parent if parts else path):
        raise InvalidInputError(f"The archive's member {printable(name)!r} would be written through a link.")
    return path


def _no_link(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"The archive's member {name!r} is a link, a device or a sparse file; pack plain files only "
        "(tar --dereference)."
    )


def _damaged(name: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(f"The archive is damaged or encrypted at {name!r} ({error}); pack it again.")
