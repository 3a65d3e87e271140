"""How often 95% intervals and confidence sequences hold the truth, by simulation.

`python tests/stats/performance/coverage.py [windows [group]]` prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from tidegauge.stats.performance import (
    ConfidenceSequence,
    Estimate,
    ProportionSequence,
    RiskTest,
    classify,
    classify_multilabel,
    regress,
    score_probabilities,
)

Draw = Callable[[int, np.random.Generator], tuple[Any, ...]]
Measure = Callable[..., Mapping[str, Estimate]]
Scenario = tuple[Draw, Measure, Mapping[str, float]]

LARGE = 300_000


def table(prevalence: float, sensitivity: float, specificity: float) -> np.ndarray:
    well, sick = 1 - prevalence, prevalence
    return np.array(
        [
            [well * specificity, well * (1 - specificity)],
            [sick * (1 - sensitivity), sick * sensitivity],
        ]
    )


TABLES = {
    "30% sick, 0.90/0.95": table(0.3, 0.9, 0.95),
    "10% sick, 0.80/0.95": table(0.1, 0.8, 0.95),
    "50% sick, 0.70/0.70": table(0.5, 0.7, 0.7),
    "73% sick, 0.97/0.80": table(0.73, 0.97, 0.8),
    "30% sick, 0.99/0.99": table(0.3, 0.99, 0.99),
    "3 even classes": np.array([[0.3, 0.02, 0.02], [0.05, 0.25, 0.03], [0.01, 0.04, 0.28]]),
    "3 uneven classes": np.array([[0.6, 0.02, 0.01], [0.05, 0.15, 0.03], [0.03, 0.03, 0.08]]),
    "4 even classes": np.eye(4) * 0.2 + 0.0125,
}


def of_table(shares: np.ndarray) -> Scenario:
    size = len(shares)
    hits, true, called = np.diag(shares), shares.sum(axis=1), shares.sum(axis=0)
    recall, precision, f1 = hits / true, hits / called, 2 * hits / (true + called)
    correlation = (hits.sum() - true @ called) / np.sqrt((1 - true @ true) * (1 - called @ called))
    truth = {"accuracy": hits.sum(), "balanced_accuracy": recall.mean(), "mcc": correlation}
    if size == 2:
        truth |= {"precision": precision[1], "recall": recall[1], "f1_score": f1[1], "specificity": recall[0]}
        positive = "c1"
    else:
        truth |= {"precision": precision.mean(), "recall": recall.mean(), "f1_score": f1.mean()}
        truth |= {"precision_weighted": true @ precision, "f1_score_weighted": true @ f1}
        positive = None

    def draw(n: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
        picked = rng.choice(size * size, n, p=shares.ravel())
        return [f"c{i // size}" for i in picked], [f"c{i % size}" for i in picked]

    return draw, lambda *pair: classify(*pair, positive).metrics, truth


def logistic(centre: float, spread: float, sharpness: float) -> Draw:
    """Log-odds around a centre; the model says them times ``sharpness`` (1 is calibrated)."""

    def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        odds = rng.normal(centre, spread, n)
        return rng.random(n) < expit(odds), expit(sharpness * odds)

    return draw


def of_binary(draw: Draw) -> Scenario:
    y, p = draw(2 * LARGE, np.random.default_rng(9))
    positives = int(y.sum())
    of_truth = np.where(y, p, 1 - p)
    above = rankdata(p)[y].sum() - positives * (positives + 1) / 2
    place = np.minimum((p * 10).astype(int), 9)
    truth = {
        "log_loss": -np.log(np.clip(of_truth, 2.0**-23, 1)).mean(),
        "brier": ((1 - of_truth) ** 2).mean(),
        "roc_auc": above / positives / (len(y) - positives),
        "pr_auc": average_precision_score(y, p),
        "calibration_error": np.abs(np.bincount(place, y - p, 10)).sum() / len(y),
    }

    def measure(y: np.ndarray, p: np.ndarray) -> Mapping[str, Estimate]:
        return score_probabilities(np.where(y, "1", "0"), p, ("0", "1"), "1").metrics

    return draw, measure, truth


def softmax_rows(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    odds = rng.normal(0, 1.5, (n, 3)) + np.array([0.7, 0.0, -0.3])
    p = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    return (rng.random((n, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2), p


def of_softmax() -> Scenario:
    y, p = softmax_rows(LARGE, np.random.default_rng(9))
    areas = []
    for k in range(3):
        m = int((y == k).sum())
        areas.append((rankdata(p[:, k])[y == k].sum() - m * (m + 1) / 2) / m / (len(y) - m))
    of_truth = p[np.arange(len(y)), y]
    truth = {
        "log_loss": -np.log(of_truth).mean(),
        "brier": ((p**2).sum(axis=1) + 1 - 2 * of_truth).mean(),
        "roc_auc": float(np.mean(areas)),
        "pr_auc": float(np.mean([average_precision_score(y == k, p[:, k]) for k in range(3)])),
    }

    def measure(y: np.ndarray, p: np.ndarray) -> Mapping[str, Estimate]:
        return score_probabilities([str(k) for k in y], p, ("0", "1", "2")).metrics

    return softmax_rows, measure, truth


def of_numbers(draw: Draw) -> Scenario:
    y, p = draw(2 * LARGE, np.random.default_rng(9))
    e = p - y
    truth = {
        "mae": np.abs(e).mean(),
        "mse": (e**2).mean(),
        "rmse": np.sqrt((e**2).mean()),
        "mape": np.abs(e / y).mean(),
        "smape": (2 * np.abs(e) / (np.abs(y) + np.abs(p))).mean(),
        "r2_score": 1 - (e**2).mean() / y.var(),
        "bias": e.mean(),
        "quantile_error": np.maximum(-0.9 * e, 0.1 * e).mean(),
    }
    return draw, lambda y, p: regress(y, p, 0.9).metrics, truth


def normal_errors(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = rng.normal(50, 8, n)
    return y, y + rng.normal(1, 4, n)


def heavy_errors(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = rng.normal(50, 8, n)
    return y, y + 3 * rng.standard_t(5, n)


def skewed_numbers(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = np.exp(rng.normal(3, 0.7, n))
    return y, y * np.exp(rng.normal(0, 0.2, n))


def many_labels(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Five labels that come together, and mistakes that come together."""
    share = np.array([0.5, 0.3, 0.3, 0.2, 0.1])
    y = rng.random((n, 5)) < expit(np.log(share / (1 - share)) + rng.normal(0, 1, (n, 1)))
    wrong = rng.random((n, 5)) < expit(-2.2 + rng.normal(0, 1, (n, 1)))
    return y, y ^ wrong


