"""What a version holds: a manifest of content-hashed files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import orjson

from tidegauge.domain.labels import label_text
from tidegauge.errors import InvalidInputError

MAX_FILES = 1_000_000
MAX_BYTES = 20 * 1024**3  # of the files of a version that come from elsewhere
MAX_PATH = 1024  # characters
_MAX_NAME = 255  # bytes of a file's name
MAX_LABEL = 200  # bytes; a folder of this name can be written
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class ContentForm(StrEnum):
    """How the files of a version are to be read; ``files`` is any tree (code, model artifacts)."""

    LABELLED_FOLDERS = "labelled_folders"
    IMAGES_WITH_LABELS = "images_with_labels"
    NUMPY = "numpy"
    TABLE = "table"
    FILES = "files"

    @property
    def holds_images(self) -> bool:
        return self in (ContentForm.LABELLED_FOLDERS, ContentForm.IMAGES_WITH_LABELS, ContentForm.NUMPY)


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file: where it stood, its content, the label of an image, the rows of an array or table."""

    path: str
    sha256: str
    size: int
    label: str | None = None
    rows: int = 1

    def __post_init__(self) -> None:
        check_path(self.path)
        if self.label is not None:
            check_label(self.label)
        if not _SHA256.match(self.sha256) or self.size < 0 or self.rows < 0:
            raise InvalidInputError(
                f"The manifest's entry for {self.path!r} has no valid hash, size or rows."
            )


@dataclass(frozen=True, slots=True)
class Problem:
    """One file, or one row of a labels file, that was left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name and polars type; ``mixed`` where the files differ."""

    name: str
    type: str


@dataclass(frozen=True)
class Manifest:
    """The files of a version; ``rows`` counts images, array or table rows, or plain files."""

    form: ContentForm
    files: tuple[ManifestFile, ...]
    classes: tuple[str, ...]
    rows: int
    problems: tuple[Problem, ...] = ()
    columns: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        if len(self.files) > MAX_FILES:
            raise InvalidInputError(
                f"There are {len(self.files)} files; a version holds at most {MAX_FILES}. Split the data."
            )
        if len({file.path for file in self.files}) < len(self.files):
            raise InvalidInputError("The manifest names a path twice.")
        if self.rows != sum(file.rows for file in self.files):
            raise InvalidInputError(
                f"The manifest's rows are {self.rows}, which is not the sum of its files."
            )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of form, paths, contents and labels, whatever the order of the files."""
        lines = sorted(orjson.dumps((file.path, file.sha256, file.label)) for file in self.files)
        return hashlib.sha256(b"\n".join([self.form.value.encode(), *lines])).hexdigest()

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read what ``to_json`` wrote; raise InvalidInputError when it is damaged."""
        try:
            fields: dict[str, Any] = orjson.loads(data)
            return cls(
                ContentForm(fields["form"]),
                tuple(ManifestFile(**file) for file in fields["files"]),
                tuple(fields["classes"]),
                fields["rows"],
                tuple(Problem(**problem) for problem in fields["problems"]),
                tuple(Column(**column) for column in fields["columns"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"The manifest is damaged ({error}); import the version again."
            ) from error


def check_path(path: str) -> str:
    """Return a path within a version, or raise InvalidInputError where it could lead out of it."""
    if not _leads_down(path):
        shown = printable(path[:MAX_PATH])
        raise InvalidInputError(
            f"The file name {shown!r} cannot be kept; use a relative UTF-8 path without '..' or '\\', "
            f"of at most {MAX_PATH} characters."
        )
    return path


def is_object_name(path: str) -> bool:
    """Tell whether a store takes an object under this path, a folder as well as a bucket."""
    return (
        _leads_down(path)
        and not re.search(r"[\x00-\x1f\x7f]|#\d+$", path)
        and all(len(part.encode()) <= _MAX_NAME for part in path.split("/"))
    )


def _leads_down(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return (
        len(path) <= MAX_PATH
        and not any(part in ("", ".", "..") for part in path.split("/"))
        and not any(character in path for character in "\\\0\n")
    )


def check_label(label: str) -> str:
    """Return a label, or raise InvalidInputError where it is empty, too long or holds control characters."""
    if not label.strip() or not label.isprintable() or len(label.encode()) > MAX_LABEL:
        raise InvalidInputError(
            f"The label {label[:MAX_LABEL]!r} cannot be kept; use 1 to {MAX_LABEL} bytes of text."
        )
    return label


def printable(name: str) -> str:
    """Return a file name as valid UTF-8, with marks for the bytes that are not."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def classes_of(labels: Iterable[str | None]) -> tuple[str, ...]:
    """Return the distinct labels: by number where all are whole numbers, else by name.

    >>> classes_of(["10", "9", None, "10"]), classes_of(["PNEUMONIA", "NORMAL"])
    (('9', '10'), ('NORMAL', 'PNEUMONIA'))
    """
    found = sorted({label for label in labels if label is not None})
    if all(label.lstrip("-").isascii() and label.lstrip("-").isdigit() for label in found):
        found = sorted(found, key=int)
    return tuple(found)


def folder_label(name: str) -> str:
    """Return the label that a folder's name gives to its images."""
    return check_label(label_text(printable(name)))
