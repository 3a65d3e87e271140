"""Rounds of kill -9, full disks and buckets that are away, under load; and what the log has at the end.

Each kind returns a ``Result``. Whatever is random comes of ``seed``, save what the operating system does.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import orjson
import pyarrow.parquet as pq

import parts_s3
from crash.load import DIGEST, Key, Load
from crash.victims import (
    DEPLOYMENTS,
    FLUSHING,
    MERGING,
    PHASES,
    SERVING,
    STARTING,
    Site,
    Victim,
    collect,
    compact,
    tidy,
)
from parts_collector import deployment
from tidegauge.services.people import People
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.storage.arrivals import FOLDER
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore

_START_SECONDS = 60.0
_BACK_SECONDS = 120.0  # until all is as it was


@dataclass
class Result:
    """What became of the events of some rounds.

    ``acknowledged`` and ``found`` count distinct events, ``doubled`` those that are more than once in the
    files, ``unsure`` which of these were sent again because of a refusal or without an answer, ``missing``
    acknowledged ones that are not there, ``changed`` those whose payload is another, ``strange`` those that
    nobody sent. ``read`` is how many a reader of Tidegauge finds. ``waits`` are seconds from the return of a
    disk or a bucket until events were taken and all that had waited was in the log; ``faults`` is what should
    not have been, in words.
    """

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    found: int = 0
    read: int = 0
    doubled: int = 0
    unsure: int = 0
    missing: int = 0
    changed: int = 0
    strange: int = 0
    waits: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Count the rounds of another run, too."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update(value)
            else:
                setattr(self, name, mine + value)

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in self.kills.most_common())
        waits = ", ".join(f"{wait:.1f}" for wait in self.waits)
        return "; ".join(
            [
                f"{self.rounds} rounds",
                f"killed: {kills or 'none'}",
                f"{self.acknowledged} acknowledged, {self.found} found ({self.read} by a reader)",
                f"{self.missing} missing, {self.doubled} doubled ({self.unsure} of them sent again)",
                f"{self.changed} changed, {self.strange} strange",
                f"answers {dict(self.answers)}",
                f"back after {waits or 'no'} s",
                f"faults: {self.faults or 'none'}",
            ]
        )


class Scene:
    """A home with deployments, its collectors and a compactor under load."""

    def __init__(self, site: Site, seed: int, collectors: int = 1, pause: float = 0.02) -> None:
        self.site = site
        self.result = Result()
        self.rng = random.Random(seed)
        self.store = ObjectStore(site.settings(1).store)
        self.ports = [_port() for _ in range(collectors)]
        token = _prepare(site)
        self.collectors = [Victim(collect, site, port) for port in self.ports]
        self.load = Load(self.ports, token, seed, pause=pause)
        self._ending = threading.Event()
        self._compactor = threading.Thread(target=self._compact, args=(random.Random(seed + 1),))
        self._compactor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing that runs, whatever went wrong."""
        self._ending.set()
        self._compactor.join()
        for victim in self.collectors:
            victim.kill()

    def kill(self, number: int = 0) -> None:
        """Kill a collector at a random moment, and start it again."""
        victim = self.collectors[number]
        wanted = self.rng.choice((STARTING, SERVING, SERVING, FLUSHING, FLUSHING))
        if wanted == STARTING:
            time.sleep(self.rng.uniform(0, 0.1))
        elif not victim.await_phase(SERVING, FLUSHING, seconds=_START_SECONDS):
            self._complain(number, "does not start")
        else:
            victim.await_phase(wanted, seconds=2)
            time.sleep(self.rng.uniform(0, 0.6 if wanted == SERVING else 0.02))
        self.result.kills[PHASES[victim.kill()]] += 1
        self.collectors[number] = Victim(collect, self.site, self.ports[number])

    def serve(self) -> None:
        """Wait until every collector takes events; who has ended by itself is started again, as pods are."""
        for number, port in enumerate(self.ports):
            deadline = time.monotonic() + _START_SECONDS
            while not self.collectors[number].await_phase(SERVING, FLUSHING, seconds=_START_SECONDS):
                if time.monotonic() > deadline:
                    self._complain(number, "does not start")
                    break
                self.collectors[number] = Victim(collect, self.site, port)

    def back(self) -> None:
        """Note how long it takes until events are taken again, and those that wait are in the log."""
        begun, waiting = time.monotonic(), self._waiting()
        if not self.load.goes_on(_BACK_SECONDS):
            self.result.faults.append(f"nothing is taken {_BACK_SECONDS:.0f} s later")
        elif not _wait(lambda: not waiting & self._waiting(), _BACK_SECONDS):
            self.result.faults.append(f"what waited is not in the log {_BACK_SECONDS:.0f} s later")
        else:
            self.result.waits.append(time.monotonic() - begun)

    def end(self) -> Result:
        """Let all that was sent be acknowledged and written, and compare it with what the log has."""
        result, load = self.result, self.load
        self.serve()
        if not load.drain():
            result.faults.append("not everything was acknowledged in the end")
        self._ending.set()
        self._compactor.join()
        if self.site.fleet and not _wait(lambda: not self._waiting(), self.site.dead + _BACK_SECONDS):
            result.faults.append(f"not adopted: {self._waiting()}")
        for number, victim in enumerate(self.collectors):
            if victim.end() != 0:
                self._complain(number, "does not end")
        if self._waiting():
            result.faults.append(f"not in the log after the end: {self._waiting()}")
        result.answers = load.answers
        result.faults += load.wrong
        with closing(Database(self.site.settings(1).database)) as database:
            tidy(Compaction(database, InferenceLog(self.store)))
        _compare(result, load, self.store)
        return result

    def _waiting(self) -> set[str]:
        """Return what is safe and not in the log."""
        if self.site.fleet:
            told = ("alive", ".done")
            return {info.path for info in self.store.list(FOLDER) if not info.path.endswith(told)}
        return {path.name for path in self.site.home.glob("collector/*/*") if path.name != "lock"}

    def _compact(self, rng: random.Random) -> None:
        """Kill a compactor at random moments, mostly while it merges."""
        while not self._ending.is_set():
            victim = Victim(compact, self.site, 1)
            victim.await_phase(MERGING, seconds=rng.uniform(0.3, 2))
            time.sleep(rng.uniform(0, 0.05))
            if not victim.runs:
                self.result.faults.append(f"the compactor has ended: {victim.output.read_text()[-2000:]}")
            self.result.kills[PHASES[victim.kill()]] += 1
            self._ending.wait(rng.uniform(0, 1))

    def _complain(self, number: int, what: str) -> None:
        text = self.collectors[number].output.read_text()[-2000:]
        self.result.faults.append(f"collector {number} {what}: {text}")


