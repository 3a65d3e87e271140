"""The windows that wait to be looked at, and who has claimed them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Update,
    and_,
    bindparam,
    exists,
    or_,
    select,
    update,
)

from tidegauge.domain.monitor import DueWindow
from tidegauge.storage.rows import Rows


class DueWindows(Rows[DueWindow]):
    """Claims go by conditional updates, so that any number of workers can share the table.

    Their statements are built once: to build one takes longer than to execute it.
    """

    def claim(self, worker: str, now: datetime, lease: timedelta) -> DueWindow | None:
        """Claim the window that waits longest, for ``lease``; None where there is none.

        Of one monitor only one window is claimed at a time, so that a slow monitor takes one worker at most.
        A claim that has run out counts as none: its worker has died.
        """
        values = {"claim_now": now, "claim_worker": worker, "claim_until": now + lease}
        while True:
            with self._connections.transaction(), self._connections.begin() as connection:
                found = connection.execute(self._candidate, values).mappings().first()
                if found is None:
                    return None
                claimed = connection.execute(self._take, {**values, "claim_id": found["id"]})
                if claimed.rowcount == 1:
                    return replace(
                        self._adapter.validate_python(dict(found)),
                        claimed_by=worker,
                        claimed_until=now + lease,
                    )

    @cached_property
    def _candidate(self) -> Select[Any]:
        table, now = self._table, bindparam("claim_now", type_=self._table.c.due_at.type)
        other = table.alias()
        busy = exists().where(
            and_(
                other.c.monitor_id == table.c.monitor_id,
                other.c.id != table.c.id,
                other.c.claimed_until >= now,
            )
        )
        return (
            select(table)
            .where(self._free(now), table.c.due_at <= now, ~busy)
            .order_by(table.c.due_at, table.c.start)
            .limit(1)
            .with_for_update(skip_locked=True)
        )

    @cached_property
    def _take(self) -> Update:
        table, time = self._table, self._table.c.due_at.type
        return (
            update(table)
            .where(table.c.id == bindparam("claim_id"), self._free(bindparam("claim_now", type_=time)))
            .values(claimed_by=bindparam("claim_worker"), claimed_until=bindparam("claim_until", type_=time))
        )

    def _free(self, now: BindParameter[Any]) -> ColumnElement[bool]:
        return or_(self._table.c.claimed_until.is_(None), self._table.c.claimed_until < now)
