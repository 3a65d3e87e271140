"""What was deleted and must not come back: senders repeat what was not acknowledged in time."""

from __future__ import annotations

from collections.abc import Iterable

from tidegauge.domain.erasure import digest_of
from tidegauge.storage.database import Database
from tidegauge.storage.segments import Record


class Tombstones:
    """Knows deleted events by their digests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, deployment_id: str) -> frozenset[str]:
        """Return the digests of a deployment."""
        rows = self._database.erasures.where(deployment_id=deployment_id)
        return frozenset(erasure.digest for erasure in rows)

    def kept(self, records: Iterable[Record]) -> list[Record]:
        """Return the records of events that were not deleted."""
        known: dict[str, frozenset[str]] = {}
        kept = []
        for record in records:
            id_ = record.deployment_id
            if id_ not in known:
                known[id_] = self.of(id_)
            if not known[id_] or digest_of(id_, record.event.id) not in known[id_]:
                kept.append(record)
        return kept
