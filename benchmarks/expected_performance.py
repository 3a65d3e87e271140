"""Is the accuracy that is estimated without labels the one that labels give, and is it flagged where not?

    python benchmarks/expected_performance.py [--quick] [--data ../shared/data]

Of the patients of chest-xray/train, three fifths train a small classifier (logistic regression on 32x32
pixels) and are the image baseline, a fifth calibrates it, a fifth is new to both. Estimated and realised
accuracy are compared on these new patients, on chest-xray/test and on nih (another hospital); then with
simulated models whose law is known, where the interval must cover what the labels give.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tidegauge import threads

threads.use_one()

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from _shared import Claim, report
from _xrays import PixelModel, Xrays, arguments, of_patients, read
from tidegauge.stats.images import ImageBaseline, ImageFeatures, compare, extract, fit_baseline
from tidegauge.stats.performance.calibration_map import fit_isotonic, fit_platt
from tidegauge.stats.performance.expected import (
    METRICS,
    Expectation,
    ExpectedPerformance,
    FitMap,
    expect,
    fit_expectation,
)
from tidegauge.stats.performance.wilson import Estimate, wilson

Floats = npt.NDArray[np.float64]

CLASSES = ("NORMAL", "PNEUMONIA")
SICK = CLASSES[1]
WINDOW = 100
FLAGGED_GOAL = 0.02  # of windows of new patients; two rules at 0.1% each would flag 0.2% of clean ones
COVERED_GOAL = 0.9


@dataclass(frozen=True)
class Traffic:
    """Images that a model saw: their features, its probabilities ``[n, 2]`` and the truth."""

    features: ImageFeatures
    probabilities: Floats
    labels: npt.NDArray[np.str_]

    def take(self, rows: npt.NDArray[np.integer]) -> Traffic:
        return Traffic(self.features.take(rows), self.probabilities[rows], self.labels[rows])

    def right(self) -> npt.NDArray[np.bool_]:
        return np.array(CLASSES)[self.probabilities.argmax(axis=1)] == self.labels

    def accuracy(self) -> Estimate:
        return wilson(int(self.right().sum()), len(self.labels))


@dataclass(frozen=True)
class Outcome:
    """Of a set and a split of the patients: of all images, and of windows of 100."""

    expected: ExpectedPerformance
    realised: Estimate
    flagged: float
    by_inputs: float
    by_confidence: float
    covered: float


def traffic(model: PixelModel, xrays: Xrays, features: ImageFeatures) -> Traffic:
    sick = expit(model(xrays.images)[:, 0])
    return Traffic(features, np.column_stack([1 - sick, sick]), xrays.labels)


def on_xrays(data: Path, splits: int, windows: int) -> list[Claim]:
    train = read(data / "chest-xray/train")
    others = {name: read(data / name) for name in ("chest-xray/test", "nih")}
    features = {"train": extract(train.images)} | {name: extract(x.images) for name, x in others.items()}
    found: dict[str, list[Outcome]] = {name: [] for name in ("new patients", *others)}
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        part = np.zeros(len(train.labels), np.int64)
        for number, share in ((1, 0.4), (2, 0.5)):  # of all patients two fifths, of these the half
            rows = np.flatnonzero(part == number - 1)
            part[rows[of_patients(train.take(rows), share, rng)]] = number
        model = PixelModel(train.take(part == 0))
        baseline = fit_baseline(train.images[part == 0], rng=rng)
        held_out = traffic(model, train.take(part == 1), features["train"].take(part == 1))
        expectation = fit_expectation(held_out.probabilities, held_out.labels, CLASSES, SICK, rng=rng)
        sets = {"new patients": traffic(model, train.take(part == 2), features["train"].take(part == 2))}
        sets |= {name: traffic(model, x, features[name]) for name, x in others.items()}
        for name, each in sets.items():
            found[name].append(outcome(expectation, baseline, each, windows, rng))
    return [claim for name, outcomes in found.items() for claim in judge(name, outcomes, windows)]


def outcome(
    expectation: Expectation,
    baseline: ImageBaseline,
    found: Traffic,
    windows: int,
    rng: np.random.Generator,
) -> Outcome:
    everything = expect(expectation, found.probabilities, compare(baseline, found.features))
    flagged, by_inputs, by_confidence, covered = 0, 0, 0, 0
    for _ in range(windows):
        window = found.take(rng.choice(len(found.labels), WINDOW, replace=False))
        result = expect(expectation, window.probabilities, compare(baseline, window.features))
        accuracy, truth = result.metrics["accuracy"], window.right().mean()
        flagged += result.unsafe
        by_inputs += "inputs have drifted" in (result.reason or "")
        by_confidence += "confidences are not" in (result.reason or "")
        covered += accuracy.low - 1e-9 <= truth <= accuracy.high + 1e-9
    shares = (flagged / windows, by_inputs / windows, by_confidence / windows, covered / windows)
    return Outcome(everything, found.accuracy(), *shares)


def judge(name: str, outcomes: list[Outcome], windows: int) -> list[Claim]:
    flagged = float(np.mean([each.flagged for each in outcomes]))
    by_inputs = float(np.mean([each.by_inputs for each in outcomes]))
    by_confidence = float(np.mean([each.by_confidence for each in outcomes]))
    covered = float(np.mean([each.covered for each in outcomes]))
    unsafe = sum(each.expected.unsafe for each in outcomes)
    first = outcomes[0]
    goal, holds = "for information", True
    if name == "nih":
        goal, holds = "all", flagged == 1.0 and unsafe == len(outcomes)
    elif name == "new patients":
        goal, holds = f"at most {FLAGGED_GOAL:.0%}", flagged <= FLAGGED_GOAL
    claims = [
        Claim(
            f"{name}, all {first.expected.n} images, first split",
            f"estimated {written(first.expected.metrics['accuracy'])}, realised {written(first.realised)}",
            "for information",
            holds=True,
        ),
        Claim(
            f"{name}: mean over {len(outcomes)} splits",
            f"estimated {mean([o.expected.metrics['accuracy'] for o in outcomes]):.3f}, "
            f"realised {mean([o.realised for o in outcomes]):.3f}, unsafe {unsafe} of {len(outcomes)}",
            "for information",
            holds=True,
        ),
        Claim(
            f"{name}: {windows * len(outcomes)} windows of {WINDOW}: unsafe",
            f"{flagged:.1%} (by their inputs {by_inputs:.1%}, by the confidences {by_confidence:.1%})",
            goal,
            holds,
        ),
    ]
    new = name == "new patients"
    claims.append(
        Claim(
            f"{name}: windows whose accuracy the interval holds",
            f"{covered:.1%}",
            f"at least {COVERED_GOAL:.0%}" if new else "for information",
            holds=covered >= COVERED_GOAL or not new,
        )
    )
    return claims


def written(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"


def mean(estimates: list[Estimate]) -> float:
    return float(np.mean([estimate.value for estimate in estimates]))


LAWS = {
    "overconfident": lambda said: expit(0.7 * said + 0.3),
    "in steps": lambda said: 0.04 + 0.92 * (0.5 * expit(6 * (said + 2)) + 0.5 * expit(6 * (said - 1.5))),
}


def simulated(law: str, fit_map: FitMap, held_out: int, window: int, runs: int) -> Floats:
    """Return by metric the share of windows whose interval holds what the labels give."""
    held, counted = np.zeros(len(METRICS)), np.zeros(len(METRICS))
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        probabilities, labels = draw(law, held_out, rng)
        expectation = fit_expectation(
            probabilities, np.array(CLASSES)[labels], CLASSES, SICK, rng=rng, fit_map=fit_map
        )
        probabilities, labels = draw(law, window, rng)
        found = expect(expectation, probabilities).metrics
        for column, (name, truth) in enumerate(realised(probabilities[:, 1], labels).items()):
            estimate = found[name]
            if estimate.value is not None and not np.isnan(truth):
                counted[column] += 1
                held[column] += estimate.low - 1e-9 <= truth <= estimate.high + 1e-9
    return held / counted


def draw(law: str, n: int, rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.int64]]:
    said = np.where(rng.random(n) < 0.65, rng.normal(3, 2, n), rng.normal(-3, 2, n))
    labels = (rng.random(n) < LAWS[law](said)).astype(np.int64)
    return np.column_stack([expit(-said), expit(said)]), labels


def realised(sick: Floats, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Metrics by their definitions, NaN where they have no value."""
    called = sick > 0.5
    hits, true = int((called & (labels == 1)).sum()), int(labels.sum())
    pairs = true * (len(labels) - true)
    above = (sick[labels == 1][:, np.newaxis] > sick[labels == 0]).sum()
    return {
        "accuracy": float((called == labels).mean()),
        "precision": hits / called.sum() if called.any() else np.nan,
        "recall": hits / true if true else np.nan,
        "f1_score": 2 * hits / (called.sum() + true) if called.any() or true else np.nan,
        "roc_auc": above / pairs if pairs else np.nan,
    }


