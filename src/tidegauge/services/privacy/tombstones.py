"""What was deleted and must not come back: senders repeat what was not acknowledged in time."""

from __future__ import annotations

from collections.abc import Sequence

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

    def kept(self, records: Sequence[Record]) -> list[Record]:
        """Return the records of events that were not deleted."""
        known = {id_: self.of(id_) for id_ in {record.deployment_id for record in records}}
        if not any(known.values()):
            return list(records)
        return [
            record
            for record in records
            if not (gone := known[record.deployment_id])
            or digest_of(record.deployment_id, record.event.id) not in gone
        ]
