"""Tidegauge: everything that the others do, and what only it has."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
from _table import read_table
from _timing import Task, hand_over, read_task

from tidegauge.stats import tables
from tidegauge.stats.evidence import Evidence
from tidegauge.stats.images import extract
from tidegauge.stats.two_sample import Numbers, Vectors, kolmogorov_smirnov_columns, mmd

ALPHA = 0.001
FEATURES = 76


def vectors(task: Task) -> dict[str, float]:
    data = np.load(task.folder / "vectors.npz")
    reference = Vectors.of(data["baseline"])
    columns = [Numbers.of(column) for column in data["baseline"].T]
    rng = np.random.default_rng(5)
    results = {}
    for n in (15, 1_000):
        results[f"mmd {n}"] = task.median(
            lambda window=data[f"window {n}"]: mmd(reference, window, permutations=100, rng=rng)
        )
    for n in (15, 1_000, 10_000):
        results[f"ks {n}"] = task.median(
            lambda window=data[f"window {n}"]: kolmogorov_smirnov_columns(columns, window)
        )
    return results


def table(task: Task) -> dict[str, float]:
    """Time a comparison and, apart, one that begins with the fit."""
    baseline, window = read_table(task.folder, "baseline"), read_table(task.folder, "window")
    fitted = tables.fit_baseline(baseline)
    return {
        "table": task.median(lambda: tables.compare(fitted, window)),
        "table afresh": task.median(lambda: tables.compare(tables.fit_baseline(baseline), window)),
    }


def images(task: Task) -> dict[str, float]:
    decoded = np.load(task.folder / "images.npy")
    return {"image": task.median(lambda: extract(decoded)) / len(decoded)}


def baseline_of(rows: np.ndarray) -> SimpleNamespace:
    """Split a reference into the part that lays the grid and the part that is ranked."""
    half = len(rows) // 2
    names = tuple(f"feature {k}" for k in range(rows.shape[1]))
    weights = np.full(len(names), 1 / len(names))
    fitted, ranked = rows[:half], rows[half:]
    return SimpleNamespace(features=names, weights=weights, fitted=fitted, ranked=ranked, tolerated=None)


def evidence(task: Task) -> dict[str, float]:
    rng = np.random.default_rng(4)
    monitor = Evidence(baseline_of(rng.normal(size=(1_000, FEATURES))), alpha=ALPHA, rng=rng)
    batches = itertools.cycle(rng.normal(size=(100, 12, FEATURES)))
    return {"evidence": task.median(lambda: monitor.update(next(batches))) / 12}


def false_alarms(task: Task) -> dict[str, float]:
    """Return the share of clean windows that raise the alarm; evidence begins again after one."""
    data = np.load(task.folder / "clean.npz")
    flags = []
    for number, (baseline, windows) in enumerate(zip(data["baselines"], data["windows"], strict=True)):
        monitor = Evidence(baseline_of(baseline), alpha=ALPHA, rng=np.random.default_rng(number))
        for window in windows:
            flags.append(monitor.update(window).alarm)
            if flags[-1]:
                monitor.acknowledge()
    return {f"Tidegauge, evidence at alpha {ALPHA:g}": float(np.mean(flags))}


if __name__ == "__main__":
    task = read_task()
    seconds = vectors(task) | table(task) | images(task) | evidence(task)
    hand_over({"seconds": seconds, "false alarms": false_alarms(task)})
