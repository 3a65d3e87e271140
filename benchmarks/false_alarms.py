"""Does evidence keep its promise? False alarms where nothing drifts.

    python benchmarks/false_alarms.py [--quick] [--data ../shared/data]
    python benchmarks/false_alarms.py --years 200      # hours; goes on where benchmarks/years.jsonl ends

Baseline and stream are drawn afresh from one pool, the X-rays of chest-xray/train, and the baseline is fitted
anew for every stream. A simulated year is 105,120 runs of 10 to 15 images, drawn with replacement; its result
is a line of benchmarks/years.jsonl, so the long job can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial, reduce
from math import log
from multiprocessing import get_context
from pathlib import Path

from tidegauge import threads

threads.use_one()

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from _shared import Claim, report
from _xrays import Image, arguments, brightness, of_about, read
from tidegauge.stats.evidence import Evidence
from tidegauge.stats.images import (
    HARMLESS,
    ImageBaseline,
    ImageFeatures,
    ImageSamples,
    brightened,
    extract,
    fit_baseline,
    sample,
)
from tidegauge.stats.two_sample import Numbers, kolmogorov_smirnov_columns

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

REFERENCES, STREAM = 1000, 2000
LEVELS = (1, 2, 5, 10, 20, 50, 100, 1000)
RUNS = 105_120  # of 10 to 15 images: a year of one every five minutes
BUDGET = 0.05  # of false alarms a year
YEARS = Path(__file__).with_name("years.jsonl")
FACTORS = tuple(np.round(np.linspace(0.97, 1.03, 7), 2))
#: Years to simulate at least: references, traffic, count.
WANTED = ((1000, "plain", 20), (100, "plain", 5), (3000, "plain", 5), (1000, "wander", 5), (1000, "+3%", 5))
REPEATS = 5  # images in a row of one source, where traffic is autocorrelated


@dataclass(frozen=True)
class World:
    samples: ImageSamples
    tolerant: ImageSamples
    levels: tuple[ImageFeatures, ...]  # the images at each of FACTORS
    patients: npt.NDArray[np.str_]


#: Workers that are forked find it here: it is too large to be sent with each task.
WORLDS: list[World] = []


def prepare(options: argparse.Namespace, workers: Executor) -> World:
    train = read(options.data / "chest-xray/train")
    halves = np.array_split(train.images, 2 * (os.cpu_count() or 1))
    # Quick runs simulate no years, so they need nothing declared.
    samples, *tolerant = (
        reduce(ImageSamples.concatenate, workers.map(partial(sampled, declared), halves))
        for declared in ((False,) if options.quick else (False, True))
    )
    levels = tuple(workers.map(partial(at_level, train.images), FACTORS))
    return World(samples, tolerant[0] if tolerant else samples, levels, train.patients)


def sampled(declared: bool, images: Image) -> ImageSamples:
    return sample(images, (*HARMLESS, brightened(0.03)) if declared else HARMLESS, every=True)


def at_level(images: Image, factor: float) -> ImageFeatures:
    change = brightness(factor)
    return extract(np.stack([change(image, np.random.default_rng(0)) for image in images]))


def fit(samples: ImageSamples, rows: Indices, rng: np.random.Generator) -> ImageBaseline:
    return fit_baseline(samples.take(rows, rng))


def peak(baseline: ImageBaseline, observed: Floats, rng: np.random.Generator, life: int = STREAM) -> float:
    return Evidence(baseline, 0.001, life, rng).update(observed).log_peak


def null_stream(seed: int) -> tuple[float, int]:
    """Return the peak of a stream, and how many of its windows of 12 KS with Bonferroni would flag at 5%."""
    world, rng = WORLDS[0], np.random.default_rng(seed)
    rows = rng.permutation(len(world.samples))[: REFERENCES + STREAM]
    baseline = fit(world.samples, rows[:REFERENCES], rng)
    observed = baseline.observe(world.samples.plain.take(rows[REFERENCES:]))
    windows = np.array_split(observed, STREAM // 12)[:25]
    ranked = [Numbers.of(column) for column in baseline.ranked.T]
    windows = observed[: 25 * 12].reshape(25, 12, -1)
    flagged = sum(
        min(found.p_value or 1.0 for found in kolmogorov_smirnov_columns(ranked, window)) < 0.05 / len(ranked)
        for window in windows
    )
    return peak(baseline, observed, rng), flagged


def other_patients(seed: int) -> float:
    world, rng = WORLDS[0], np.random.default_rng(seed)
    inside = of_about(world.patients, REFERENCES, rng)
    baseline = fit(world.samples, np.flatnonzero(inside), rng)
    rows = rng.permutation(np.flatnonzero(~inside))[:STREAM]
    return peak(baseline, baseline.observe(world.samples.plain.take(rows)), rng)


def autocorrelated(declared: bool, seed: int) -> float:
    """Every source sends five images in a row: one X-ray, its brightness a little different each time."""
    world, rng = WORLDS[0], np.random.default_rng(seed)
    rows = rng.permutation(len(world.samples))
    baseline = fit(world.samples, rows[:REFERENCES], rng)
    seen = rows[REFERENCES : REFERENCES + STREAM // REPEATS]
    levels = np.stack([baseline.observe(features.take(seen)) for features in world.levels[2:5]])
    sources = np.repeat(np.arange(len(seen)), REPEATS)
    observed = levels[rng.integers(0, 3, len(sources)), sources]
    evidence = Evidence(baseline, 0.001, STREAM, rng, per_source=100 if declared else None)
    return evidence.update(observed, list(sources) if declared else None).log_peak


def long_stream(length: int, seed: int) -> float:
    world, rng = WORLDS[0], np.random.default_rng(seed)
    n = len(world.samples)
    baseline = fit(world.samples, rng.integers(0, n, REFERENCES), rng)
    calm = baseline.observe(world.samples.plain)
    evidence = Evidence(baseline, 0.001, length, rng)
    for start in range(0, length, 100_000):
        step = evidence.update(calm[rng.integers(0, n, min(100_000, length - start))])
    return step.log_peak


def year(task: tuple[int, str, int]) -> dict[str, object]:
    """Simulate a year; baseline and traffic are drawn with replacement from one pool."""
    references, traffic, seed = task
    world, rng = WORLDS[0], np.random.default_rng([seed, references])
    n, began = len(world.samples), time.time()
    samples = world.samples if traffic == "plain" else world.tolerant
    baseline = fit(samples, rng.integers(0, n, references), rng)
    sizes = rng.integers(10, 16, RUNS)
    chosen = range(len(FACTORS)) if traffic == "wander" else [len(FACTORS) - 1 if traffic == "+3%" else 3]
    levels = {level: baseline.observe(world.levels[level]) for level in chosen}
    evidence = Evidence(baseline, BUDGET, int(sizes.sum()), rng)
    level = 3
    for runs in np.array_split(sizes, 2000):
        if traffic == "wander":
            level = int(np.clip(level + rng.integers(-1, 2), 0, len(FACTORS) - 1))
        observed = levels[level] if traffic == "wander" else levels[chosen[0]]
        step = evidence.update(observed[rng.integers(0, n, runs.sum())])
    return {
        "references": references,
        "traffic": traffic,
        "seed": seed,
        "images": int(sizes.sum()),
        "alarm_at": step.alarm_at,
        "log_peak": round(step.log_peak, 3),
        "seconds": round(time.time() - began, 1),
    }


def known_years() -> list[dict[str, object]]:
    return [json.loads(line) for line in YEARS.read_text().splitlines()] if YEARS.exists() else []


def simulate_years(workers: Executor, wanted: tuple[tuple[int, str, int], ...]) -> None:
    done = {(y["references"], y["traffic"], y["seed"]) for y in known_years()}
    tasks = [
        (references, traffic, seed)
        for references, traffic, count in wanted
        for seed in range(count)
        if (references, traffic, seed) not in done
    ]
    with YEARS.open("a") as file:
        for future in as_completed([workers.submit(year, task) for task in tasks]):
            file.write(json.dumps(future.result()) + "\n")
            file.flush()


def bound(hits: int, n: int) -> float:
    """Return the one-sided 95% upper bound of a share (Clopper and Pearson)."""
    return float(beta.ppf(0.95, hits + 1, n - hits)) if hits < n else 1.0


def shares(name: str, peaks: Floats, *, judged: bool) -> list[Claim]:
    claims = []
    for x in LEVELS[1:]:
        hits = int((peaks >= log(x)).sum())
        measured = f"{hits} of {len(peaks)} ({hits / len(peaks):.2%}; at most {bound(hits, len(peaks)):.2%})"
        if judged:
            claims.append(
                Claim(f"{name}: sup >= {x}", measured, f"at most {1 / x:.2%}", hits <= len(peaks) / x)
            )
        elif x in (100, 1000):
            claims.append(Claim(f"{name}: sup >= {x}", measured, "for information", holds=True))
    return claims


def of_years() -> list[Claim]:
    claims = []
    for references, traffic, _ in WANTED:
        found = [y for y in known_years() if (y["references"], y["traffic"]) == (references, traffic)]
        alarms = sum(y["alarm_at"] is not None for y in found)
        if found:
            measured = f"{alarms} of {len(found)} with an alarm (at most {bound(alarms, len(found)):.1%})"
            # 5% of 20 years is one; that many of 5 years would be 0.25.
            allowed = max(BUDGET * len(found), 1 if len(found) < 20 else 0)
            claims.append(
                Claim(f"years, {references} references, {traffic}", measured, "at most 5%", alarms <= allowed)
            )
    return claims


def main() -> int:
    parser = arguments("Count false alarms where nothing drifts.")
    parser.add_argument("--years", type=int, help="simulate years only, so many with 1,000 references in all")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    quick = options.quick
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        WORLDS.append(prepare(options, workers))
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as workers:
        if options.years:
            simulate_years(workers, ((1000, "plain", options.years), *WANTED))
            return report("Simulated years without drift", of_years())
        streams, fewer, length = (24, 10, 20_000) if quick else (2000, 100, 1_000_000)
        stream = workers.submit(partial(long_stream, length), 7)
        null = list(workers.map(null_stream, range(streams), chunksize=4))
        others = np.array(list(workers.map(other_patients, range(fewer))))
        bursts = np.array(list(workers.map(partial(autocorrelated, False), range(fewer))))
        thinned = np.array(list(workers.map(partial(autocorrelated, True), range(fewer))))
    peaks = np.array([peak for peak, _ in null])
    flagged = np.array([flags for _, flags in null])
    longest = stream.result()
    claims = shares(f"{len(peaks)} streams of {STREAM:,}", peaks, judged=True)
    claims.append(
        Claim(
            f"one stream of {length:,}, alpha 0.001",
            f"sup {np.exp(longest):.3g}",
            "below 1,000",
            longest < log(1000),
        )
    )
    claims += of_years()
    claims.append(
        Claim(
            "KS with Bonferroni at 0.05 on windows of 12",
            f"{flagged.mean() / 25:.1%} of windows, {(flagged > 0).mean():.0%} of streams in 25 windows",
            "for information",
            holds=True,
        )
    )
    claims += shares("baseline and stream of other patients", others, judged=False)
    claims += shares(f"{REPEATS} alike in a row, not declared", bursts, judged=False)
    claims += shares(f"{REPEATS} alike in a row, per_source=100", thinned, judged=False)
    return report(f"False alarms without drift, {REFERENCES:,} references", claims)


if __name__ == "__main__":
    sys.exit(main())
