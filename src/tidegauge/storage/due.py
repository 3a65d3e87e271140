"""The windows that wait to be looked at, and who has claimed them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import and_, exists, or_, select, update

from tidegauge.domain.monitor import DueWindow
from tidegauge.storage.rows import Rows


class DueWindows(Rows[DueWindow]):
    """Claims go by conditional updates, so that any number of workers can share the table."""

    def claim(self, worker: str, now: datetime, lease: timedelta) -> DueWindow | None:
        """Claim the window that waits longest, for ``lease``; None where there is none.

        Of one monitor only one window is claimed at a time, so that a slow monitor takes one worker at most.
        A claim that has run out counts as none: its worker has died.
        """
        table = self._table
        other = table.alias()
        free = or_(table.c.claimed_until.is_(None), table.c.claimed_until < now)
        busy = exists().where(
            and_(
                other.c.monitor_id == table.c.monitor_id,
                other.c.id != table.c.id,
                other.c.claimed_until >= now,
            )
        )
        candidate = (
            select(table.c.id)
            .where(free, table.c.due_at <= now, ~busy)
            .order_by(table.c.due_at, table.c.start)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        while True:
            with self._connections.transaction(), self._connections.begin() as connection:
                found = connection.execute(candidate).scalar()
                if found is None:
                    return None
                claimed = connection.execute(
                    update(table)
                    .where(table.c.id == found, free)
                    .values(claimed_by=worker, claimed_until=now + lease)
                )
                if claimed.rowcount == 1:
                    return self.get(found)
