"""Retention: the oldest hours of a log go when they are too old, or the log is too large."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.log_size import LogSize
from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.observation import LogFile
from tidegauge.services.baselines import Baselines
from tidegauge.services.extraction import extraction_for
from tidegauge.services.noting import rows_of
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog, is_merged
from tidegauge.storage.objects import ObjectInfo

_HOUR = timedelta(hours=1)
_NOTED = timedelta(days=1)  # longer than it takes until a file that was written is taken down


class _ChangedError(Exception):
    """A file was merged meanwhile."""


class Retention:
    """Bounds the logs of deployments; what was observed in them stays, with results and evidence.

    Hours go whole and oldest first, but none that an active monitor has not read, nor one that was not over
    an hour ago. What goes is taken down before it is deleted.
    """

    def __init__(
        self, database: Database, log: InferenceLog, baselines: Baselines, keep_days: int, keep_bytes: int
    ) -> None:
        """``keep_days`` and ``keep_bytes`` are the bounds of logs that have none of their own; 0: none."""
        self._database = database
        self._log = log
        self._baselines = baselines
        self._days = keep_days
        self._bytes = keep_bytes

    def work(self, deployment: Deployment, now: datetime, deadline: float) -> int | None:
        """Delete the hours that are kept no longer; return how many files went, None where time ran out."""
        days, most = self._bounds(deployment)
        if not days and not most:
            return 0
        hours = self._log.hours(deployment.id)
        total = sum(info.size for infos in hours.values() for info in infos)
        read = self._read(deployment.id)
        gone = 0
        for hour, infos in hours.items():
            age = now - (hour + _HOUR)
            is_old = days > 0 and age >= timedelta(days=days)
            if age < _HOUR or not (is_old or (most > 0 and total > most)):
                break
            if time.monotonic() >= deadline:
                return None
            if not self._drop(infos, now, read):
                break
            gone += len(infos)
            total -= sum(info.size for info in infos)
        return gone

    def size(self, deployment: Deployment) -> LogSize:
        """Return what the log of a deployment takes up, and what has become of its files."""
        hours = self._log.hours(deployment.id)
        infos = [info for hour in hours.values() for info in hour]
        rows = self._database.log_files
        living = {"deployment_id": deployment.id, "gone_at": None}
        days, most = self._bounds(deployment)
        return LogSize(
            files=len(infos),
            bytes=sum(info.size for info in infos),
            first=next(iter(hours), None),
            last=self._log.last_time(deployment.id),
            merged=rows.count(**living) - rows.count(**living, merged_into=""),
            gone=rows.count(deployment_id=deployment.id) - rows.count(**living),
            keep_days=days,
            keep_bytes=most,
        )

    def _bounds(self, deployment: Deployment) -> tuple[int, int]:
        """Return how many days and bytes are kept; 0: all."""
        days, most = deployment.keep_days, deployment.keep_bytes
        return self._days if days is None else days, self._bytes if most is None else most

    def _read(self, deployment_id: str) -> float:
        """Return the number of the last file that whoever has to read the log has read."""
        monitor = self._database.monitors.find(deployment_id=deployment_id, state=MonitorState.ACTIVE)
        if monitor is None:
            return math.inf
        extraction = extraction_for(monitor, self._baselines)
        reader = self._database.readers.find(id=f"{deployment_id}/{extraction.id}")
        return reader.position if reader else 0

    def _drop(self, infos: Sequence[ObjectInfo], now: datetime, read: float) -> bool:
        """Let the files of an hour go; False where they cannot yet."""
        plain = [info for info in infos if not is_merged(info.path)]
        parts = [part for info in infos if is_merged(info.path) for part in self._log.parts(info.path)]
        files = rows_of(self._database, [*(info.path for info in plain), *parts])
        known = {file.id for file in files}
        if any(info.path not in known and info.modified > now - _NOTED for info in plain):
            return False  # it was written just now, and nobody can have read it
        living = [file for file in files if file.gone_at is None]
        places = {file.merged_into for file in living}
        if any(file.number > read for file in living) or not places <= {"", *(info.path for info in infos)}:
            return False  # not read yet, or merged meanwhile
        try:
            with self._database.transaction():
                for place in places:
                    self._let_go([file for file in living if file.merged_into == place], place, now)
        except _ChangedError:
            return False
        self._log.delete(info.path for info in infos)
        return True

    def _let_go(self, files: Sequence[LogFile], place: str, now: datetime) -> None:
        as_was = {"id": [file.id for file in files], "merged_into": place, "gone_at": None}
        if self._database.log_files.update_where(as_was, gone_at=now) != len(files):
            raise _ChangedError
