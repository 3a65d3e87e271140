"""Secrets in the database are sealed with a key that stands in a file beside it, not in it.

The key file has one key a line (Fernet: AES-128-CBC with HMAC-SHA256): the first seals, all of them open.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from tidegauge.errors import InvalidInputError, UnavailableError

_PREFIX = "sealed:"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Keys:
    """The key file. It is read again whenever it has changed, since another process may renew the key.

    ``path`` is None for a database of which nobody has said where its key stands: then nothing is sealed.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Fernet] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the keys, which say nothing of them; the first is that which seals."""
        self._read()
        return tuple(self._keys)

    @property
    def is_open_to_others(self) -> bool:
        """Whether anybody else on this machine may read the file."""
        return self.path is not None and self.path.exists() and bool(self.path.stat().st_mode & _OTHERS)

    def make(self) -> None:
        """Write a new key where there is no file; of two that do so at once, both have the same one."""
        if self.path is None or self.path.exists():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = _write_beside(self.path, [Fernet.generate_key()])
            try:
                os.link(beside, self.path)  # fails where there is one by now, which a rename would not
            except FileExistsError:
                pass
            finally:
                beside.unlink()
            _sync(self.path.parent)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else change which keys there are: of two that did at once one would lose its own."""
        if self.path is None:
            raise _invalid("is not set; name the key file")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def renew(self) -> None:
        """Put a new key before the others, which go on to open."""
        self._replace([Fernet.generate_key(), *self._lines()])

    def keep(self, ids: Sequence[str]) -> None:
        """Leave out all other keys."""
        self._replace([line for line in self._lines() if _name(line) in ids])

    def add(self, content: bytes) -> None:
        """Take the keys of another file, too: that of a backup."""
        if self.path is None:
            raise _invalid("is not set, and the backup has a key; name its file")
        new = _parse(content, self.path)
        with self.alone():
            known = self._lines()
            self._replace([*known, *(line for line in new if line not in known)])

    def content(self) -> bytes:
        """Return the file, for a backup."""
        return b"".join(line + b"\n" for line in self._lines())

    def seal(self, text: str) -> str:
        """Seal a secret; an empty one stays empty."""
        if not text:
            return ""
        self.make()
        self._read()
        if not self._keys:
            raise UnavailableError(
                "There is no key to seal secrets with; name its file by the setting secrets_key."
            )
        name, key = next(iter(self._keys.items()))
        return f"{_PREFIX}{name}:{key.encrypt(text.encode()).decode()}"

    def open(self, text: str) -> str:
        """Return what was sealed; text from before there were seals as it is.

        Raises UnavailableError where no key of the file opens it.
        """
        name = sealed_with(text)
        if not name:
            return text
        if name not in self._keys:
            self._read()
        try:
            return self._keys[name].decrypt(text.removeprefix(f"{_PREFIX}{name}:")).decode()
        except (KeyError, InvalidToken) as error:
            raise UnavailableError(self.lacking([name])) from error

    def lacking(self, names: Sequence[str]) -> str:
        """Say that keys are missing, and what to do."""
        place = f"{str(self.path)!r} does not have" if self.path else "nobody has named (setting secrets_key)"
        return (
            f"Secrets in the database are sealed with the key {', '.join(names)}, which {place}; put the "
            "right file there (backups made with --with-key have it), or give these secrets up: "
            "tidegauge secrets forget."
        )

    def _read(self) -> None:
        """Read the file where it is another one than before."""
        if self.path is None:
            return
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
            return
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._keys = {_name(line): Fernet(line) for line in self._lines()}
            self._stamp = stamp

    def _lines(self) -> list[bytes]:
        if self.path is None:
            return []
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _invalid(f"is {str(self.path)!r}, which cannot be read: {error.strerror}") from error
        return _parse(content, self.path)

    def _replace(self, lines: Sequence[bytes]) -> None:
        if self.path is None:
            raise _invalid("is not set; name the key file")
        try:
            _write_beside(self.path, lines).rename(self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise _unwritable(self.path, error) from error


def sealed_with(text: str) -> str:
    """Return the name of the key that a text is sealed with, empty where it is not sealed.

    >>> sealed_with("sealed:0a1b2c3d:gAAAAA"), sealed_with("plain")
    ('0a1b2c3d', '')
    """
    if not text.startswith(_PREFIX):
        return ""
    name, colon, _ = text.removeprefix(_PREFIX).partition(":")
    return name if colon and len(name) == 8 else ""


def _parse(content: bytes, path: Path) -> list[bytes]:
    lines = content.split()
    try:
        for line in lines:
            Fernet(line)
    except ValueError as error:
        raise _invalid(f"is {str(path)!r}, which holds something else than keys") from error
    if not lines:
        raise _invalid(f"is {str(path)!r}, which is empty")
    return lines


def _name(line: bytes) -> str:
    return sha256(line).hexdigest()[:8]


def _write_beside(path: Path, lines: Sequence[bytes]) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # for its owner alone
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> InvalidInputError:
    return _invalid(f"is {str(path)!r}, which cannot be written: {error.strerror}")


def _invalid(what: str) -> InvalidInputError:
    return InvalidInputError.of(
        "secrets_key", f"secrets_key {what}; give the key file of this server, or put it back."
    )
