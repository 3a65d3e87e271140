"""Compaction: an hour of small files becomes a few large ones. How long, how much memory, what is gained?

    python benchmarks/compaction.py [--quick]

A collector that flushes every 5 seconds leaves 720 files an hour; here each has 50 events with 12 KB that
cannot be packed, as JPEGs cannot (`--quick`: 240 files). A window of five minutes is read before and after,
and former files by their paths. The store is a folder, in the cache of the machine; the compactor is a
process of its own.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np

from _shared import Claim, report
from parts_log import DEPLOYMENT, HOUR, LATER, NEVER, START, LogSite, sqlite
from tidegauge.domain.events import REQUEST_TYPE, Event
from tidegauge.storage.segments import Record

EVENTS = 50
BYTES = 12_000
WINDOW = timedelta(minutes=5)
ROUNDS = 5


def fill(site: LogSite, files: int) -> None:
    rng = np.random.default_rng(0)
    step = HOUR / files
    for number in range(files):
        times = [START + number * step + k * step / EVENTS for k in range(EVENTS)]
        events = [
            Event(
                f"{number:04}-{k:02}", "/deployments/d1", REQUEST_TYPE, t, "image/jpeg", rng.bytes(BYTES), {}
            )
            for k, t in enumerate(times)
        ]
        records = [Record(DEPLOYMENT, event.time + timedelta(seconds=1), event) for event in events]
        site.noting.note(site.log.write(f"segment-{number:04}", records))


def compact(folder: str, answers: Any) -> None:
    """Be the compactor: tell how many files were merged, how many seconds and bytes of memory that took."""
    site = LogSite(f"{folder}/store", sqlite(Path(folder)))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    begun = time.perf_counter()
    merged = site.compaction.work(DEPLOYMENT, LATER, NEVER)
    seconds = time.perf_counter() - begun
    answers.put((merged, seconds, memory("VmHWM") - before))


def memory(name: str) -> int:
    """Return how many bytes of memory this process has (VmRSS), or had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) << 10


def median(read: Callable[[], object]) -> float:
    """Return how many seconds a read takes."""
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        read()
        found.append(time.perf_counter() - begun)
    return float(np.median(found))


def reads(site: LogSite) -> tuple[float, float]:
    """Return the seconds for a window in the middle of the hour, and for a file by its path."""
    start = START + HOUR / 2
    logs, paths = site.logs(), [row.id for row in site.rows()][:: max(1, len(site.rows()) // 50)]
    window = median(lambda: list(site.log.records(DEPLOYMENT, start, start + WINDOW)))
    return window, median(lambda: [logs.file(DEPLOYMENT, path) for path in paths]) / len(paths)


def main() -> int:
    files = 240 if "--quick" in sys.argv else 720
    with tempfile.TemporaryDirectory() as folder:
        site = LogSite.create(f"{folder}/store", sqlite(Path(folder)))
        fill(site, files)
        small = [info.size for info in site.store.list(f"{DEPLOYMENT}/log")]
        window, part = reads(site)
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        process = context.Process(target=compact, args=(folder, answers))
        process.start()
        merged, seconds, peak = answers.get()
        process.join()
        large = [info.size for info in site.store.list(f"{DEPLOYMENT}/log")]
        window_after, part_after = reads(site)
        distinct = site.log.count(DEPLOYMENT, START, START + HOUR)
        site.database.close()
    megabytes = sum(small) / 2**20
    claims = [
        Claim("files that were merged", f"{merged:,} of {files:,}", "all", merged == files),
        Claim(
            "events of the hour afterwards",
            f"{distinct:,}",
            f"{files * EVENTS:,}",
            distinct == files * EVENTS,
        ),
        Claim("seconds for the hour", f"{seconds:.1f} s", "<= 10 s", seconds <= 10),
        Claim(
            "memory at most, beside the process",
            f"{peak / 2**20:,.0f} MB",
            "<= 128 MB",
            peak <= 128 << 20,
        ),
        Claim(
            "files and size",
            f"{len(small)} with {megabytes:,.1f} MB -> {len(large)} with {sum(large) / 2**20:,.1f} MB",
            "<= 10 files, no larger",
            len(large) <= 10 and sum(large) <= sum(small),
        ),
        Claim(
            "a window of 5 minutes",
            f"{window * 1000:,.0f} ms -> {window_after * 1000:,.0f} ms",
            "twice as fast",
            window_after * 2 <= window,
        ),
        Claim(
            "a former file by its path",
            f"{part * 1000:.1f} ms -> {part_after * 1000:.1f} ms",
            "<= 20 ms",
            part_after <= 0.02,
        ),
    ]
    return report(
        f"Compaction of an hour of {files} files, {EVENTS} events of {BYTES / 1000:.0f} KB each", claims
    )


if __name__ == "__main__":
    sys.exit(main())
