"""The schedule under fire: 200 monitors at windows of a minute, workers that are killed, one PostgreSQL.

    python benchmarks/scheduler.py [--quick]

A server collects; three `tidegauge worker` processes read the log, make windows due and look at them, and are
killed with -9 at random, one every few seconds, and started again, for ten minutes. Each monitor gets a few
images a minute. Lag is that of windows that ended meanwhile; the quick run has windows in arrears too.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np
import psycopg

from _shared import Claim, report
from parts import CLASSES, SIDE, image, postgres
from simulated import Site
from tidegauge.app import utc_now
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorRun

MINUTE = timedelta(minutes=1)
WORKERS = 3
SCORES = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)


@dataclass(frozen=True)
class Plan:
    """How many monitors, for how long, one worker killed every so many seconds, windows in arrears."""

    monitors: int
    seconds: float
    kill_every: float
    arrears: int


class Workers:
    """Three worker processes; one of them, by chance, is killed and started again."""

    def __init__(self, home: Path, database_url: str) -> None:
        self._command = [sys.executable, "-m", "tidegauge", "worker", "--home", str(home)]
        self._command += ["--database-url", database_url]
        self._rng = random.Random(0)
        self._all = [self._start() for _ in range(WORKERS)]
        self.kills = 0

    def kill_one(self) -> None:
        place = self._rng.randrange(WORKERS)
        self._all[place].send_signal(signal.SIGKILL)
        self._all[place].wait()
        self._all[place] = self._start()
        self.kills += 1

    def close(self) -> None:
        for process in self._all:
            process.terminate()
        for process in self._all:
            process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def database() -> Iterator[str]:
    with postgres() as server:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE schedule")
        yield f"{server}/schedule"


def multiply(site: Site, first: Monitor, count: int) -> list[Deployment]:
    """Make more monitors like the first one, each with a deployment and a copy of the baseline of its own."""
    services = site.services
    baseline = services.store.get(f"monitors/{first.id}/{first.baseline}.npz")
    found = [site.deployment]
    for number in range(1, count):
        deployment = site.add_deployment(f"ward-{number:03d}", site.deployment.model_id)
        monitor = replace(first, id=new_id(), deployment_id=deployment.id, name=deployment.name)
        services.store.put(f"monitors/{monitor.id}/{first.baseline}.npz", baseline)
        services.database.monitors.add(monitor)
        found.append(deployment)
    return found


def main() -> int:
    quick = "--quick" in sys.argv
    plan = Plan(30, 30, 3, 3) if quick else Plan(200, 600, 10, 0)
    with tempfile.TemporaryDirectory() as folder, database() as url:
        home = Path(folder) / "home"
        site = Site.build(home, CLASSES, utc_now, database_url=url, workers=0, flush_seconds=1)
        claims = fire(site, plan, Path(folder), url)
        site.close()
    title = f"{plan.monitors} monitors at windows of a minute, {WORKERS} workers, PostgreSQL"
    return report(title, claims)


def fire(site: Site, plan: Plan, folder: Path, url: str) -> list[Claim]:
    services = site.services
    rng = np.random.default_rng(0)
    labels = rng.choice(CLASSES, 200)
    images = np.stack([image(str(label), rng) for label in labels])
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
    site.add_images("pool", folder / "pool", images, labels)
    first = site.monitor("pool", SIDE, frequency=1)
    services.database.monitors.update(
        first.id, due_from=(first.due_from or utc_now()) - plan.arrears * MINUTE
    )
    first = services.database.monitors.get(first.id)
    begin = first.due_from or utc_now()
    deployments = multiply(site, first, plan.monitors)
    services.collector.start()
    services.schedule.start()
    workers = Workers(folder / "home", url)
    fired = utc_now()
    sent = 0
    try:
        end = time.monotonic() + plan.seconds
        kill_at = time.monotonic() + plan.kill_every
        while time.monotonic() < end:
            for deployment in deployments[sent % 10 :: 10]:  # each a few times a minute
                site.deployment = deployment
                row = rng.integers(0, len(images), 1)
                site.send(images[row], SCORES[(labels[row] == "PNEUMONIA").astype(int)], [utc_now()])
            sent += 1
            if time.monotonic() >= kill_at:
                workers.kill_one()
                kill_at += plan.kill_every
            time.sleep(2.0)
        until = utc_now() - timedelta(seconds=3)
        wait_for_rest(site, until)
    finally:
        workers.close()
        services.schedule.close()
    return judge(site, plan, begin, fired, until, workers.kills)


def wait_for_rest(site: Site, until: datetime, seconds: float = 90.0) -> None:
    """Let the workers make due what ended before ``until``, and look at it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        behind = [
            m for m in site.services.database.monitors.where() if (m.due_from or until) + MINUTE <= until
        ]
        if not behind and not site.waiting():
            return
        time.sleep(0.5)


def judge(
    site: Site, plan: Plan, begin: datetime, fired: datetime, until: datetime, kills: int
) -> list[Claim]:
    database = site.services.database
    runs = database.monitor_runs.where()
    scheduled = [run for run in runs if run.cause == "schedule" and run.end <= until]
    counts = Counter((run.monitor_id, run.start) for run in scheduled)
    each = (until - begin) // MINUTE
    expected = plan.monitors * each
    missing = expected - len(counts)
    twice = sum(count > 1 for count in counts.values())
    lags = sorted(lag(run) for run in scheduled if run.end >= fired) or [0.0]
    p50, p95, worst = (lags[min(len(lags) - 1, int(q * len(lags)))] for q in (0.5, 0.95, 1.0))
    late = sum(run.cause == "late events" for run in runs)
    return [
        Claim("workers killed with -9", str(kills), "for information", True),
        Claim("windows due", f"{expected}", "for information", True),
        Claim("windows without a result", str(missing), "0", missing == 0),
        Claim("windows with more than one result of the schedule", str(twice), "0", twice == 0),
        Claim("windows looked at again for late events", str(late), "for information", True),
        Claim("lag behind the end of the window, median", f"{p50:.1f} s", "for information", True),
        Claim("lag behind the end of the window, p95", f"{p95:.1f} s", "< 30 s", p95 < 30),
        Claim("lag, worst", f"{worst:.1f} s", "for information", True),
    ]


def lag(run: MonitorRun) -> float:
    return (run.created_at.astimezone(UTC) - run.end).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
