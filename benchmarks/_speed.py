"""What benchmarks/statistics.py measures: the data, the contestants' results side by side, the goals."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import _rivals
from _shared import Claim, report
from tidegauge.stats.images import ATTRIBUTES, extract

XRAYS = Path(__file__).resolve().parents[2] / "shared" / "data" / "chest-xray" / "train"
SIDE = 200
ONLY_TOLD = "-"


@dataclass(frozen=True)
class Size:
    """How much is measured; ``clean`` windows of 12 in each of ``splits`` of one pool."""

    rows: int
    least: int
    seconds: float
    images: int
    splits: int
    clean: int
    fewer: int


FULL = Size(rows=1_000_000, least=3, seconds=3.0, images=200, splits=2, clean=130, fewer=50)
QUICK = Size(rows=100_000, least=1, seconds=0.3, images=20, splits=1, clean=60, fewer=3)
BASELINE = 2_000


def write_vectors(folder: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {"baseline": BASELINE, "window 15": 15, "window 1000": 1_000, "window 10000": 10_000}
    # In single precision alibi-detect is at its fastest.
    samples = {name: rng.normal(size=(n, 32)).astype(np.float32) for name, n in sizes.items()}
    np.savez(folder / "vectors.npz", **samples)


def write_table(folder: Path, rows: int) -> None:
    """Write 15 columns of numbers and 5 of categories; the window's have moved a little, most of them."""
    rng = np.random.default_rng(1)
    parts = {}
    for part, shift in (("baseline", 0.0), ("window", 0.05)):
        numbers = rng.normal(size=(15, rows))
        numbers[5:10] = np.exp(numbers[5:10])
        numbers[10:] = rng.gamma(2.0, size=(5, rows)).round(1)
        numbers[::2] += shift
        codes = [(rng.random(rows) ** (1 + shift) * size).astype(np.int64) for size in (2, 4, 8, 16, 32)]
        parts |= {f"{part} numbers": numbers, f"{part} codes": np.stack(codes)}
    np.savez(folder / "table.npz", **parts)


def read_images(most: int) -> np.ndarray:
    """Read X-rays where they are at hand, else make images with as much structure."""
    files = sorted(XRAYS.rglob("*.jpeg")) + sorted(XRAYS.rglob("*.jpg"))
    rng = np.random.default_rng(2)
    if files:
        chosen = [files[i] for i in rng.permutation(len(files))[:most]]
        grey = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in chosen]
        sized = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in grey]
    else:
        noise = rng.normal(128, 400, (most, SIDE, SIDE)).astype(np.float32)
        sized = [np.clip(cv2.GaussianBlur(image, (0, 0), 4), 0, 255).astype(np.uint8) for image in noise]
    return np.stack(sized)[..., None]


