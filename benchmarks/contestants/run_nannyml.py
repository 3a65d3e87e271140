"""nannyml's calculator of univariate drift: on a large table, and its false alarms on small windows."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from _table import read_table
from _timing import Task, hand_over, read_task
from nannyml import UnivariateDriftCalculator


def table(task: Task) -> dict[str, float]:
    def frame(part: str) -> pd.DataFrame:
        columns = read_table(task.folder, part)
        categories = [name for name in columns if name.startswith("category")]
        return pd.DataFrame(columns).astype(dict.fromkeys(categories, "category"))

    baseline, window = frame("baseline"), frame("window")
    calculator = UnivariateDriftCalculator([*baseline.columns]).fit(baseline)
    binned = UnivariateDriftCalculator(
        [*baseline.columns], continuous_methods=["kolmogorov_smirnov"], categorical_methods=["chi2"]
    ).fit(baseline)
    return {
        "table": task.median(lambda: calculator.calculate(window)),
        "table binned": task.median(lambda: binned.calculate(window)),
    }


def false_alarms(task: Task) -> dict[str, float]:
    """Return the shares of clean windows with an alert for any column, thresholds by default."""
    data = np.load(task.folder / "clean.npz")
    names = [str(name) for name in data["names"]]
    size = data["windows"].shape[2]
    results = {}
    for method in ("jensen_shannon", "kolmogorov_smirnov"):
        flags = []
        for baseline, windows in zip(data["baselines"], data["windows"], strict=True):
            calculator = UnivariateDriftCalculator(names, continuous_methods=[method], chunk_size=size)
            calculator.fit(pd.DataFrame(baseline, columns=names))
            stream = pd.DataFrame(windows.reshape(-1, len(names)), columns=names)
            found = calculator.calculate(stream).filter(period="analysis").to_df()
            flags.append(found.xs("alert", axis=1, level=2).any(axis=1).to_numpy())
        results[f"nannyml, {method}, any column"] = float(np.mean(flags))
    return results


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    task = read_task()
    hand_over({"seconds": table(task), "false alarms": false_alarms(task)})
