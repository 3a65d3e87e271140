"""The windows and the monitors that wait to be looked at, and who has claimed them.

Claims go by conditional updates, so that any number of workers can share a table. Their statements are built
once: to build one takes longer than to execute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from tidegauge.domain.monitor import Cause, DueWindow, Monitor, MonitorState
from tidegauge.errors import NotFoundError
from tidegauge.storage.connections import insert_into
from tidegauge.storage.rows import Rows

T = TypeVar("T")
_TRIES = 3  # at a row that another worker was faster with


class _Claims(Rows[T], Generic[T]):
    """Rows that one worker at a time has; a claim that has run out counts as none, since its worker died."""

    _until = ""  # name of the column with the end of the claim

    def _claim(self, now: datetime, until: datetime, **values: Any) -> T | None:
        """Claim the first candidate; None where there is none."""
        given = {"claim_now": now, "claim_until": until, **values}
        for _ in range(_TRIES):
            with self._connections.connect() as connection:
                # Most looks find nothing, and must not keep those waiting who write.
                if connection.execute(self._candidate, given).first() is None:
                    return None
            with self._connections.begin() as connection:
                found = connection.execute(self._take, given).mappings().first()
            if found is not None:
                return self._adapter.validate_python(dict(found))
        return None  # others are faster; whoever asks comes again

    @property
    def _candidate(self) -> Select[Any]:
        raise NotImplementedError

    @cached_property
    def _take(self) -> Any:
        wanted = self._candidate.with_for_update(skip_locked=True).correlate(None).scalar_subquery()
        return (
            update(self._table)
            .where(self._table.c.id == wanted, self._free)
            .values(self._set)
            .returning(self._table)
        )

    @property
    def _set(self) -> dict[str, Any]:
        return {self._until: self._time("claim_until")}

    @property
    def _free(self) -> ColumnElement[bool]:
        until = self._table.c[self._until]
        return or_(until.is_(None), until < self._time("claim_now"))

    def _time(self, name: str) -> Any:
        return bindparam(name, type_=self._table.c[self._until].type)


class DueWindows(_Claims[DueWindow]):
    """Windows by the time that they are due."""

    _until = "claimed_until"

    def claim(self, worker: str, now: datetime, lease: timedelta) -> DueWindow | None:
        """Claim the window that waits longest, for ``lease``; None where there is none.

        Those that can wait come after all others: thousands of late labels must not delay the window of now.
        Of one monitor one window of each kind is claimed at a time: a slow one takes two workers at most.
        """
        return self._claim(now, now + lease, claim_worker=worker)

    def want(self, dues: Sequence[DueWindow]) -> None:
        """Let windows be due; where one is already, for late labels alone, now for its cause."""
        self._upsert(dues, ("cause", "can_wait"), self._table.c.cause == Cause.LATE_LABELS.value)

    def want_again(self, due: DueWindow) -> None:
        """Let a window be due; who is at it loses the claim, since the result would miss what has come.

        What labels ask for is too little where events have come: of those another cause stays.
        """
        cause = () if due.cause is Cause.LATE_LABELS else ("cause", "can_wait")
        self._upsert([due], ("claimed_by", "claimed_until", "due_at", *cause))

    def take(self, due: DueWindow, now: datetime) -> DueWindow | None:
        """Claim a window, whether it is due or not, for who ``due`` names; None where somebody is at it."""
        until = self._table.c.claimed_until
        self._upsert([due], ("claimed_by", "claimed_until"), or_(until.is_(None), until < now))
        return self.find(monitor_id=due.monitor_id, start=due.start, end=due.end, claimed_by=due.claimed_by)

    def _upsert(
        self, dues: Sequence[DueWindow], columns: Sequence[str], only: ColumnElement[bool] | None = None
    ) -> None:
        """Add rows, or change these columns of those that are there.

        In one statement: a worker that is done deletes a row that was there a moment ago. NotFoundError where
        the monitor has been deleted.
        """
        try:
            with self._connections.begin() as connection:
                statement = insert_into(self._table, connection)
                changes = {name: statement.excluded[name] for name in columns}
                key = ("monitor_id", "start", "end")
                statement = statement.on_conflict_do_update(index_elements=key, set_=changes, where=only)
                connection.execute(statement, [self._to_row(due) for due in dues])
        except IntegrityError as error:
            raise NotFoundError(f"There is no monitor with id {dues[0].monitor_id!r}.") from error

    @cached_property
    def _candidate(self) -> Select[Any]:
        table, now = self._table, self._time("claim_now")
        other = table.alias()
        busy = select(other.c.monitor_id, other.c.can_wait).where(other.c.claimed_until >= now)
        kind = tuple_(table.c.monitor_id, table.c.can_wait)
        return (
            select(table.c.id)
            .where(self._free, table.c.due_at <= now, kind.not_in(busy))
            .order_by(table.c.can_wait, table.c.due_at, table.c.start)
            .limit(1)
        )

    @property
    def _set(self) -> dict[str, Any]:
        return {**super()._set, "claimed_by": bindparam("claim_worker")}


class WatchedMonitors(_Claims[Monitor]):
    """Monitors by the time that the schedule has to look after them."""

    _until = "look_until"

    def claim(self, now: datetime, lease: timedelta) -> Monitor | None:
        """Claim the active monitor that waits longest, for ``lease``; None where there is none."""
        return self._claim(now, now + lease)

    @cached_property
    def _candidate(self) -> Select[Any]:
        table = self._table
        due = or_(table.c.look_at.is_(None), table.c.look_at <= self._time("claim_now"))
        return (
            select(table.c.id)
            .where(table.c.state == MonitorState.ACTIVE.value, due, self._free)
            .order_by(table.c.look_at)
            .limit(1)
        )