def write_clean(folder: Path, size: Size) -> str:
    """Write baselines and windows of 12 drawn from one pool, and say what the pool is."""
    rng = np.random.default_rng(3)
    if XRAYS.exists():
        pool = extract(read_images(BASELINE + 12 * size.clean)).attributes
        what = f"attributes of {len(pool):,} X-rays"
    else:
        pool = rng.normal(size=(BASELINE + 12 * size.clean, len(ATTRIBUTES)))
        what = f"{len(pool):,} rows of normal numbers"
    orders = [rng.permutation(len(pool)) for _ in range(size.splits)]
    windows = [pool[order[BASELINE:]] for order in orders]
    np.savez(
        folder / "clean.npz",
        names=list(ATTRIBUTES),
        baselines=np.stack([pool[order[:BASELINE]] for order in orders]),
        windows=np.stack([rows[: len(rows) // 12 * 12].reshape(-1, 12, pool.shape[1]) for rows in windows]),
        fewer=size.fewer,
    )
    return what


def told(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def faster(
    what: str, key: str, results: Mapping[str, Any], goals: Mapping[str, float], theirs: str | None = None
) -> Claim:
    """Compare our time with each contestant's; ``goals``: how many times as fast to be, 0 for no goal."""
    ours = results["ours"]["seconds"][key]
    measured, wanted, holds = [told(ours)], [], True
    for contestant, goal in goals.items():
        if contestant not in results:
            continue
        taken = results[contestant]["seconds"][theirs or key]
        measured.append(f"{contestant} {told(taken)} ({taken / ours:.3g}x)")
        holds &= taken / ours >= goal
        if goal:
            wanted.append(f">= {goal:g}x {contestant}" if goal != 1 else f"ahead of {contestant}")
    return Claim(what, ", ".join(measured), ", ".join(wanted) or ONLY_TOLD, holds)


def against_others(results: Mapping[str, Any], rows: int) -> list[Claim]:
    claims = []
    for n, goal in ((15, 200), (1_000, 100)):
        what = f"MMD, 100 permutations, 32 features, {BASELINE:,} / {n:,}"
        claims.append(faster(what, f"mmd {n}", results, {"alibi": goal}))
    for n, goal in ((15, 20), (1_000, 1), (10_000, 1)):
        what = f"Kolmogorov-Smirnov, 32 features, {BASELINE:,} / {n:,}"
        claims.append(faster(what, f"ks {n}", results, {"alibi": goal, "scipy": 1}))
    goals = {"alibi": 10, "evidently": 50, "nannyml": 0}
    claims.append(faster(f"table of 20 columns x {rows:,} rows", "table", results, goals))
    if "nannyml" in results:
        what = "table, nannyml set to binned Kolmogorov-Smirnov and chi-squared"
        claims.append(faster(what, "table", results, {"nannyml": 0}, "table binned"))
    return [*claims, faster("table, fit of the baseline included", "table afresh", results, {})]


def against_goals(results: Mapping[str, Any], rows: int) -> list[Claim]:
    memory, seconds = results["memory"]["memory"], results["ours"]["seconds"]
    return [
        Claim(
            "table, peak memory with both tables, over their size",
            f"{memory['whole']:.2f}x; beyond them fit {memory['fit']:.2f}x, compare {memory['compare']:.2f}x",
            # With few rows the grids of the summaries, of a fixed size, would be most of it.
            "<= 1.5x" if rows == FULL.rows else ONLY_TOLD,
            memory["whole"] <= 1.5 or rows < FULL.rows,
        ),
        Claim(
            "features of a decoded 200x200 grey image",
            f"{told(seconds['image'])}, scipy.ndimage {told(results['scipy']['seconds']['image'])}",
            "<= 0.8 ms",
            seconds["image"] <= 0.8e-3,
        ),
        Claim(
            "evidence, 76 features, batches of 12, per observation",
            told(seconds["evidence"]),
            "<= 50 us",
            seconds["evidence"] <= 50e-6,
        ),
    ]


def false_alarms(results: Mapping[str, Any]) -> list[Claim]:
    return [
        Claim(name, f"{share:.1%}", "0.0%", share == 0)
        if contestant == "ours"
        else Claim(name, f"{share:.1%}", ONLY_TOLD, holds=True)
        for contestant, result in results.items()
        for name, share in result.get("false alarms", {}).items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="100,000 rows, fewer repetitions")
    parser.add_argument("--no-rivals", action="store_true", help="ours and scipy alone")
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else FULL
    contestants = ["ours", "memory", "scipy"]
    if not chosen.no_rivals:
        _rivals.make_environments()
        contestants += _rivals.RIVALS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vectors(folder)
        write_table(folder, size.rows)
        np.save(folder / "images.npy", read_images(size.images))
        pool = write_clean(folder, size)
        results = {one: _rivals.run(one, folder, size.least, size.seconds) for one in contestants}
    windows = size.clean * size.splits
    claims = against_others(results, size.rows) + against_goals(results, size.rows)
    missed = report("Speed, one core, medians of processor time", claims)
    missed |= report(
        f"Windows of 12 without drift that are flagged: {windows} against {BASELINE:,} references, {pool}",
        false_alarms(results),
    )
    return missed
