"""``tidegauge collector`` on a core of its own, with a deployment to report for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.links.processes import free_port
from tidegauge.services.people import People
from tidegauge.storage.database import Database

DEPLOYMENT = "bench"


@dataclass(frozen=True)
class Running:
    """A collector that runs: where, with which token, and its process."""

    port: int
    token: str
    process: int
    home: Path

    @property
    def peak_memory(self) -> int:
        """The most memory that it has had so far, in bytes."""
        status = Path(f"/proc/{self.process}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


@contextlib.contextmanager
def collecting(home: Path, core: int, *options: str) -> Iterator[Running]:
    """Run a collector on one core of the processor until the block ends; then it writes what it has."""
    token, port = _prepare(home), free_port()
    command = [sys.executable, "-m", "tidegauge", "collector", "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command, *options], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    try:
        _await(f"http://127.0.0.1:{port}/healthz")
        yield Running(port, token, process.pid, home)
    finally:
        process.terminate()
        process.wait(120)


def _prepare(home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    with contextlib.closing(Database(f"sqlite:///{home.absolute() / 'tidegauge.sqlite'}")) as database:
        database.migrate()
        token = People(database, lambda: now).first_start() or ""
        running = DeploymentState.RUNNING
        database.deployments.add(
            Deployment(
                DEPLOYMENT,
                DEPLOYMENT,
                "operator",
                "",
                "",
                0,
                True,
                Origin.EXTERNAL,
                running,
                running,
                now,
                "",
            )
        )
    return token


def _await(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"{url} does not answer.")
