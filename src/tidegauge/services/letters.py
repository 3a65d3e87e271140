"""Dead letters: what could not be read of events and labels, in words."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegauge.domain.observation import DeadLetter
from tidegauge.storage.database import Database

_HOUR = timedelta(hours=1)
_TIMELESS = 1000  # that are told of in every window


class Letters:
    """Says what was left out of a window, and why."""

    def __init__(self, database: Database) -> None:
        self._letters = database.dead_letters

    def of_window(
        self, deployment_id: str, start: datetime, end: datetime
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Say what of the events, and what of the labels, of [start, end) and of no known time."""
        found = (
            *self._letters.between("time", start, end, deployment_id=deployment_id, kind=["event", "label"]),
            *self._hours(deployment_id, start, end),
            *self._letters.where(deployment_id=deployment_id, time=None, limit=_TIMELESS),
        )
        events = tuple(_of_event(letter) for letter in found if letter.kind != "label")
        labels = tuple(f"{letter.source}: {letter.reason}" for letter in found if letter.kind == "label")
        return events, labels

    def _hours(self, deployment_id: str, start: datetime, end: datetime) -> list[DeadLetter]:
        """Return the letters of hours that meet [start, end)."""
        near = self._letters.between("time", start - _HOUR, end, deployment_id=deployment_id, kind="hour")
        return [letter for letter in near if letter.time and letter.time + _HOUR > start]


def _of_event(letter: DeadLetter) -> str:
    if letter.kind == "hour":
        return letter.reason
    place = letter.source if letter.time is None else f"Event {letter.event_id}"
    return f"{place}: {letter.reason}"
