"""Labels: the true answers of answered requests, as they are dropped in files."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d{0,299})\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\Z", re.ASCII)
_EPOCH = re.compile(r"-?\d+(\.\d*)?([eE]\+?\d{1,2})?\Z", re.ASCII)
_WHOLE = 2.0**53  # above it, neighbouring whole numbers share a float
_MILLISECONDS = 1e11  # as seconds this would be the year 5138
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LabelColumns:
    """The names of the columns of a label file."""

    timestamp: str = "timestamp"
    output: str = "output"
    label: str = "label"


@dataclass(frozen=True)
class ImageLabelColumns:
    """The names that the columns of a CSV with labels of images may have, in any case."""

    file: tuple[str, ...] = ("file", "filename", "image", "path")
    label: tuple[str, ...] = ("label", "class", "target")

    def find(self, names: list[str]) -> tuple[str, str] | None:
        """Return the file and the label column among ``names``, or None where one lacks."""
        known = {name.strip().lower(): name for name in reversed(names)}
        files = [known[name.lower()] for name in self.file if name.lower() in known]
        labels = [known[name.lower()] for name in self.label if name.lower() in known]
        return (files[0], labels[0]) if files and labels else None


def label_text(value: object) -> str:
    """Return a label as text, so that the same number is the same label however it is written.

    Codes with leading zeros are names, not numbers.

    >>> [label_text(value) for value in (1, 1.0, "1", " 1.00", "1e0", "-0.0", "007", "NORMAL", 0.50)]
    ['1', '1', '1', '1', '1', '0', '007', 'NORMAL', '0.5']
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value).strip()
    if _INTEGER.match(text):
        return str(int(text))
    number = float(text) if _NUMBER.match(text) else math.inf
    if math.isinf(number):
        return text
    if abs(number) < _WHOLE and number.is_integer():
        return str(int(number))
    return repr(number)


def parse_timestamp(text: str) -> datetime:
    """Read ISO 8601 (UTC where it names no zone) or epoch seconds or milliseconds, as UTC.

    Raises ValueError for anything else.

    >>> parse_timestamp("2026-03-01T12:00:00+02:00") == parse_timestamp("1772359200")
    True
    >>> parse_timestamp("1772359200123").isoformat()
    '2026-03-01T10:00:00.123000+00:00'
    """
    text = text.strip()
    if _EPOCH.match(text):
        number = float(text)
        seconds = number / 1000 if abs(number) >= _MILLISECONDS else number
        try:
            return _EPOCH_START + timedelta(seconds=seconds)
        except OverflowError as error:
            raise ValueError(text) from error
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        return parsed.replace(tzinfo=UTC)
    try:
        return parsed.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error
