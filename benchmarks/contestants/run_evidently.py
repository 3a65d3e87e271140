"""evidently's default preset for drift: on a large table, and its false alarms on small windows."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from _table import read_table
from _timing import Task, hand_over, read_task
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def drift(baseline: Dataset, window: Dataset) -> tuple[int, float]:
    """Return how many columns the preset calls drifted, and their share."""
    value = Report([DataDriftPreset()]).run(window, baseline).dict()["metrics"][0]["value"]
    return value["count"], value["share"]


def table(task: Task) -> dict[str, float]:
    def dataset(part: str) -> Dataset:
        columns = read_table(task.folder, part)
        numbers = [name for name in columns if name.startswith("number")]
        categories = [name for name in columns if name not in numbers]
        frame = pd.DataFrame(columns).astype(dict.fromkeys(categories, "category"))
        return Dataset.from_pandas(
            frame, DataDefinition(numerical_columns=numbers, categorical_columns=categories)
        )

    baseline, window = dataset("baseline"), dataset("window")
    return {"table": task.median(lambda: drift(baseline, window))}


def false_alarms(task: Task) -> dict[str, float]:
    """Return the shares of clean windows flagged; up to 1,000 reference rows the preset tests otherwise."""
    data = np.load(task.folder / "clean.npz")
    names = [str(name) for name in data["names"]]

    def dataset(rows: np.ndarray) -> Dataset:
        return Dataset.from_pandas(pd.DataFrame(rows, columns=names), DataDefinition(numerical_columns=names))

    results = {}
    for size in (data["baselines"].shape[1], 1_000):
        flags = []
        for baseline, windows in zip(data["baselines"], data["windows"], strict=True):
            reference = dataset(baseline[:size])
            # A report takes most of a second.
            flags += [drift(reference, dataset(window)) for window in windows[: data["fewer"]]]
        name = f"evidently, DataDriftPreset, {size:,} references"
        results[f"{name}, data set drifted"] = float(np.mean([share >= 0.5 for _, share in flags]))
        results[f"{name}, any column"] = float(np.mean([count > 0 for count, _ in flags]))
    return results


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    task = read_task()
    hand_over({"seconds": table(task), "false alarms": false_alarms(task)})
