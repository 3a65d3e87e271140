"""How many images until the alarm, for shifts of real X-rays; what must stay silent; power at 12 images.

    python benchmarks/detection.py [--quick] [--data ../shared/data]

A third of the patients of chest-xray/train train a small classifier, the stand-in for the deployed model,
whose log-odds are an embedding of the baseline. Of the other patients, baselines of 1,000 images are drawn;
traffic is of patients that the baseline does not have. alpha = 0.001, life = 1,300,000 images.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from multiprocessing import get_context
from pathlib import Path

from tidegauge import threads

threads.use_one()

import cv2
import numpy as np
import numpy.typing as npt

from _shared import Claim, report
from _xrays import Change, Image, PixelModel, Xrays, arguments, brightness, jpeg, of_about, of_patients, read
from tidegauge.domain.images import decode_image, to_shape
from tidegauge.stats.evidence import Evidence
from tidegauge.stats.images import (
    HARMLESS,
    ImageBaseline,
    ImageFeatures,
    ImageSamples,
    brightened,
    extract,
    fit_baseline,
    reencoded,
    resized,
    sample,
)
from tidegauge.stats.images.baseline import compare
from tidegauge.stats.two_sample import Numbers, kolmogorov_smirnov_columns, mmd

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

ALPHA, LIFE = 0.001, 1_300_000
WINDOW, FALSE_ALARMS = 12, 0.05  # where methods are compared
REFERENCES, STREAM, QUIET = 1000, 400, 100_000
QUICK = 700  # images in all; then baselines have 400
NEVER = 10_000
TOLERATED = (reencoded(75), resized(), brightened(0.03))


def greys(
    change: Callable[[npt.NDArray[np.float32], np.random.Generator], npt.NDArray[np.floating]],
) -> Change:
    return lambda image, rng: np.asarray(
        np.clip(np.rint(change(image.astype(np.float32), rng)), 0, 255), np.uint8
    )


def plane(change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.integer]]) -> Change:
    return lambda image, _: np.asarray(change(image[:, :, 0]), np.uint8)[:, :, np.newaxis]


def turned(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    matrix = cv2.getRotationMatrix2D((99.5, 99.5), 5, 1)
    return np.asarray(cv2.warpAffine(grey, matrix, (200, 200), borderMode=cv2.BORDER_REPLICATE))


#: Each with the most images that the median may need.
SHIFTS: dict[str, tuple[Change, int]] = {
    "box blur 40": (plane(lambda g: cv2.blur(g, (40, 40))), 3),
    "blur 5": (plane(lambda g: cv2.blur(g, (5, 5))), 120),
    "blur 3": (plane(lambda g: cv2.blur(g, (3, 3))), 6),
    "transpose": (plane(lambda g: g.T), 3),
    "180-degree rotation": (plane(lambda g: g[::-1, ::-1]), 120),
    "rotate 5 degrees": (plane(turned), 20),
    "left-right flip": (plane(lambda g: g[:, ::-1]), 20),
    "brightness +10%": (brightness(1.1), 20),
    "contrast -20%": (greys(lambda p, _: (p - p.mean()) * 0.8 + p.mean()), 120),
    "Gaussian noise sd 10": (greys(lambda p, rng: p + rng.normal(0, 10, p.shape)), 6),
    "Gaussian noise sd 5": (greys(lambda p, rng: p + rng.normal(0, 5, p.shape)), 120),
    "JPEG quality 20": (jpeg(20), 120),
    "crop 10%": (plane(lambda g: cv2.resize(g[10:-10, 10:-10], (200, 200))), 120),
    "inverted grey": (plane(lambda g: 255 - g), 3),
    # No named change of a baseline is like these two.
    "motion blur 5": (plane(lambda g: cv2.filter2D(g, -1, np.full((1, 5), 0.2, np.float32))), 120),
    "gamma 0.8": (greys(lambda p, _: 255 * (p / 255) ** 0.8), 120),
}
OTHER_SOURCES = {"nih": 6, "wrong-modality": 3}
CLASSES = {"class mix 73% -> 95% pneumonia": 120, "bacterial -> viral only": 120}
SILENT: dict[str, Change] = {"re-encoded, JPEG q90": jpeg(90)}
RESIZED = {"resized, bilinear": cv2.INTER_LINEAR, "resized, bicubic": cv2.INTER_CUBIC}
DECLARED: dict[str, Change] = {
    "re-encoded, JPEG q75 (declared)": jpeg(75),
    "brightness +3% (declared)": brightness(1.03),
}
CHANGES = {**{name: change for name, (change, _) in SHIFTS.items()}, **SILENT, **DECLARED}
GOALS = {**{name: goal for name, (_, goal) in SHIFTS.items()}, **OTHER_SOURCES, **CLASSES}


@dataclass(frozen=True)
class World:
    """Everything that baselines and streams are drawn from; rows are those of ``xrays`` everywhere."""

    xrays: Xrays
    samples: ImageSamples
    tolerant: ImageSamples
    shifted: dict[str, ImageFeatures]
    others: dict[str, ImageFeatures]
    references: int


#: Workers that are forked find it here: it is too large to be sent with each task.
WORLDS: list[World] = []


def prepare(options: argparse.Namespace, workers: Executor) -> World:
    rng = np.random.default_rng(0)
    train = read(options.data / "chest-xray/train")
    learned = of_patients(train, 0.35, rng)
    encoder = PixelModel(train.take(learned))
    xrays = train.take(~learned)
    if options.quick:
        xrays = xrays.take(np.sort(rng.choice(len(xrays.images), QUICK, replace=False)))
    images = xrays.images
    features = workers.map(partial(shift, images, encoder), CHANGES)
    halves = np.array_split(images, 2)
    samples, tolerant = (
        reduce(ImageSamples.concatenate, workers.map(partial(sampled, declared, encoder), halves))
        for declared in (False, True)
    )
    folder = options.data / "chest-xray/train"
    again = {name: extract(resampled(xrays, folder, way), encoder) for name, way in RESIZED.items()}
    return World(
        xrays,
        samples,
        tolerant,
        {**dict(zip(CHANGES, features, strict=True)), **again, "other patients": samples.plain},
        {name: extract(read(options.data / name).images, encoder) for name in OTHER_SOURCES},
        400 if options.quick else REFERENCES,
    )


def shift(images: Image, encoder: PixelModel, name: str) -> ImageFeatures:
    rng = np.random.default_rng(1)
    return extract(np.stack([CHANGES[name](image, rng) for image in images]), encoder)


def sampled(declared: bool, encoder: PixelModel, images: Image) -> ImageSamples:
    return sample(images, TOLERATED if declared else HARMLESS, encoder, every=True)


def resampled(xrays: Xrays, folder: Path, interpolation: int) -> Image:
    """Read files again and resize them another way than the product does."""
    found = []
    for label, name in zip(xrays.labels, xrays.names, strict=True):
        pixels = decode_image((folder / label / name).read_bytes(), name)
        grey = to_shape(pixels, *pixels.shape[:2], 1)
        found.append(cv2.resize(grey, (200, 200), interpolation=interpolation)[:, :, np.newaxis])
    return np.stack(found)


def until_alarm(evidence: Evidence, observations: Floats) -> int:
    """Return the number of these images until the alarm."""
    before = evidence.step().n
    for start in range(0, len(observations), 32):
        step = evidence.update(observations[start : start + 32])
        if step.alarm_at is not None:
            return step.alarm_at - before + 1
    return NEVER


def order(xrays: Xrays, name: str, rows: Indices, rng: np.random.Generator) -> Indices:
    """Draw a stream of ``rows``; mixes of classes draw from what they are made of."""
    if name == "bacterial -> viral only":
        return rng.permutation(rows[["virus" in file for file in xrays.names[rows]]])
    if name == "class mix 73% -> 95% pneumonia":
        ill = xrays.labels[rows] == "PNEUMONIA"
        share = rng.random(STREAM) < 0.95
        return np.where(share, rng.choice(rows[ill], STREAM), rng.choice(rows[~ill], STREAM))
    return rng.permutation(rows)[:STREAM]


def streams(
    world: World, name: str, baseline: ImageBaseline, rows: Indices, count: int, rng: np.random.Generator
) -> list[Floats]:
    """Return the observations of some streams of a shift; ``rows`` are the X-rays that may come."""
    if name in world.others:
        observed = baseline.observe(world.others[name])
        return [observed[rng.permutation(len(observed))[:STREAM]] for _ in range(count)]
    features = world.shifted.get(name, world.samples.plain)
    observed = np.full((len(features), len(baseline.features)), np.nan)
    observed[rows] = baseline.observe(features.take(rows))
    return [observed[order(world.xrays, name, rows, rng)] for _ in range(count)]


def parted(world: World, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Draw patients for a baseline; return its images and those of all others."""
    inside = of_about(world.xrays.patients, world.references, rng)
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def early(count: int, seed: int) -> dict[str, list[int]]:
    """Fit a baseline; count the images until the alarm in some streams of each shift from the first image."""
    world, rng = WORLDS[0], np.random.default_rng(seed)
    inside, outside = parted(world, rng)
    plain, tolerant = (fit_baseline(s.take(inside, rng)) for s in (world.samples, world.tolerant))
    found = {}
    for name in (*GOALS, "other patients", *SILENT, *RESIZED, *DECLARED):
        baseline = tolerant if name in DECLARED else plain
        found[name] = [
            until_alarm(Evidence(baseline, ALPHA, LIFE, rng), observed)
            for observed in streams(world, name, baseline, outside, count, rng)
        ]
    return found


