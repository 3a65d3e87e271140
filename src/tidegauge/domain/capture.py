"""Which of the served requests the log has: the numbers that senders give, and the counts that they report.

A sender is one process. It numbers what it serves 1, 2, 3, ..., also what it then cannot send, and reports
by the minute of the requests how many it served and lost. Counts only grow and numbers only come, so what is
known of a minute merges in any order, any number of times.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tidegauge.domain.cloudevents import parse_time
from tidegauge.domain.events import SENDER, SEQUENCE, Event
from tidegauge.errors import InvalidInputError

MINUTE = timedelta(minutes=1)
MOST_MINUTES = 1000  # of a report: they are taken down while events wait to be written
#: Numbers from the first to the last, both included.
Ranges = tuple[tuple[int, int], ...]

_SENDER = re.compile(r"[!-~]{1,128}")
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_MOST = 2**31 - 1  # that a count may be
_COUNTS = ("served", "overflow", "refused")


@dataclass(frozen=True)
class Capture:
    """What is known of the requests of one minute that one sender served.

    ``numbers`` are in the log. ``served`` is what the sender reported, None before it has; of these it lost
    ``overflow`` to its full queue, and ``refused`` the collector would not have, or no event could hold.
    """

    id: str  # <deployment id>/<sender>/<minute>
    deployment_id: str
    sender: str
    minute: datetime
    numbers: Ranges = ()
    served: int | None = None
    overflow: int = 0
    refused: int = 0

    @classmethod
    def of(cls, deployment_id: str, sender: str, at: datetime, **known: Any) -> Capture:
        """Return what is known of the minute that a moment lies in."""
        minute = at.astimezone(UTC).replace(second=0, microsecond=0)
        return cls(f"{deployment_id}/{sender}/{minute:%Y%m%dT%H%M}", deployment_id, sender, minute, **known)

    @property
    def captured(self) -> int:
        return sum(last - first + 1 for first, last in self.numbers)

    @property
    def known_served(self) -> int:
        """What was served at least: as reported or, where that is older than the log, what was seen."""
        return max(self.served or 0, self.captured + self.overflow + self.refused)

    @property
    def is_settled(self) -> bool:
        """Whether a report has come that is as new as what the log has."""
        return self.served is not None and self.known_served == self.served

    def merged(self, *others: Capture) -> Capture:
        """Return what all know of the same minute of the same sender."""
        known = (self, *others)
        return replace(
            self,
            numbers=joined(range_ for capture in known for range_ in capture.numbers),
            served=max((capture.served for capture in known if capture.served is not None), default=None),
            overflow=max(capture.overflow for capture in known),
            refused=max(capture.refused for capture in known),
        )


@dataclass(frozen=True)
class Coverage:
    """How many requests were served, and where they are: ``served`` is the sum of all others.

    ``captured`` are in the log, ``overflow`` met a full queue, ``refused`` the collector would not have, and
    ``missing`` never arrived: nobody knows why.
    """

    served: int = 0
    captured: int = 0
    overflow: int = 0
    refused: int = 0
    missing: int = 0

    @property
    def share(self) -> float | None:
        """Share of the served requests that the log has; None where none was served."""
        return self.captured / self.served if self.served else None

    def __add__(self, other: Coverage) -> Coverage:
        both = asdict(self), asdict(other)
        return Coverage(**{name: both[0][name] + both[1][name] for name in both[0]})

    def loss(self) -> str:
        """Say what is not in the log and why, in one sentence; empty where nothing is lost.

        >>> Coverage(served=12, captured=9, overflow=2, missing=1).loss()
        "3 of 12 served requests are not in the log: 2 overflowed the model server's queue, 1 never arrived."
        """
        lost = self.served - self.captured
        if not lost:
            return ""
        reasons = (
            (self.overflow, "overflowed the model server's queue"),
            (self.refused, "were refused" if self.refused > 1 else "was refused"),
            (self.missing, "never arrived"),
        )
        said = ", ".join(f"{count:,} {reason}" for count, reason in reasons if count)
        are = "are" if lost > 1 else "is"
        return f"{lost:,} of {self.served:,} served requests {are} not in the log: {said}."


@dataclass(frozen=True)
class SpanCoverage:
    """The coverage of whole minutes [start, end), and of each sender by its id."""

    start: datetime
    end: datetime
    total: Coverage = Coverage()
    senders: Mapping[str, Coverage] = field(default_factory=dict)


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same numbers in the fewest ranges, in order.

    >>> joined([(7, 9), (1, 2), (3, 3), (8, 12)])
    ((1, 3), (7, 12))
    """
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)


