"""Does the image score tell the example's cycles apart: normal, transposed, blurred by a 40x40 box?

    python benchmarks/drift_demo.py [--quick] [--data ../shared/data]

Windows are drawn as `tidegauge demo` draws them: 10 to 15 images, the class mix of the training data, no
image twice before its class is used up. Without the real X-rays only phantoms are measured.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tidegauge import threads

threads.use_one()

import cv2
import numpy as np
import numpy.typing as npt

from _shared import Claim, report
from _xrays import Change, Image, Xrays, arguments, jpeg, read
from tidegauge.phantoms import write_dataset
from tidegauge.stats.images import (
    ImageBaseline,
    ImageFeatures,
    ImageSamples,
    compare,
    extract,
    fit_baseline,
    sample,
)
from tidegauge.stats.two_sample import Numbers, kolmogorov_smirnov

Floats = npt.NDArray[np.float64]

SOFT, HARD = 0.42, 0.55
NORMAL_GOAL = 0.005  # chance alone passes 0.55 in 0.1% of windows; the test patients are a mild, true shift


def transposed(image: Image, _: np.random.Generator) -> Image:
    return np.ascontiguousarray(image.swapaxes(0, 1))


def blurred(side: int) -> Change:
    return lambda image, _: np.asarray(cv2.blur(image, (side, side)), np.uint8).reshape(image.shape)


@dataclass(frozen=True)
class Pictures:
    """Images of a folder: samples for baselines, features of each as it is and changed, label and patient."""

    samples: ImageSamples
    features: dict[str, ImageFeatures]
    labels: npt.NDArray[np.str_]
    patients: npt.NDArray[np.str_]


CHANGES: dict[str, Change] = {
    "normal": lambda image, _: image,
    "transposed": transposed,
    "blurred": blurred(40),
}
MORE_CHANGES = {"JPEG q90": jpeg(90), "3x3 blur": blurred(3)}


def look(xrays: Xrays, changes: dict[str, Change], *, fitted: bool = False) -> Pictures:
    features = {
        kind: extract(np.stack([change(image, np.random.default_rng(0)) for image in xrays.images]))
        for kind, change in changes.items()
    }
    samples = sample(xrays.images if fitted else xrays.images[:1], every=True)
    return Pictures(samples, features, xrays.labels, xrays.patients)


def scores(
    baseline: ImageBaseline,
    traffic: ImageFeatures,
    labels: npt.NDArray[np.str_],
    shares: dict[str, float],
    windows: int,
    rng: np.random.Generator,
) -> Floats:
    """Score windows of 10 to 15 images; strangeness is the image's own, so each image is compared once."""
    strangeness = compare(baseline, traffic).strangeness
    calm = Numbers.of(baseline.strangeness)
    decks: dict[str, list[int]] = {label: [] for label in shares}
    found = np.empty(windows)
    for window in range(windows):
        rows = []
        for label in rng.choice(list(shares), int(rng.integers(10, 16)), p=list(shares.values())):
            if not decks[label]:
                decks[label] = list(rng.permutation(np.flatnonzero(labels == label)))
            rows.append(decks[label].pop())
        found[window] = kolmogorov_smirnov(calm, strangeness[rows]).score
    return found


def mix(labels: npt.NDArray[np.str_]) -> dict[str, float]:
    names, counts = np.unique(labels, return_counts=True)
    return {str(name): float(count) / len(labels) for name, count in zip(names, counts, strict=True)}


def judge(name: str, found: dict[str, Floats]) -> list[Claim]:
    normal = found["normal"]
    soft, hard = (normal > SOFT).mean(), (normal > HARD).mean()
    measured = f"{soft:.2%} > {SOFT}, {hard:.2%} > {HARD}, most {normal.max():.2f}"
    goal = f"at most {NORMAL_GOAL:.1%} > {HARD}"
    claims = [
        Claim(
            f"{name}: {len(normal)} normal windows",
            measured,
            goal,
            bool(hard <= NORMAL_GOAL),
        )
    ]
    for kind in ("transposed", "blurred"):
        least = float(found[kind].min())
        claims.append(Claim(f"{name}: {kind}", f"least {least:.2f}", f"all > {HARD}", least > HARD))
    return claims


def inform(name: str, found: Floats) -> Claim:
    soft, hard = (found > SOFT).mean(), (found > HARD).mean()
    measured = f"median {np.median(found):.2f}, {soft:.1%} > {SOFT}, {hard:.1%} > {HARD}"
    return Claim(name, measured, "for information", holds=True)