def late(count: int, quiet: int, seed: int) -> dict[str, list[int]]:
    """The same after a long quiet time. Baseline and stream are drawn from one pool, as they have to be."""
    world, rng = WORLDS[0], np.random.default_rng(seed)
    n = len(world.xrays.images)
    baseline = fit_baseline(world.samples.take(rng.integers(0, n, world.references), rng))
    calm = baseline.observe(world.samples.plain)
    evidence = Evidence(baseline, ALPHA, LIFE, rng)
    found = {"quiet": [until_alarm(evidence, calm[rng.integers(0, n, quiet)])]}
    for name in GOALS:
        found[name] = [
            until_alarm(copy.deepcopy(evidence), observed)
            for observed in streams(world, name, baseline, np.arange(n), count, rng)
        ]
    return found


def strangest(world: World, runs: int) -> dict[str, float]:
    """Corrupt 12 of 40 images; return the share of the 12 named strangest that are corrupted."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(world.xrays.images))
    baseline = fit_baseline(world.samples.take(rows[: world.references], rng))
    rest = rows[world.references :]
    calm = compare(baseline, world.samples.plain.take(rest)).strangeness
    found = {}
    for name in ("box blur 40", "blur 5", "wrong-modality"):
        features = world.others[name] if name in world.others else world.shifted[name].take(rest)
        strange = compare(baseline, features).strangeness
        hits = []
        for _ in range(runs):
            run = np.concatenate(
                [rng.choice(strange, 12, replace=False), rng.choice(calm, 28, replace=False)]
            )
            hits.append(np.mean(np.argsort(-run)[:12] < 12))
        found[name] = float(np.mean(hits))
    return found


def power(draws: int, windows: int) -> dict[str, dict[str, float]]:
    """Return for each shift how many windows of 12 each method finds, where it flags 5% of quiet ones.

    All see the same observations; every method's own threshold is the 95% quantile over quiet windows.
    """
    scores: dict[str, dict[str, list[float]]] = {}
    for seed in range(draws):
        world, rng = WORLDS[0], np.random.default_rng(200 + seed)
        inside, outside = parted(world, rng)
        baseline = fit_baseline(world.samples.take(inside, rng))
        for name in ("other patients", *WEAK):
            for observed in streams(world, name, baseline, outside, windows, rng):
                for method, score in METHODS.items():
                    scores.setdefault(name, {}).setdefault(method, []).append(
                        score(baseline, observed[:WINDOW])
                    )
    quiet = scores.pop("other patients")
    bounds = {method: np.quantile(values, 1 - FALSE_ALARMS) for method, values in quiet.items()}
    return {
        name: {method: float(np.mean(np.array(found[method]) > bounds[method])) for method in METHODS}
        for name, found in scores.items()
    }


def by_window(baseline: ImageBaseline, window: Floats) -> float:
    """Return what the p-value of ``compare`` is made of."""
    return mmd(baseline.vectors, baseline.standardise(window), permutations=1).statistic or 0.0


def by_ks(baseline: ImageBaseline, window: Floats) -> float:
    ranked = [Numbers.of(column) for column in baseline.ranked.T]
    return -min(found.p_value or 0.0 for found in kolmogorov_smirnov_columns(ranked, window))


def by_mmd(baseline: ImageBaseline, window: Floats) -> float:
    """Return the discrepancy of the components alone, as a detector on an embedding has it."""
    shown = [place for place, name in enumerate(baseline.features) if name.startswith(("component", "embed"))]
    return mmd(baseline.ranked[:, shown], window[:, shown], permutations=1).statistic or 0.0


def by_classifier(baseline: ImageBaseline, window: Floats) -> float:
    """Return how well a classifier that never saw them tells window and baseline apart (AUC)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    standard = baseline.ranked.std(axis=0) + 1e-9
    rows = np.concatenate([baseline.ranked[:240], window]) / standard
    labels = np.arange(len(rows)) >= len(rows) - len(window)
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=300)
    found = cross_val_predict(model, rows - rows.mean(axis=0), labels, cv=3, method="decision_function")
    return float(roc_auc_score(labels, found))


