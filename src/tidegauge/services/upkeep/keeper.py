"""The keeper: looks after the logs of all deployments in the background, gently."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidegauge.domain.deployment import Deployment
from tidegauge.errors import TidegaugeError
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.services.upkeep.retention import Retention
from tidegauge.storage.database import Database
from tidegauge.storage.leases import Leases
from tidegauge.storage.objects import ObjectStore

_SECONDS = 5.0  # of work on one log, before the next has its turn
_LEASE = timedelta(minutes=10)  # longer than that and one step more can take
_REST = timedelta(minutes=10)  # between looks at a log where all was done
_SWEEP = timedelta(days=1)  # between looks for what crashes left behind; and how old that must be
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UpkeepCounts:
    """What a process did since its start: ``merged`` small files, ``gone`` and ``swept`` files."""

    merged: int = 0
    gone: int = 0
    swept: int = 0


class Keeper:
    """Has logs compacted, bounded and swept, one after the other; a log by one process at a time."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        compaction: Compaction,
        retention: Retention,
        now: Callable[[], datetime],
        seconds: float = 30.0,
    ) -> None:
        """``seconds`` are between two looks at all logs."""
        self.counts = UpkeepCounts()
        self._database = database
        self._leases = Leases(store)
        self._compaction = compaction
        self._retention = retention
        self._now = now
        self._seconds = seconds
        self._swept: dict[str, datetime] = {}
        self._again: dict[str, datetime] = {}  # when to look again
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Let it finish what it is at."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> bool:
        """Look after every log whose time has come; tell whether something is left to do at once."""
        left = False
        for deployment in self._database.deployments.where():
            if self._stop.is_set():
                return False
            begun = time.monotonic()
            try:
                left |= not self._look_after(deployment)
            except TidegaugeError as error:
                _log.warning("The log of deployment %s: %s", deployment.name, error)
            except Exception:
                _log.exception("The log of deployment %s could not be looked after", deployment.name)
            self._stop.wait(time.monotonic() - begun)  # others have as much of the machine
        return left

    def _look_after(self, deployment: Deployment) -> bool:
        """Do some of what is to be done; tell whether that was all."""
        now, place = self._now(), f"{deployment.id}/upkeep"
        if now < self._again.get(deployment.id, now):
            return True  # nobody has to ask the store for that
        claimed = self._leases.take(place, now, now + _LEASE)
        if claimed is not None:
            self._again[deployment.id] = claimed
            return True
        done = False
        try:
            done = self._work(deployment, now)
        finally:
            self._again[deployment.id] = self._now() + (_REST if done else timedelta())
            self._leases.release(place, self._again[deployment.id])
        return done

    def _work(self, deployment: Deployment, now: datetime) -> bool:
        deadline = time.monotonic() + _SECONDS
        if now - self._swept.get(deployment.id, now - _SWEEP) >= _SWEEP:
            self._count(swept=self._compaction.sweep(deployment.id, now - _SWEEP))
            self._swept[deployment.id] = now
        gone = self._retention.work(deployment, now, deadline)  # first: what goes need not be merged
        merged = None if gone is None else self._compaction.work(deployment.id, now, deadline)
        self._count(gone=gone or 0, merged=merged or 0)
        return merged is not None

    def _count(self, **more: int) -> None:
        counts = self.counts
        self.counts = replace(counts, **{name: getattr(counts, name) + value for name, value in more.items()})

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                while self.look() and not self._stop.is_set():
                    pass
            except Exception:
                # A database that is away for a moment must not end the thread.
                _log.exception("The logs could not be looked after")