def of_labels() -> Scenario:
    y, p = many_labels(LARGE, np.random.default_rng(9))
    hits, called, true = (y & p).sum(axis=0), p.sum(axis=0), y.sum(axis=0)
    truth = {
        "accuracy": (y == p).all(axis=1).mean(),
        "hamming_loss": (y != p).mean(),
        "precision": (hits / called).mean(),
        "recall": (hits / true).mean(),
        "f1_score": (2 * hits / (called + true)).mean(),
        "precision_micro": hits.sum() / called.sum(),
        "recall_micro": hits.sum() / true.sum(),
        "f1_score_micro": 2 * hits.sum() / (called + true).sum(),
    }
    return many_labels, lambda y, p: classify_multilabel(y, p, "abcde").metrics, truth


def scenarios() -> Iterator[tuple[str, str, Callable[[], Scenario]]]:
    """Yield (group, name, what builds the scenario, which takes seconds)."""
    for name, shares in TABLES.items():
        group = "classes, two" if len(shares) == 2 else "classes, more"
        yield group, name, partial(of_table, shares / shares.sum())
    for name, parts in {
        "30% sick, AUC 0.94": (-1.6, 3.0, 1.0),
        "10% sick, AUC 0.83": (-3.0, 1.7, 1.0),
        "50% sick, AUC 0.74": (0.0, 1.0, 1.0),
        "73% sick, AUC 0.95, too sure": (2.5, 4.0, 2.0),
        "3% sick, too sure": (-6.0, 3.0, 1.5),
    }.items():
        yield "probabilities, two", name, partial(of_binary, logistic(*parts))
    yield "probabilities, more", "3 classes", of_softmax
    yield "numbers", "normal errors", partial(of_numbers, normal_errors)
    yield "numbers", "heavy tails (t with 5 df)", partial(of_numbers, heavy_errors)
    yield "numbers", "skewed (lognormal)", partial(of_numbers, skewed_numbers)
    yield "labels, many", "5 labels", of_labels


def covered(scenario: Scenario, n: int, windows: int, rng: np.random.Generator) -> dict[str, float | None]:
    """Return the share of windows with an interval in which it holds the truth."""
    draw, measure, truth = scenario
    hits: dict[str, list[bool]] = defaultdict(list)
    for _ in range(windows):
        found = measure(*draw(n, rng))
        for name, value in truth.items():
            estimate = found[name]
            if estimate.low is not None and estimate.high is not None:
                hits[name].append(estimate.low <= value <= estimate.high)
    return {name: float(np.mean(hits[name])) if hits[name] else None for name in truth}


