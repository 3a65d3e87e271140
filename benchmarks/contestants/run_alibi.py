"""alibi-detect with CPU torch: MMD, Kolmogorov-Smirnov, tables, and its false alarms."""

from __future__ import annotations

import logging

import numpy as np
import torch
from _timing import Task, hand_over, read_task
from alibi_detect.cd import KSDrift, MMDDrift, TabularDrift


def vectors(task: Task) -> dict[str, float]:
    data = np.load(task.folder / "vectors.npz")
    mmd = MMDDrift(data["baseline"], backend="pytorch", n_permutations=100, device="cpu")
    ks = KSDrift(data["baseline"])
    results = {}
    for n in (15, 1_000):
        results[f"mmd {n}"] = task.median(lambda window=data[f"window {n}"]: mmd.predict(window))
    for n in (15, 1_000, 10_000):
        results[f"ks {n}"] = task.median(lambda window=data[f"window {n}"]: ks.predict(window))
    return results


def table(task: Task) -> dict[str, float]:
    data = np.load(task.folder / "table.npz")
    first, columns = (
        len(data["baseline numbers"]),
        len(data["baseline numbers"]) + len(data["baseline codes"]),
    )
    baseline, window = (
        np.vstack([data[f"{part} numbers"], data[f"{part} codes"]]).T for part in ("baseline", "window")
    )
    detector = TabularDrift(baseline, categories_per_feature=dict.fromkeys(range(first, columns)))
    return {"table": task.median(lambda: detector.predict(window))}


def false_alarms(task: Task) -> dict[str, float]:
    """Return the share of clean windows that p < 0.05, corrected after Bonferroni, flags."""
    data = np.load(task.folder / "clean.npz")
    flags = []
    for baseline, windows in zip(data["baselines"], data["windows"], strict=True):
        detector = KSDrift(baseline, p_val=0.05)
        flags += [detector.predict(window)["data"]["is_drift"] for window in windows]
    return {"alibi-detect, KSDrift p < 0.05 with Bonferroni": float(np.mean(flags))}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    task = read_task()
    hand_over({"seconds": vectors(task) | table(task), "false alarms": false_alarms(task)})
