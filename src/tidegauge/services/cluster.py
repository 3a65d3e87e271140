"""This cluster as its operator sees it: what it runs on, and whether it keeps up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge import __version__
from tidegauge.domain.cluster import PARTS, ClusterStatus, Part
from tidegauge.domain.deployment import DeploymentState, Origin
from tidegauge.domain.ide import IdeState
from tidegauge.domain.monitor import Cause, MonitorState
from tidegauge.domain.pipeline import PipelineState
from tidegauge.services.collector import Collector, CollectorCounts
from tidegauge.settings import ClusterRole, Settings
from tidegauge.storage.database import Database

_KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_BUCKETS = {"s3": "S3", "gs": "Google Cloud Storage", "az": "Azure"}


_DOES: Mapping[ClusterRole, str] = {
    ClusterRole.BOTH: "serves, trains and monitors",
    ClusterRole.SERVING: "serves and trains; another cluster monitors",
    ClusterRole.MONITORING: "monitors; another cluster serves and trains",
}
#: What rests without a part: its noun, one and many, and how it is when it goes on.
_RESTS: Mapping[Part, tuple[str, str]] = {
    Part.SERVING: ("deployment that is wanted rests", "deployments that are wanted rest"),
    Part.TRAINING: ("pipeline run rests", "pipeline runs rest"),
    Part.IDE: ("IDE that is wanted rests", "IDEs that are wanted rest"),
    Part.MONITORING: ("active monitor rests", "active monitors rest"),
}


@dataclass(frozen=True)
class ClusterFacts:
    """``unread`` files of the log wait for their monitors, ``due`` windows to be looked at.

    ``lag`` is how long ago the oldest window ended that its schedule has not looked at yet. ``free`` and
    ``disk`` are bytes where the home folder lies.
    """

    version: str
    role: ClusterRole
    does: str  # in words
    resting: tuple[str, ...]  # sentences on what is left over from another role
    address: str
    home: str
    database: str
    database_place: str  # without the password
    store: str
    store_place: str
    workers: int
    deployments: int  # that are served
    monitors: int  # that are active
    collector: CollectorCounts
    unread: int
    due: int
    lag: timedelta
    free: int
    disk: int


class Cluster:
    """Looks at the installation that it is part of."""

    def __init__(
        self, settings: Settings, database: Database, collector: Collector, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._database = database
        self._collector = collector
        self._now = now

    def status(self) -> ClusterStatus:
        role = self._settings.role
        parts = tuple(part for part in Part if part in PARTS[role])
        return ClusterStatus(__version__, role, parts, self._resting())

    def _resting(self) -> tuple[str, ...]:
        """Say what is left over from when the role was wider, and waits until it is again."""
        database, role = self._database, self._settings.role
        counts: Mapping[Part, Callable[[], int]] = {
            Part.SERVING: lambda: database.deployments.count(
                origin=Origin.LOCAL, wanted=DeploymentState.RUNNING
            ),
            Part.TRAINING: lambda: database.pipeline_runs.count(
                state=[PipelineState.QUEUED, PipelineState.RUNNING]
            ),
            Part.IDE: lambda: database.ides.count(wanted=IdeState.RUNNING),
            Part.MONITORING: lambda: database.monitors.count(state=MonitorState.ACTIVE),
        }
        found = {part: count() for part, count in counts.items() if part not in PARTS[role]}
        return tuple(
            f"{count:,} {_RESTS[part][count > 1]}, since the role of this cluster is {role}."
            for part, count in found.items()
            if count
        )

    def facts(self) -> ClusterFacts:
        settings, database = self._settings, self._database
        url = database.engine.url
        scheme, _, place = settings.store.partition("://")
        disk = shutil.disk_usage(settings.home)
        return ClusterFacts(
            version=__version__,
            role=settings.role,
            does=_DOES[settings.role],
            resting=self._resting(),
            address=settings.address,
            home=str(settings.home.absolute()),
            database=_KINDS.get(url.get_backend_name(), url.get_backend_name()),
            database_place=url.database or "" if url.get_backend_name() == "sqlite" else str(url),
            store=_BUCKETS.get(scheme, scheme) if place and scheme != "file" else "a folder",
            store_place=settings.store,
            workers=settings.workers,
            deployments=database.deployments.count(state=DeploymentState.RUNNING),
            monitors=database.monitors.count(state=MonitorState.ACTIVE),
            collector=self._collector.counts(),
            unread=self._unread(),
            due=database.due_windows.count(),
            lag=self._lag(),
            free=disk.free,
            disk=disk.total,
        )

    def _unread(self) -> int:
        """Count the files of the log that are yet to be read, of each deployment by its best reader."""
        newest = list(self._database.log_files.newest("number", "deployment_id").values())
        read: dict[str, int] = {}
        for reader in self._database.readers.where():
            read[reader.deployment_id] = max(reader.position, read.get(reader.deployment_id, 0))
        return sum(
            max(0, file.number - read[file.deployment_id])
            for file in self._database.log_files.where(id=newest)
            if file.deployment_id in read
        )

    def _lag(self) -> timedelta:
        oldest = self._database.due_windows.where(cause=Cause.SCHEDULE, sort="end", limit=1)
        return max(timedelta(0), self._now() - oldest[0].end) if oldest else timedelta(0)