def whole_minutes(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return the span of the minutes that [start, end) meets: senders count by the minute."""
    first, last = (time.replace(second=0, microsecond=0) for time in (start, end))
    return first, last if last == end else last + MINUTE


def coverage_of(rows: Sequence[Capture], start: datetime, end: datetime) -> Coverage:
    """Return the coverage of the minutes of one sender in [start, end); ``rows`` are all that it has.

    Numbers that no report tells of and no row has were served, too: such a gap belongs to the minute of
    the number after it. Numbers below the lowest say nothing, for a sender may begin anywhere.
    """
    inside = [row for row in rows if start <= row.minute < end]
    gaps = {} if all(row.is_settled for row in inside) else _unexplained(rows)
    served = sum(row.known_served + gaps.get(row.minute, 0) for row in inside)
    captured = sum(row.captured for row in inside)
    overflow, refused = (sum(getattr(row, name) for row in inside) for name in ("overflow", "refused"))
    return Coverage(served, captured, overflow, refused, served - captured - overflow - refused)


def needs_more(rows: Sequence[Capture], start: datetime) -> bool:
    """Tell whether rows from before those of one sender that are at hand could explain what seems missing.

    ``rows`` begin some time before ``start`` and hold all since.
    """
    unsettled = {row.minute for row in rows if row.minute >= start and not row.is_settled}
    numbered = ((row.numbers[0][0], row.minute) for row in rows if row.numbers)
    if not unsettled or min(numbered, default=(0, None))[1] in unsettled:
        return bool(unsettled)
    return any(minute in unsettled for _, minute in _gaps(rows))


def numbered(deployment_id: str, event: Event) -> Capture | None:
    """Return the capture of a response that has a number; None for one without, or with one that is none."""
    sender, number = event.extensions.get(SENDER), event.extensions.get(SEQUENCE)
    # Binary mode, and the extension that CloudEvents document, make numbers text.
    if not (isinstance(sender, str) and _SENDER.fullmatch(sender) and _SEQUENCE.fullmatch(str(number))):
        return None
    return Capture.of(deployment_id, sender, event.time, numbers=((int(str(number)), int(str(number))),))


def report(sender: str, minutes: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the data of a report: a sender, and by ``minute`` what it served, overflowed and was refused."""
    return orjson.dumps({"sender": sender, "minutes": list(minutes)}, option=orjson.OPT_UTC_Z)


def reported(deployment_id: str, event: Event) -> list[Capture]:
    """Return the captures that a report tells of; InvalidInputError where it is none."""
    try:
        told = orjson.loads(event.data)
        sender, minutes = _name(told["sender"]), told["minutes"]
        if len(minutes) > MOST_MINUTES:
            raise ValueError(f"it has {len(minutes)} minutes; send {MOST_MINUTES} at most")  # noqa: TRY301
        return [
            Capture.of(
                deployment_id,
                sender,
                parse_time(one["minute"]),
                **{name: _count(one, name) for name in _COUNTS},
            )
            for one in minutes
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError.of(
            "data", f"The report {event.id!r} of what was served cannot be read: {error!r}."
        ) from error


def _name(sender: str) -> str:
    if not _SENDER.fullmatch(sender):
        raise ValueError("its sender is not 1 to 128 printable ASCII characters")
    return sender


def _count(one: Mapping[str, Any], name: str) -> int:
    count = one[name]
    if type(count) is not int or not 0 <= count <= _MOST:
        raise ValueError(f"{name} is {count!r}, which is no count")
    return count


def _gaps(rows: Iterable[Capture]) -> list[tuple[int, datetime]]:
    """Return how many numbers are missing before which minute, in the order of numbers."""
    found = []
    highest: int | None = None
    for first, last, minute in sorted(
        (first, last, row.minute) for row in rows for first, last in row.numbers
    ):
        if highest is not None and first > highest + 1:
            found.append((first - highest - 1, minute))
        highest = last if highest is None else max(highest, last)
    return found


def _unexplained(rows: Iterable[Capture]) -> Mapping[datetime, int]:
    """Return by minute the numbers that are missing and that no report tells of.

    A report tells of all that was served before it. So what none tells of is the newest, and never before a
    number of a minute whose report is as new as the log.
    """
    gaps = _gaps(rows)
    left = sum(size for size, _ in gaps) - sum(row.known_served - row.captured for row in rows)
    settled = {row.minute for row in rows if row.is_settled}
    found: Counter[datetime] = Counter()
    for size, minute in reversed(gaps):
        if left > 0 and minute not in settled:
            found[minute] += min(size, left)
            left -= size
    return found