def chance(windows: int, rng: np.random.Generator) -> Claim:
    """What the score does when nothing differs: windows of pure chance against 1,800 numbers."""
    calm = np.sort(rng.random(1800))
    found = [
        kolmogorov_smirnov(calm, rng.random(int(rng.integers(10, 16)))).score or 0.0 for _ in range(windows)
    ]
    return inform("pure chance, no images", np.array(found))


def on_chest_xray(data: Path, windows: int, seeds: int) -> list[Claim]:
    xrays = read(data / "chest-xray/train")
    if seeds < 10:
        xrays = xrays.take(np.random.default_rng(0).permutation(len(xrays.images))[:1000])
    train = look(xrays, CHANGES, fitted=True)
    test = look(read(data / "chest-xray/test"), CHANGES | MORE_CHANGES)
    shares = mix(train.labels)
    baseline = fit_baseline(train.samples)

    def of(kind: str) -> Floats:
        return scores(baseline, test.features[kind], test.labels, shares, windows, np.random.default_rng(0))

    claims = judge("train, test patients", {kind: of(kind) for kind in CHANGES})
    claims += [inform(f"train, test patients: {kind}", of(kind)) for kind in MORE_CHANGES]
    for name in ("nih", "wrong-modality"):
        other = look(read(data / name), {"normal": CHANGES["normal"]})
        rng = np.random.default_rng(0)
        claims.append(
            inform(
                name,
                scores(baseline, other.features["normal"], other.labels, mix(other.labels), windows, rng),
            )
        )
    return [*judge("train, held-back patients", held_back(train, windows, seeds)), *claims]


def held_back(train: Pictures, windows: int, seeds: int) -> dict[str, Floats]:
    """Baseline on four fifths of the patients, traffic from the others, for several draws of patients."""
    found: dict[str, list[Floats]] = {kind: [] for kind in CHANGES}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        everyone = np.unique(train.patients)
        held = np.isin(train.patients, rng.choice(everyone, len(everyone) // 5, replace=False))
        baseline = fit_baseline(train.samples.take(np.flatnonzero(~held), rng))
        shares = mix(train.labels[~held])
        for kind in CHANGES:
            traffic = train.features[kind].take(held)
            found[kind].append(scores(baseline, traffic, train.labels[held], shares, windows // seeds, rng))
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def on_mini(data: Path, windows: int) -> list[Claim]:
    mini = look(read(data / "chest-xray-mini"), CHANGES | MORE_CHANGES, fitted=True)
    baseline = fit_baseline(mini.samples)

    def of(kind: str) -> Floats:
        rng = np.random.default_rng(0)
        return scores(baseline, mini.features[kind], mini.labels, mix(mini.labels), windows, rng)

    claims = judge("mini, replayed", {kind: of(kind) for kind in CHANGES})
    return [*claims, *(inform(f"mini, replayed: {kind}", of(kind)) for kind in MORE_CHANGES)]


def on_phantoms(windows: int, seeds: int) -> list[Claim]:
    found: dict[str, list[Floats]] = {kind: [] for kind in CHANGES}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            pictures = []
            for part in (2 * seed, 2 * seed + 1):
                write_dataset(Path(folder) / str(part), normal=150, pneumonia=150, seed=part)
                pictures.append(look(read(Path(folder) / str(part)), CHANGES, fitted=True))
            train, traffic = pictures
            baseline = fit_baseline(train.samples)
            for kind in CHANGES:
                rng = np.random.default_rng(seed)
                shares = mix(train.labels)
                chosen = traffic.features[kind]
                found[kind].append(scores(baseline, chosen, traffic.labels, shares, windows // seeds, rng))
    return judge(
        "300 phantoms, unseen phantoms", {kind: np.concatenate(parts) for kind, parts in found.items()}
    )


def main() -> int:
    options = arguments("Measure the image score on the example's cycles.").parse_args()
    cv2.setNumThreads(1)
    windows, seeds = (1000, 2) if options.quick else (10_000, 10)
    claims = [chance(windows, np.random.default_rng(0))]
    if (options.data / "chest-xray-mini").is_dir():
        claims += on_chest_xray(options.data, windows, seeds)
        claims += on_mini(options.data, windows)
    else:
        print(f"{options.data} has no real X-rays: only phantoms are measured.")
    claims += on_phantoms(windows, min(seeds, 5))
    return report("The image score on the example's cycles, windows of 10 to 15 images", claims)


if __name__ == "__main__":
    sys.exit(main())
