"""From the log to observations, and windows of observations: how fast?

    python benchmarks/observations.py [--quick] [--data ../shared/data]

Logged requests with one 200x200 image each become observations, on one core; then windows of 10,000 are read
from 10,000,000 observations of thirty days (`--quick`: of one day). Files are in the cache of the machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from tidegauge import threads

threads.use_one()
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import numpy as np

from _shared import Claim, report
from _xrays import arguments, read
from simulated import START, Site
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.phantoms import draw
from tidegauge.services.extraction import Extraction
from tidegauge.stats.images.features import ImageFeatures, extract
from tidegauge.storage.observations import Observations, ObservationStore, microseconds

CLASSES = ("NORMAL", "PNEUMONIA")
EXTRACTION = Extraction(ImageShape(200, 200), 2)
HOUR = timedelta(hours=1)
WINDOW = 10_000
A_DAY = 333_333
ROUNDS = 20


def pictures(data: Path, count: int) -> np.ndarray:
    folder = data / "chest-xray/train"
    if folder.is_dir():
        images = read(folder).images
        return images[np.random.default_rng(0).integers(0, len(images), count)]
    rng = np.random.default_rng(0)
    some = np.stack([draw(CLASSES[k % 2], rng, size=200).reshape(200, 200, 1) for k in range(100)])
    return some[rng.integers(0, len(some), count)]


def throughput(site: Site, images: np.ndarray) -> Claim:
    n = len(images)
    scores = np.tile(np.array([[0.2, 0.8]], np.float32), (n, 1))
    times = [START + timedelta(seconds=k) for k in range(n)]
    site.clock.now = START + timedelta(seconds=n)
    for start in range(0, n, 250):
        part = slice(start, start + 250)
        site.send(images[part], scores[part], times[part])
        site.services.collector.flush()
    begun = time.process_time()
    sizes: list[int] = []
    site.services.observing.advance(site.deployment.id, EXTRACTION, lambda batch: sizes.append(len(batch)))
    rate = sum(sizes) / (time.process_time() - begun)
    return Claim("log to observations, images a second and core", f"{rate:,.0f}", ">= 1,000", rate >= 1000)


def fill(site: Site, files: ObservationStore, days: int, images: np.ndarray) -> int:
    """Write the observations of some days, a file an hour, as they are after tidying."""
    features = extract(images)
    hourly = A_DAY // 24
    rng = np.random.default_rng(0)
    for hour in range(days * 24):
        begin = microseconds(START + hour * HOUR)
        rows = rng.integers(0, len(images), hourly)
        batch = hour_of(features.take(rows), hour, np.sort(rng.integers(0, 3_600_000_000, hourly)) + begin)
        file = files.put(site.deployment.id, "bench", f"hour-{hour:05d}", batch)
        site.services.database.observation_files.add(file)
        if hour % 24 == 23:
            print(f"day {hour // 24 + 1} of {days} written", file=sys.stderr, flush=True)
    return days * 24 * hourly


def hour_of(features: ImageFeatures, hour: int, times: np.ndarray) -> Observations:
    n = len(times)
    return Observations(
        event_id=np.array([f"01a2{hour:05d}-{k:07d}-7000-8000-000000000000" for k in range(n)], object),
        index=np.zeros(n, np.int64),
        time=times,
        received=times + 5000,
        sequence=np.full(n, hour + 1),
        status=np.full(n, 200),
        latency=np.full(n, 1200),
        log_file=np.full(n, f"log/hour={hour:05d}.parquet", object),
        source=np.full(n, "", object),
        segment=np.full(n, "", object),
        scores=np.tile(np.array([[0.2, 0.8]], np.float32), (n, 1)),
        seen=np.ones(n, np.bool_),
        images=features,
    )


def windows(site: Site, files: ObservationStore, days: int) -> tuple[list[float], list[int]]:
    span = timedelta(days=1) * WINDOW / A_DAY
    rng = np.random.default_rng(1)
    seconds, sizes = [], []
    for _ in range(ROUNDS):
        start: datetime = START + timedelta(seconds=float(rng.uniform(0, days * 86_400 - 3600)))
        begun = time.perf_counter()
        found = files.window(site.deployment.id, "bench", start, start + span)
        seconds.append(time.perf_counter() - begun)
        sizes.append(len(found))
    return seconds, sizes


def main() -> int:
    options = arguments(__doc__ or "").parse_args()
    days, count = (1, 1500) if options.quick else (30, 6000)
    with tempfile.TemporaryDirectory() as folder:
        site = Site.build(Path(folder) / "home", CLASSES)
        site.deploy(Path(folder) / "model", ["NORMAL", "PNEUMONIA"], "PNEUMONIA")
        images = pictures(options.data, count)
        claims = [throughput(site, images)]
        files = ObservationStore(site.services.database, site.services.store)
        total = fill(site, files, days, images[:500])
        seconds, sizes = windows(site, files, days)
        median = float(np.median(seconds)) * 1000
        claims.append(
            Claim(
                f"a window of {np.mean(sizes):,.0f} observations out of {total:,}, median of {ROUNDS}",
                f"{median:.0f} ms",
                "<= 50 ms",
                median <= 50,
            )
        )
        claims.append(Claim("the slowest of them", f"{max(seconds) * 1000:.0f} ms", "for information", True))
        site.close()
    return report("Observations", claims)


if __name__ == "__main__":
    sys.exit(main())
