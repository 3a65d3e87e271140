"""Windows of event time: half-open, aligned to a monitor's frequency from midnight of its time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tidegauge.errors import InvalidInputError

Window = tuple[datetime, datetime]

_YEARS = (1970, 9000)  # with room for a day or a time zone beyond


def window_of(moment: datetime, minutes: int, zone: str) -> Window:
    """Return the window [start, end) that a moment lies in, in UTC; the last of a day ends at midnight.

    >>> start, end = window_of(datetime(2026, 3, 1, 12, 7, tzinfo=UTC), 5, "UTC")
    >>> start.isoformat(), end.isoformat()
    ('2026-03-01T12:05:00+00:00', '2026-03-01T12:10:00+00:00')
    """
    day = moment.astimezone(ZoneInfo(zone)).date()
    midnight, next_midnight = (
        datetime.combine(date, time(), ZoneInfo(zone)).astimezone(UTC)
        for date in (day, day + timedelta(days=1))
    )
    # Counted in real time: a day of 23 or 25 hours has no window twice and none too long.
    length = timedelta(minutes=minutes)
    start = midnight + (moment.astimezone(UTC) - midnight) // length * length
    return start, min(start + length, next_midnight)


def in_utc(field: str, moment: datetime) -> datetime:
    """Return a time in UTC, which one without a zone is taken for; InvalidInputError far from any of ours."""
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise InvalidInputError.of(
            field, f"{field} is in the year {moment.year}; give a time from {_YEARS[0]} to {_YEARS[1]}."
        )
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def span(start: datetime, end: datetime) -> Window:
    """Return [start, end) in UTC, which a time without a zone is taken for; InvalidInputError if empty."""
    first, last = in_utc("start", start), in_utc("end", end)
    if first >= last:
        raise InvalidInputError.of(
            "end", f"end is {last.isoformat()}, not after start {first.isoformat()}; give a later one."
        )
    return first, last


def windows_between(start: datetime, end: datetime, minutes: int, zone: str) -> Iterator[Window]:
    """Yield the windows that end by ``end``, from the one that ``start`` lies in on."""
    window = window_of(start, minutes, zone)
    while window[1] <= end:
        yield window
        window = window_of(window[1], minutes, zone)