STREAMS: dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]] = {
    "0/1, mean 0.95": lambda shape, rng: (rng.random(shape) < 0.95).astype(float),
    "0/1, mean 0.5": lambda shape, rng: (rng.random(shape) < 0.5).astype(float),
    "0/1, mean 0.02": lambda shape, rng: (rng.random(shape) < 0.02).astype(float),
    "Beta(10, 30)": lambda shape, rng: rng.beta(10, 30, shape),
    "Beta(0.1, 0.4)": lambda shape, rng: rng.beta(0.1, 0.4, shape),
}
MEANS = {"0/1, mean 0.95": 0.95, "0/1, mean 0.5": 0.5, "0/1, mean 0.02": 0.02, "Beta(10, 30)": 0.25}
MEANS["Beta(0.1, 0.4)"] = 0.2


def ever_wrong(
    make: Callable[[], Any], name: str, streams: int, n: int, rng: np.random.Generator, looks: int = 80
) -> float:
    """Return the share of streams whose bounds ever miss the mean at many looks."""
    wrong = 0
    for stream in STREAMS[name]((streams, n), rng):
        sequence = make()
        # Looks after nearly every value while it matters most, then at ever larger steps.
        for part in np.split(stream, np.unique(np.geomspace(1, n, looks).astype(int))):
            if len(part):
                bounds = sequence.update(part)
                if not bounds.low <= MEANS[name] <= bounds.high:
                    wrong += 1
                    break
    return wrong / streams


def ever_harmful(streams: int, n: int, rng: np.random.Generator, alpha: float = 0.05) -> float:
    """Return the share of tests that ever say harmful while the risk is as before plus the tolerance."""
    wrong = 0
    for _ in range(streams):
        test = RiskTest(rng.random(200) < 0.1, tolerance=0.02, alpha=alpha)
        losses = np.split(rng.random(n) < 0.12, n // 12)
        wrong += any(test.update(batch).harmful for batch in losses)
    return wrong / streams


def until_surely_below(mean: float, bound: float, rng: np.random.Generator) -> int:
    """Return after how many labels, twelve at a time, a proportion is surely below a bound."""
    sequence = ProportionSequence()
    while True:
        bounds = sequence.update(rng.random(12) < mean)
        if bounds.surely_below(bound):
            return bounds.n


def main(windows: int, only: str) -> None:
    sizes = (12, 50, 300)
    rng = np.random.default_rng(0)
    worst: dict[tuple[str, str], list[list[float | None]]] = defaultdict(list)
    print(f"share of {windows} windows whose 95% interval holds the truth, at n = 12 / 50 / 300")
    for group, name, build in scenarios():
        if only not in group:
            continue
        scenario = build()
        columns = [covered(scenario, n, windows, rng) for n in sizes]
        print(f"\n{group}: {name}")
        for metric in columns[0]:
            row = [column[metric] for column in columns]
            worst[group, metric].append(row)
            print(f"  {metric:20}", *(f"{100 * x:6.1f}" if x is not None else "     -" for x in row))
    print("\nover all scenarios, lowest - highest")
    for (group, metric), rows in worst.items():
        ends = [[x for x in column if x is not None] for column in zip(*rows, strict=True)]
        text = (f"{100 * min(c):5.1f} -{100 * max(c):5.1f}" if c else "-" for c in ends)
        print(f"  {group:20} {metric:20}", *text, sep="  ")
    if only not in "sequences":
        return
    print(f"\nshare of {windows} streams of 2,000 whose bounds are ever wrong, alpha 0.05")
    for name in STREAMS:
        found = f"ConfidenceSequence {ever_wrong(ConfidenceSequence, name, windows, 2_000, rng):.4f}"
        if name.startswith("0/1"):
            found += f"  ProportionSequence {ever_wrong(ProportionSequence, name, windows, 2_000, rng):.4f}"
        print(f"  {name:20} {found}")
    print(f"  RiskTest at its limit: {ever_harmful(windows, 1_200, rng):.4f} ever harmful")
    print("\nlabels, twelve at a time, until accuracy is surely below 0.85 (median, 90th percentile of 500)")
    for mean in (0.8, 0.75, 0.7, 0.5):
        found = [until_surely_below(mean, 0.85, rng) for _ in range(500)]
        print(f"  accuracy {mean}: {np.median(found):.0f}, {np.percentile(found, 90):.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000, sys.argv[2] if len(sys.argv) > 2 else "")
