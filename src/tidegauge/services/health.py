"""Health of served processes: a look at each from time to time, and what a window of looks comes to."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric
from tidegauge.domain.monitor_config import HealthConfig
from tidegauge.domain.observation import HealthSample
from tidegauge.domain.status import Status
from tidegauge.services.pruning import Pruning
from tidegauge.services.rounds import Rounds
from tidegauge.stats.usage import summarise
from tidegauge.storage.database import Database

_TIMEOUT_SECONDS = 2.0
_LOOKS_AT_ONCE = 8  # so that processes that hang delay the others little
_CGROUPS = Path("/sys/fs/cgroup")


class Health:
    """Looks at served processes of this machine, keeps what it saw for 30 days, and sums windows up."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        seconds: float = 15.0,
        memory_limit: int | None = None,
    ) -> None:
        """``memory_limit`` in bytes is what the share of memory is of; None: what this process may use."""
        self._database = database
        self._now = now
        self._seconds = seconds
        self._memory_limit = memory_limit or available_memory()
        self._pruning = Pruning(database, database.health_samples, "at", now)
        self._looked_at: dict[str, datetime] = {}
        failure = "looking at the served processes failed for a moment"
        self._rounds = Rounds("health", seconds, self.look_in_turn, failure)
        self._http = httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False)

    def start(self) -> None:
        self._rounds.start()

    def close(self) -> None:
        self._rounds.close()
        self._http.close()

    def look(self) -> None:
        """Look at every deployment that ought to run, once, and forget what is too old."""
        self._look_at(self._wanted())

    def look_in_turn(self) -> None:
        """Look at every deployment whose monitor asks for it by now; without a monitor, once a minute."""
        now = self._now()
        monitors = {
            monitor.deployment_id: monitor.config.health for monitor in self._database.monitors.where()
        }
        due = []
        for deployment in self._wanted():
            config = monitors.get(deployment.id, HealthConfig())
            last = self._looked_at.get(deployment.id)
            # Half a round early rather than half a round late.
            pause = timedelta(minutes=config.frequency_minutes, seconds=-self._seconds / 2)
            if config.enabled and (last is None or now - last >= pause):
                due.append(deployment)
        self._looked_at.update((deployment.id, now) for deployment in due)
        self._look_at(due)

    def _wanted(self) -> tuple[Deployment, ...]:
        return self._database.deployments.where(wanted=DeploymentState.RUNNING, origin=Origin.LOCAL)

    def _look_at(self, wanted: Sequence[Deployment]) -> None:
        if wanted:
            with ThreadPoolExecutor(_LOOKS_AT_ONCE, "health-look") as pool:
                samples = list(pool.map(self._sample, wanted))
            with self._database.transaction():
                # A deployment may have been deleted while it was looked at.
                left = {deployment.id for deployment in self._database.deployments.where()}
                self._database.health_samples.add_all(s for s in samples if s.deployment_id in left)
        self._pruning.prune()

    def of_window(
        self, deployment_id: str, start: datetime, end: datetime, frequency_minutes: int = 1
    ) -> tuple[Metric, ...]:
        """Return the metrics of the process in [start, end), not judged yet; without samples all None.

        A look holds until the next one is due, so that windows shorter than that have one too.
        """
        rows = self._database.health_samples
        inside = rows.between("at", start, end, sort="at", deployment_id=deployment_id)
        before = rows.between("at", None, start, sort="-at", limit=1, deployment_id=deployment_id)
        held = timedelta(minutes=frequency_minutes)
        if not inside and before and start - before[0].at < held:
            inside, before = (replace(before[0], at=start),), ()
        samples = (*before, *inside)
        usage = summarise(
            [sample.at.timestamp() for sample in samples],
            [sample.ready for sample in samples],
            [_number(sample.cpu_seconds) for sample in samples],
            [_number(sample.memory_bytes) for sample in samples],
            [sample.started_at.timestamp() if sample.started_at else math.nan for sample in samples],
            start=start.timestamp(),
            memory_limit=self._memory_limit,
        )
        return tuple(
            Metric(name, MetricType.HEALTH, found.value, found.n, Status.UNKNOWN)
            for name, found in usage.metrics.items()
        )

    def _sample(self, deployment: Deployment) -> HealthSample:
        # The port of a process that has ended may be another's by now.
        running = deployment.state is DeploymentState.RUNNING
        address = f"http://127.0.0.1:{deployment.port}"
        ready = running and self._get(f"{address}/v2/health/ready") is not None
        numbers = _process_numbers(self._get(f"{address}/metrics") or "") if ready else {}
        memory, started = (
            numbers.get(f"process_{name}") for name in ("resident_memory_bytes", "start_time_seconds")
        )
        return HealthSample(
            id=new_id(),
            deployment_id=deployment.id,
            at=self._now(),
            ready=ready,
            cpu_seconds=numbers.get("process_cpu_seconds_total"),
            memory_bytes=None if memory is None else int(memory),
            started_at=None if started is None else datetime.fromtimestamp(started, UTC),
        )

    def _get(self, url: str) -> str | None:
        try:
            answer = self._http.get(url)
        except httpx.HTTPError:
            return None
        return answer.text if answer.status_code == httpx.codes.OK else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _process_numbers(text: str) -> dict[str, float]:
    """Return what prometheus_client's process collector tells; nothing where the text is something else."""
    try:
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("process_") and math.isfinite(sample.value)
        }
    except ValueError:
        return {}


def available_memory(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes of memory that this process may use: the machine's, or less in a container.

    Reads control groups of version 2 and 1: the limit of this process's group and of all above it.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for root, group, name in _groups(cgroups, own):
        folder = root / group.lstrip("/")
        for above in (folder, *folder.parents):
            if above.is_relative_to(root):
                # "max" in version 2 where there is no limit, a number past all memory in version 1
                with contextlib.suppress(OSError, ValueError):
                    limits.append(int((above / name).read_text()))
    return min(limits)


def _groups(cgroups: Path, own: Path) -> list[tuple[Path, str, str]]:
    """Return root folder, path and name of the limit's file for each hierarchy that limits memory."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    found = [(cgroups, line[2], "memory.max") for line in lines if line[:2] == ["0", ""]]
    return found + [
        (cgroups / "memory", line[2], "memory.limit_in_bytes")
        for line in lines
        if "memory" in line[1].split(",")
    ]