def alone(folder: Path, rounds: int, seed: int) -> Result:
    """Kill a collector and a compactor over a folder."""
    with Scene(Site(folder / "home", folder), seed) as scene:
        for _ in range(rounds):
            scene.kill()
            scene.result.rounds += 1
        return scene.end()


def fleet(folder: Path, endpoint: str, rounds: int, seed: int) -> Result:
    """Kill two collectors of a fleet in turn, and a compactor, over a bucket."""
    with Scene(_bucket(folder, endpoint, fleet=True), seed, collectors=2, pause=0.1) as scene:
        for number in range(rounds):
            scene.kill(number % 2)
            scene.result.rounds += 1
        return scene.end()


def full_disk(disk: Path, rounds: int, seed: int) -> Result:
    """Fill the small disk that log, segments and database are on, and free it; some of the times, kill."""
    with Scene(Site(disk / "home", disk.parent), seed, pause=0.2) as scene:
        scene.serve()
        for _ in range(rounds):
            before = scene.load.answers["503"]
            with _ballast(disk / "ballast"):
                if not _wait(lambda before=before: scene.load.answers["503"] > before + 2, 20):
                    scene.result.faults.append("a full disk refuses nothing")
                time.sleep(scene.rng.uniform(0, 1))
                if scene.rng.random() < 0.5:
                    scene.kill()
            scene.serve()
            scene.back()
            time.sleep(scene.rng.uniform(0, 1))
            if scene.rng.random() < 0.5:
                scene.kill()
            scene.result.rounds += 1
        return scene.end()