METHODS: dict[str, Callable[[ImageBaseline, Floats], float]] = {
    "ours": by_window,
    "KS with Bonferroni": by_ks,
    "MMD of the embedding": by_mmd,
    "classifier test": by_classifier,
}
WEAK = (
    "blur 3",
    "rotate 5 degrees",
    "left-right flip",
    "brightness +10%",
    "contrast -20%",
    "crop 10%",
    "gamma 0.8",
    "nih",
    "class mix 73% -> 95% pneumonia",
    "bacterial -> viral only",
)


def of_power(draws: int, windows: int) -> list[Claim]:
    found = power(draws, windows)
    found["mean"] = {m: float(np.mean([row[m] for row in found.values()])) for m in METHODS}
    error = 2 * np.sqrt(0.25 / (draws * windows))
    claims = []
    for name, row in found.items():
        rivals = max(value for method, value in row.items() if method != "ours")
        measured = ", ".join(f"{method} {value:.0%}" for method, value in row.items())
        slack = 0.0 if name == "mean" else error
        claims.append(
            Claim(f"power at 12, {name}", measured, "as much as the best", row["ours"] >= rivals - slack)
        )
    return claims


def gathered(parts: Sequence[dict[str, list[int]]]) -> dict[str, list[int]]:
    return {name: [number for part in parts for number in part[name]] for name in parts[0]}


