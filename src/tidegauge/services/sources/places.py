"""Places that cannot be read: told in the problems of every run until they can be again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tidegauge.domain.identity import new_id
from tidegauge.domain.observation import DeadLetter
from tidegauge.storage.database import Database


class Places:
    """Keeps one dead letter for each place that cannot be read."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def tell(self, deployment_id: str, kind: str, place: str, reason: str) -> None:
        """Say why a place cannot be read (``kind``: event or label); without a reason it can again."""
        where = {"deployment_id": deployment_id, "kind": kind, "source": place}
        told = self._database.dead_letters.find(**where)
        if (told.reason if told else "") == reason:
            return
        with self._database.transaction():
            self._database.dead_letters.delete_where(**where)
            if reason:
                letter = DeadLetter(new_id(), deployment_id, kind, "", place, reason, None, self._now())
                self._database.dead_letters.add(letter)
