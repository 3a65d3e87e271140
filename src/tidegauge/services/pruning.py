"""Forgetting what is too old to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tidegauge.storage.database import Database
from tidegauge.storage.rows import Rows

KEPT = timedelta(days=30)
_EVERY = timedelta(hours=1)
_AT_ONCE = 500  # so that no other writer waits long


class Pruning:
    """Deletes the rows of deployments whose time, a column, is more than 30 days ago."""

    def __init__(self, database: Database, rows: Rows[Any], column: str, now: Callable[[], datetime]) -> None:
        self._database = database
        self._rows = rows
        self._column = column
        self._now = now
        self._done_at: datetime | None = None

    def prune(self) -> None:
        """Delete them, unless that was done within the hour."""
        now = self._now()
        if self._done_at is not None and now - self._done_at < _EVERY:
            return
        for deployment in self._database.deployments.where():  # the index begins with the deployment
            while old := self._rows.between(
                self._column,
                None,
                now - KEPT,
                sort=self._column,
                limit=_AT_ONCE,
                deployment_id=deployment.id,
            ):
                self._rows.delete_where(id=[row.id for row in old])
        self._done_at = now