def on_simulations(runs: int, held: tuple[int, ...], maps: tuple[FitMap, ...]) -> list[Claim]:
    claims = []
    for law in LAWS:
        for fit_map in maps:
            for held_out in held:
                for window in (12, 100, 1000):
                    found = simulated(law, fit_map, held_out, window, runs)
                    judged = fit_map is fit_isotonic and held_out >= 300
                    claims.append(
                        Claim(
                            f"{law}, {fit_map.__name__}, {held_out} held out, windows of {window}",
                            " ".join(f"{share:.2f}" for share in found),
                            f"accuracy at least {COVERED_GOAL}" if judged else "for information",
                            bool(found[0] >= COVERED_GOAL) or not judged,
                        )
                    )
    return claims


def main() -> int:
    options = arguments("Measure performance that is estimated without labels.").parse_args()
    cv2.setNumThreads(1)
    code = 0
    if (options.data / "chest-xray").is_dir():
        claims = on_xrays(options.data, *((1, 20) if options.quick else (10, 100)))
        code = report("Expected accuracy on real X-rays, logistic regression on 32x32 pixels", claims)
    else:
        print(f"{options.data} has no real X-rays: only simulations are measured.")
    everything = (100, (50, 300, 2000), (fit_isotonic, fit_platt))
    claims = on_simulations(*((30, (300,), (fit_isotonic,)) if options.quick else everything))
    title = "Share of windows whose 95% interval holds the metric: " + ", ".join(METRICS)
    return max(code, report(title, claims))


if __name__ == "__main__":
    sys.exit(main())
