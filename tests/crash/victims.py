"""The processes that are killed: a collector, and a compactor that cannot wait. Each tells what it is at."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tidegauge import collecting
from tidegauge.services.collector import Collector
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.settings import Settings
from tidegauge.storage import arrivals
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Segments

STARTING, SERVING, FLUSHING, MERGING, RESTING = range(5)
PHASES = ("starting", "serving", "flushing", "merging", "between merges")
DEPLOYMENTS = ("ward-1", "ward-2", "ward-3")
_AHEAD = timedelta(days=1000)  # of a compactor's clock: no hour is too young for it
# Modules are loaded once; a process then starts within milliseconds, and is killed while it replays.
_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(["tidegauge.collecting", "tidegauge.services.upkeep.compaction"])


@dataclass(frozen=True)
class Site:
    """What processes share. ``dead`` are the seconds after which a collector of a fleet is adopted."""

    home: Path
    logs: Path
    store_url: str = ""
    fleet: bool = False
    dead: float = 60.0
    flush_seconds: float = 0.1
    segment_bytes: int = 128 << 10
    environment: Mapping[str, str] = field(default_factory=dict)

    def settings(self, port: int) -> Settings:
        seconds: Any = self.flush_seconds  # whole ones for people
        return Settings(self.home, port=port, store_url=self.store_url, flush_seconds=seconds)


class Victim:
    """A process that runs ``work(site, port, phase)`` until it is killed."""

    def __init__(self, work: Callable[..., None], site: Site, port: int) -> None:
        self._phase = _fork.RawValue("i", STARTING)
        self.output = site.logs / f"{work.__name__}-{port}.log"
        self._process = _fork.Process(target=_run, args=(work, site, port, self._phase, self.output))
        self._process.start()

    @property
    def phase(self) -> int:
        return int(self._phase.value)

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    def await_phase(self, *phases: int, seconds: float) -> bool:
        """Wait until it is at one of these; False where that takes too long, or it has ended."""
        deadline = time.monotonic() + seconds
        while self.phase not in phases:
            if time.monotonic() > deadline or not self.runs:
                return False
            time.sleep(0.001)
        return True

    def kill(self) -> int:
        """Kill it with -9, and return what it was at."""
        phase = self.phase
        self._process.kill()
        self._process.join()
        return phase

    def end(self, seconds: float = 60) -> int | None:
        """Ask it to end; return its exit code."""
        self._process.terminate()
        self._process.join(seconds)
        return self._process.exitcode


def collect(site: Site, port: int, phase: Any) -> None:
    """Be ``tidegauge collector``, with small segments and, in a fleet, a short life after death."""
    collecting.Segments = partial(Segments, max_bytes=site.segment_bytes)  # type: ignore[misc,assignment]
    arrivals._LIST_SECONDS = site.dead / 6
    arrivals._DEAD = timedelta(seconds=site.dead)
    start, flush = Collector.start, Collector._flush_segment

    def telling_start(self: Collector) -> None:
        start(self)
        phase.value = SERVING

    def telling_flush(self: Collector, name: str) -> None:
        if phase.value == SERVING:
            phase.value = FLUSHING
        flush(self, name)
        if phase.value == FLUSHING:
            phase.value = SERVING

    Collector.start, Collector._flush_segment = telling_start, telling_flush  # type: ignore[method-assign]
    collecting.run(site.settings(port), lambda: None, fleet=site.fleet)


def compact(site: Site, port: int, phase: Any) -> None:
    """Merge whatever can be merged, again and again, and sweep what the last one left."""
    settings = site.settings(port)
    merge = Compaction._merge

    def telling_merge(*args: Any) -> int:
        phase.value = MERGING
        try:
            return merge(*args)
        finally:
            phase.value = RESTING

    Compaction._merge = telling_merge  # type: ignore[method-assign]
    phase.value = RESTING
    while True:
        try:
            with closing(Database(settings.database)) as database:
                tidy(Compaction(database, InferenceLog(ObjectStore(settings.store))))
        except Exception as error:  # as the keeper does: the disk is full, or the bucket away
            print(f"compaction: {error!r}", flush=True)
        time.sleep(0.05)


def tidy(compaction: Compaction) -> None:
    """Merge all that can be, and sweep what crashes left; for one process at a time."""
    for deployment in DEPLOYMENTS:
        compaction.sweep(deployment, datetime.now(UTC))
        compaction.work(deployment, datetime.now(UTC) + _AHEAD, float("inf"))


def _run(work: Callable[..., None], site: Site, port: int, phase: Any, output: Path) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(site.environment)
    work(site, port, phase)


def _end_with_parent() -> None:
    """End when whoever kills has been killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
