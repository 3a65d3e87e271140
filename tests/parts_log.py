"""An inference log without its server: files as collectors write them, in a store that can be interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE, Event
from tidegauge.domain.observation import LogFile
from tidegauge.services.noting import Noting
from tidegauge.services.sources.files import Datasets
from tidegauge.services.sources.logs import Logs
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Record

DEPLOYMENT = "d1"
HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, 10, tzinfo=UTC)
LATER = START + 2 * HOUR  # when the first hour has its turn
NEVER = float("inf")


class CrashError(BaseException):
    """The end of a process: nothing catches it."""


class InterruptedStore(ObjectStore):
    """A store that does something of the test's before (or after) its n-th operation."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._left = 0
        self._late = self._within = False
        self._act: Callable[[], None] = lambda: None

    def interrupt(self, place: int, act: Callable[[], None], *, late: bool = False) -> None:
        """Have ``act`` done at the operation number ``place``, counted from 1; ``late``: after it."""
        self._left, self._act, self._late = place, act, late

    def _step(self, name: str, *args: Any) -> Any:
        if self._within:  # of another operation
            return getattr(super(), name)(*args)
        self._left -= 1
        here = self._left == 0
        if here and not self._late:
            self._act()
        self._within = True
        try:
            result = getattr(super(), name)(*args)
        finally:
            self._within = False
        if here and self._late:
            self._act()
        return result

    def get(self, path: str) -> bytes:
        return bytes(self._step("get", path))

    def create(self, path: str, data: bytes) -> bool:
        return bool(self._step("create", path, data))

    def delete(self, path: str) -> None:
        self._step("delete", path)

    def get_tagged(self, path: str) -> Any:
        return self._step("get_tagged", path)

    def replace(self, path: str, data: bytes, tag: str | None = None) -> None:
        self._step("replace", path, data, tag)


class LogSite:
    """One deployment and its log, on a store of either kind."""

    def __init__(self, store_url: str, database_url: str) -> None:
        self.store = InterruptedStore(store_url)
        self.database = Database(database_url)
        self.log = InferenceLog(self.store)
        self.noting = Noting(self.database, lambda: START)
        self.compaction = Compaction(self.database, self.log)

    @classmethod
    def create(cls, store_url: str, database_url: str) -> LogSite:
        site = cls(store_url, database_url)
        site.database.migrate()
        site.database.deployments.add(deployment())
        return site

    def logs(self) -> Logs:
        datasets: Datasets = None  # type: ignore[assignment]  # nothing is read from one here
        return Logs(self.database, self.log, datasets, lambda: LATER)

    def write(self, segment: str, ids: Sequence[str], start: datetime = START) -> list[str]:
        """Log requests with their responses, as a segment of a collector; return the paths."""
        records = [
            record for number, id_ in enumerate(ids) for record in exchange(id_, start + number * HOUR / 1000)
        ]
        written = self.log.write(segment, records, self.noting.known)
        self.noting.note(written)
        return [path for _, path in written]

    def fill(self, files: int, each: int = 3, start: datetime = START) -> dict[str, list[Record]]:
        """Write small files of an hour; return what each holds."""
        for number in range(files):
            self.write(f"s{number:03}", [f"{number:03}-{k}" for k in range(each)], start)
        return self.contents()

    def compact(self, now: datetime = LATER) -> int | None:
        return self.compaction.work(DEPLOYMENT, now, NEVER)

    def sweep(self) -> int:
        return self.compaction.sweep(DEPLOYMENT, datetime.max.replace(tzinfo=UTC))

    def rows(self) -> list[LogFile]:
        return list(self.database.log_files.where(deployment_id=DEPLOYMENT, sort="number"))

    def contents(self) -> dict[str, list[Record]]:
        """Return what a reader finds in each file that has been taken down."""
        logs = self.logs()
        return {row.id: logs.file(DEPLOYMENT, row.id) for row in self.rows()}

    def raw(self) -> Counter[tuple[str, str]]:
        """Return how often each event is there for whoever reads the Parquet files alone."""
        found: Counter[tuple[str, str]] = Counter()
        for path in self.log.files(DEPLOYMENT):
            table = pq.read_table(self.store.open(path), columns=["event_id", "type"])
            found.update(zip(table["event_id"].to_pylist(), table["type"].to_pylist(), strict=True))
        return found


def deployment(id_: str = DEPLOYMENT, **more: Any) -> Deployment:
    stopped = DeploymentState.STOPPED
    return Deployment(
        id_, id_, "o", "m", "m", 1, True, Origin.EXTERNAL, stopped, stopped, START, f"/serve/{id_}", **more
    )


def exchange(id_: str, time: datetime) -> list[Record]:
    """Return a request of a few hundred bytes and its response."""
    asked = Event(id_, "/deployments/d1", REQUEST_TYPE, time, "application/json", id_.encode() * 40, {})
    told = Event(id_, "/deployments/d1", RESPONSE_TYPE, time, "application/json", b"{}", {"status": 200})
    return [Record(DEPLOYMENT, time + timedelta(seconds=1), event) for event in (asked, told)]


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'tidegauge.sqlite'}"