def shown(numbers: Sequence[int]) -> str:
    median, most = np.quantile(numbers, 0.5), np.quantile(numbers, 0.9, method="higher")
    return f"median {_images(median)}, 90% within {_images(most)}"


def _images(number: float) -> str:
    return "never" if number >= NEVER else f"{number:g}"


def main() -> int:
    parser = arguments("Count the images until the alarm on real X-rays.")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    draws, count, quiet = (2, 5, 2000) if options.quick else (10, 10, QUIET)
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        WORLDS.append(prepare(options, workers))
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as workers:
        soon = gathered(list(workers.map(partial(early, count), range(draws))))
        later = gathered(list(workers.map(partial(late, count, quiet), range(100, 100 + max(2, draws // 2)))))
    # Quick runs have 400 references in place of 1,000, and twice as many images to notice.
    goals = {name: goal * (2 if options.quick else 1) for name, goal in GOALS.items()}
    if options.quick:
        goals |= dict.fromkeys(CLASSES, NEVER)
    claims = [
        Claim(name, shown(soon[name]), f"median {goal}", float(np.median(soon[name])) <= goal)
        for name, goal in goals.items()
    ]
    claims += [
        Claim(
            f"{name}, after {quiet:,} quiet",
            shown(later[name]),
            f"median {2 * goal}",
            float(np.median(later[name])) <= 2 * goal,
        )
        for name, goal in goals.items()
    ]
    for name in ("other patients", *SILENT, *RESIZED, *DECLARED):
        alarms = sum(number < NEVER for number in soon[name])
        claims.append(
            Claim(f"{name}: {STREAM} images", f"{alarms} of {len(soon[name])} alarmed", "silent", alarms == 0)
        )
    alarms = sum(number < NEVER for number in later["quiet"])
    claims.append(
        Claim(f"{quiet:,} quiet images", f"{alarms} of {len(later['quiet'])} alarmed", "silent", alarms == 0)
    )
    for name, share in strangest(WORLDS[0], 200).items():
        claims.append(Claim(f"30% {name}: strangest are the corrupted", f"{share:.3f}", "0.9", share >= 0.9))
    if not options.quick:
        claims += of_power(4, 100)
    title = f"Images until the alarm: {WORLDS[0].references} references, alpha {ALPHA}, life {LIFE:,}"
    return report(title, claims)


if __name__ == "__main__":
    sys.exit(main())