def outages(
    folder: Path, endpoint: str, seconds: float, rounds: int, seed: int, *, fleet: bool, kills: bool = False
) -> Result:
    """Take a bucket away for some seconds, by turns refusing and mute.

    With ``kills`` collectors are killed meanwhile and start without it; else they must go on by themselves.
    """
    gate = parts_s3.Gate(endpoint)
    site = _bucket(folder, gate.endpoint, fleet=fleet)
    try:
        with Scene(site, seed, collectors=2 if fleet else 1, pause=0.5) as scene:
            scene.serve()
            first = list(scene.collectors)
            for number in range(rounds):
                time.sleep(scene.rng.uniform(1, 2))
                (gate.be_mute if number % 2 else gate.refuse)()
                time.sleep(seconds)
                if kills:
                    scene.kill()
                    scene.serve()
                gate.answer()
                scene.back()
                scene.result.rounds += 1
            result = scene.end()
        if not kills and scene.collectors != first:
            result.faults.append("a collector had to be started again")
        return result
    finally:
        gate.refuse()


def _bucket(folder: Path, endpoint: str, *, fleet: bool) -> Site:
    environment = {"AWS_EC2_METADATA_DISABLED": "true", **parts_s3.CREDENTIALS}
    return Site(
        folder / "home",
        folder,
        parts_s3.prefix(endpoint),
        fleet=fleet,
        dead=6.0,
        flush_seconds=1.0,  # each makes several files, and requests for each of them
        environment=environment,
    )


def _port() -> int:
    """Return a port that the system gives to nobody: who connects to one of its own may meet itself there."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _prepare(site: Site) -> str:
    """Make a home with some deployments; return a token that may report for all of them."""
    site.home.mkdir(parents=True, exist_ok=True)
    with closing(Database(site.settings(1).database)) as database:
        database.migrate()
        token = People(database, lambda: datetime.now(UTC)).first_start()
        for name in DEPLOYMENTS:
            database.deployments.add(deployment(name))
    return token or ""


@contextlib.contextmanager
def _ballast(file: Path) -> Iterator[None]:
    """Fill the disk that a file is on to the last byte."""
    with file.open("wb", buffering=0) as opened:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    opened.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    try:
        yield
    finally:
        file.unlink()


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _compare(result: Result, load: Load, store: ObjectStore) -> None:
    """Read every file of the log back with pyarrow alone."""
    found: Counter[Key] = Counter()
    for info in store.list(""):
        if not info.path.endswith(".parquet"):
            continue
        columns = pq.read_table(io.BytesIO(store.get(info.path))).to_pydict()
        owner = info.path.partition("/")[0]
        for source, event_id, kind, extensions, data in zip(
            *(columns[name] for name in ("source", "event_id", "type", "extensions", "data")), strict=True
        ):
            key = (owner, source, event_id, kind)
            found[key] += 1
            digest = hashlib.sha256(data).hexdigest()[:20]
            result.strange += key not in load.sent
            result.changed += not digest == orjson.loads(extensions)[DIGEST] == load.sent.get(key)
    doubled = {key for key, count in found.items() if count > 1}
    result.acknowledged = len(load.acknowledged)
    result.found = len(found)
    result.missing = len(load.acknowledged - found.keys())
    result.doubled = len(doubled)
    result.unsure = len(doubled & load.unsure)
    log = InferenceLog(store)
    ever = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    result.read = sum(log.count(name, *ever) for name in DEPLOYMENTS)
