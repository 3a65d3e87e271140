"""Failed attempts to get in, counted where every process of a cluster sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from tidegauge.storage import tables
from tidegauge.storage.connections import Connections, insert_into

_TABLE = tables.attempts


@dataclass(frozen=True)
class Tried:
    """How often something failed in a row, and when it last did and last succeeded."""

    failures: int
    last_at: datetime
    succeeded_at: datetime | None


class Attempts:
    """Counters by key; a count stands on what was read, so that none of many at once is missed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def get(self, key: str) -> Tried | None:
        """Return what is known of a key."""
        columns = (_TABLE.c.failures, _TABLE.c.last_at, _TABLE.c.succeeded_at)
        with self._connections.connect() as connection:
            row = connection.execute(select(*columns).where(_TABLE.c.id == key)).first()
        return Tried(*row) if row else None

    def fail(self, key: str, seen: Tried | None, failures: int, now: datetime) -> bool:
        """Set the failures of a key that is still as it was seen; tell whether it was."""
        values: dict[str, Any] = {"failures": failures, "last_at": now}
        with self._connections.begin() as connection:
            if seen is None:
                statement = insert_into(_TABLE, connection).values(id=key, **values).on_conflict_do_nothing()
                return connection.execute(statement.returning(_TABLE.c.id)).first() is not None
            unchanged = (_TABLE.c.failures == seen.failures) & (_TABLE.c.last_at == seen.last_at)
            change = update(_TABLE).where(_TABLE.c.id == key, unchanged).values(**values)
            return connection.execute(change).rowcount == 1

    def succeed(self, key: str, now: datetime) -> None:
        """Forget the failures of a key."""
        values: dict[str, Any] = {"failures": 0, "last_at": now, "succeeded_at": now}
        with self._connections.begin() as connection:
            statement = insert_into(_TABLE, connection).values(id=key, **values)
            connection.execute(statement.on_conflict_do_update(index_elements=[_TABLE.c.id], set_=values))

    def take_back(self, key: str) -> None:
        """Count one failure of a key less."""
        less = update(_TABLE).where(_TABLE.c.id == key, _TABLE.c.failures > 0)
        with self._connections.begin() as connection:
            connection.execute(less.values(failures=_TABLE.c.failures - 1))

    def forget(self, failed_before: datetime, succeeded_before: datetime) -> None:
        """Delete what is too old to matter."""
        succeeded = _TABLE.c.succeeded_at
        old = succeeded.is_(None) | (succeeded < succeeded_before)
        with self._connections.begin() as connection:
            connection.execute(delete(_TABLE).where(_TABLE.c.last_at < failed_before, old))
