"""How well and how fast the chest X-ray example trains: trains on train/, looks at test/ once.

    python benchmarks/training.py --data ../shared/data/chest-xray [--seed N]
    python benchmarks/training.py --quick        on phantoms that the package draws; needs no data

Intervals are 95%, from resampling patients (images of one patient are not independent).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from _shared import Claim, report

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "chest_xray"))

from patients import patient_id
from scores import roc_auc

import training
from tidegauge.phantoms import write_dataset

RESAMPLES = 2000
Numbers = NDArray[np.float64]


def interval(
    score: Numbers, positive: NDArray[np.bool_], files: list[str], rng: np.random.Generator
) -> Numbers:
    """95% intervals [2, (accuracy, ROC AUC)] by resampling patients within each class."""
    strata: dict[bool, dict[str, list[int]]] = {True: defaultdict(list), False: defaultdict(list)}
    for index, file in enumerate(files):
        strata[bool(positive[index])][patient_id(file)].append(index)
    groups = [[np.array(group) for group in stratum.values()] for stratum in strata.values()]
    values = []
    for _ in range(RESAMPLES):
        drawn = [group[pick] for group in groups for pick in rng.integers(len(group), size=len(group))]
        chosen = np.concatenate(drawn)
        right = np.mean((score[chosen] > 0.5) == positive[chosen])
        values.append((right, roc_auc(score[chosen], positive[chosen])))
    return np.asarray(np.quantile(np.array(values, dtype=float), (0.025, 0.975), axis=0))


def measure(
    train: Path, test: Path, goals: tuple[float, float, float], seed: int, began: float
) -> list[Claim]:
    """Train, then test; ``goals``: ROC AUC, accuracy, seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        training.train(training.prepare(train), Path(scratch), name="chest-xray", seed=seed, log=_log)
        seconds, cpu = time.monotonic() - began, sum(os.times()[:2])
        held = training.prepare(test)
        answers = training.predict_onnx(Path(scratch, "model.onnx"), held.images)
    score, positive = answers[:, 1], held.labels == 1
    low, high = interval(score, positive, held.files, np.random.default_rng(0))
    decided = score > 0.5
    accuracy = float(np.mean(decided == positive))
    area = roc_auc(score, positive) or 0.0
    print(
        f"sensitivity {np.mean(decided[positive]):.3f}, specificity {np.mean(~decided[~positive]):.3f}, "
        f"{positive.size} images; processor time {cpu:.0f} s"
    )
    return [
        Claim("ROC AUC", f"{area:.3f} ({low[1]:.3f}-{high[1]:.3f})", f">= {goals[0]}", area >= goals[0]),
        Claim(
            "accuracy", f"{accuracy:.3f} ({low[0]:.3f}-{high[0]:.3f})", f">= {goals[1]}", accuracy >= goals[1]
        ),
        Claim("training, all of it", f"{seconds:.0f} s", f"<= {goals[2]:.0f} s", seconds <= goals[2]),
    ]


def _log(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "chest-xray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="phantoms instead of --data")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as scratch:
            train, test = Path(scratch, "train"), Path(scratch, "test")
            write_dataset(train, normal=200, pneumonia=200, seed=options.seed)
            write_dataset(test, normal=60, pneumonia=60, seed=options.seed + 1)
            claims = measure(train, test, (0.95, 0.9, 45), options.seed, time.monotonic())
        return report(f"Training on 400 phantoms (synthetic), seed {options.seed}", claims)
    if not (options.data / "test").is_dir():
        parser.error(f"--data is {options.data}; give a folder with train/ and test/ of labelled images.")
    claims = measure(options.data / "train", options.data / "test", (0.95, 0.85, 480), options.seed, began)
    return report(
        f"Training on {options.data.name}/train, test on {options.data.name}/test, seed {options.seed}",
        claims,
    )


if __name__ == "__main__":
    sys.exit(main())
