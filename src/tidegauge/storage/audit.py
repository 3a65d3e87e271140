"""The rows of the audit log: added and read, and in no way changed; the database itself refuses that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, insert, or_, select

from tidegauge.domain.audit import AuditEntry, Outcome
from tidegauge.storage import tables
from tidegauge.storage.connections import Connections
from tidegauge.storage.rows import Page

_TABLE = tables.audit_entries
_AT_ONCE = 1000


class AuditLog:
    """Entries, newest first; ids sort by time."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(self, entry: AuditEntry) -> None:
        """Add an entry."""
        values = {**asdict(entry), "outcome": entry.outcome.value}
        with self._connections.begin(counts=False) as connection:
            connection.execute(insert(_TABLE).values(**values))

    def page(
        self,
        limit: int,
        cursor: str = "",
        *,
        q: str = "",
        who: str = "",
        outcome: Outcome | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Page[AuditEntry]:
        """Return entries of [start, end) after ``cursor``, with the text ``q`` in what is said of them."""
        conditions: list[ColumnElement[bool]] = []
        if cursor:
            conditions.append(_TABLE.c.id < cursor)
        if q:
            columns = (_TABLE.c.action, _TABLE.c.subject, _TABLE.c.address, _TABLE.c.credential)
            conditions.append(or_(*(column.icontains(q, autoescape=True) for column in columns)))
        if who:
            conditions.append(_TABLE.c.who == who)
        if outcome:
            conditions.append(_TABLE.c.outcome == outcome.value)
        if start:
            conditions.append(_TABLE.c.at >= start)
        if end:
            conditions.append(_TABLE.c.at < end)
        statement = select(_TABLE).where(*conditions).order_by(_TABLE.c.id.desc()).limit(limit + 1)
        with self._connections.connect() as connection:
            rows = connection.execute(statement).mappings().all()
        items = tuple(_entry(dict(row)) for row in rows[:limit])
        return Page(items, items[-1].id if len(rows) > limit else "")

    def all(self, **filters: Any) -> Iterator[AuditEntry]:
        """Yield every entry that ``page`` would show, newest first."""
        cursor = ""
        while True:
            page = self.page(_AT_ONCE, cursor, **filters)
            yield from page.items
            cursor = page.cursor
            if not cursor:
                return


def _entry(row: dict[str, Any]) -> AuditEntry:
    return AuditEntry(**{**row, "outcome": Outcome(row["outcome"])})
