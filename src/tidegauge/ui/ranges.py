"""The range of time that a page shows: one of a few that end with the newest window, or from and to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.domain.windows import in_utc
from tidegauge.errors import FieldError, InvalidInputError

#: Each with its words and its length; none is everything.
PRESETS = (
    ("24h", "Last 24 hours", timedelta(hours=24)),
    ("7d", "7 days", timedelta(days=7)),
    ("30d", "30 days", timedelta(days=30)),
    ("all", "All", None),
)
DEFAULT = "7d"


@dataclass(frozen=True)
class Range:
    """The windows that begin in [start, end), None: without bound; ``preset`` is empty for from and to."""

    start: datetime | None = None
    end: datetime | None = None
    preset: str = ""


def chosen(preset: str, start: str, end: str, newest: datetime | None) -> Range:
    """Read what was chosen; ``newest`` is where the newest window ends.

    Raises InvalidInputError at ``range``, ``start`` or ``end``.
    """
    if start or end:
        found = Range(moment("start", start), moment("end", end))
        if found.start and found.end and found.start >= found.end:
            raise InvalidInputError.of("end", "end is not after start; choose a later time.")
        return found
    lengths = {name: length for name, _, length in PRESETS}
    if preset and preset not in lengths:
        raise InvalidInputError.of("range", f"range is {preset!r}; use one of {', '.join(lengths)}.")
    length = lengths[preset or DEFAULT]
    since = newest - length if newest and length else None
    return Range(since, newest, preset or DEFAULT)


def moment(field: str, text: str) -> datetime | None:
    """Read a time as forms and links give it, in UTC where it says nothing else; None where there is none."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{field} is {text[:40]!r}; write a time such as 2026-03-01T12:05."
        raise InvalidInputError(message, (FieldError(field, message),)) from error
    return in_utc(field, found)
