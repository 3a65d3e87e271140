"""What this process has served, by the minute: the numbers that it gives, and the reports of what it lost."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from tidegauge.domain.capture import MOST_MINUTES, report
from tidegauge.domain.identity import new_id

REPORT_SECONDS = 10.0
_AT_ONCE = MOST_MINUTES
_REMEMBERED = 10_000  # minutes, a week; requests may bring times of their own
_LAST = 2**31 - 1  # that CloudEvents can number


class Number(NamedTuple):
    """Which request of which sender; ``minute`` is counted from 1970."""

    sender: str
    sequence: int
    minute: int


_Minute = tuple[str, int]  # of a sender


class Served:
    """Numbers what is served, and counts it by the minute of its time. One thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.sender = new_id()
        self._sequence = 0
        self._minutes: OrderedDict[_Minute, dict[str, int]] = OrderedDict()
        self._untold: OrderedDict[_Minute, None] = OrderedDict()
        self._round = self._now()

    def number(self, at: datetime) -> Number:
        """Count a request and return its number; past the last one another sender begins."""
        if self._sequence == _LAST:
            self.sender, self._sequence = new_id(), 0
        self._sequence += 1
        number = Number(self.sender, self._sequence, int(at.timestamp() // 60))
        self._count(number, "served")
        return number

    def lose(self, number: Number, reason: Literal["overflow", "refused"]) -> None:
        """Count a request that will not be in the log."""
        self._count(number, reason)

    def has_news(self, *, at_once: bool = False) -> bool:
        """Tell whether a report is due: at each ten seconds of the clock, as minutes end."""
        due = at_once or self._now() != self._round or len(self._untold) >= _AT_ONCE
        return due and bool(self._untold)

    def seconds(self) -> float:
        """Return for how long no report is due."""
        return REPORT_SECONDS - self._clock() % REPORT_SECONDS

    def report(self) -> tuple[list[_Minute], list[bytes]]:
        """Return the minutes that have changed since they were told, and reports of them, one a sender."""
        self._round = self._now()
        minutes = [self._untold.popitem(last=False)[0] for _ in range(min(_AT_ONCE, len(self._untold)))]
        return minutes, [
            report(
                sender,
                (
                    {"minute": datetime.fromtimestamp(minute * 60, UTC), **self._minutes[sender, minute]}
                    for of_sender, minute in minutes
                    if of_sender == sender
                ),
            )
            for sender in dict.fromkeys(sender for sender, _ in minutes)
        ]

    def not_told(self, minutes: list[_Minute]) -> None:
        """Tell them again: their report did not come through."""
        self._untold.update((minute, None) for minute in minutes if minute in self._minutes)

    def _count(self, number: Number, what: str) -> None:
        minute = number.sender, number.minute
        if minute not in self._minutes:
            self._minutes[minute] = {"served": 0, "overflow": 0, "refused": 0}
            if len(self._minutes) > _REMEMBERED:
                # The one that has not changed for longest: from zero its counts would seem to be old ones.
                forgotten, _ = self._minutes.popitem(last=False)
                self._untold.pop(forgotten, None)
        self._minutes[minute][what] += 1
        self._minutes.move_to_end(minute)
        self._untold[minute] = None

    def _now(self) -> int:
        return int(self._clock() // REPORT_SECONDS)
