"""How much processor time all metrics of a window take: `python tests/stats/performance/timing.py`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time

import numpy as np

from tidegauge.stats.performance import (
    ConfidenceSequence,
    ProportionSequence,
    classify,
    classify_multilabel,
    regress,
    score_probabilities,
)


def seconds(work: Callable[[], object], times: int) -> float:
    """Return the median of some runs after one that does not count."""
    work()
    found = []
    for _ in range(times):
        start = process_time()
        work()
        found.append(process_time() - start)
    return median(found)


def report(n: int, times: int) -> None:
    rng = np.random.default_rng(0)
    p = rng.random(n)
    sick = rng.random(n) < p
    labels = np.where(sick, "sick", "well").tolist()
    predictions = np.where(p > 0.5, "sick", "well").tolist()
    rows, places = rng.dirichlet(np.ones(4), n), rng.integers(0, 4, n)
    four = np.array(list("abcd"))[places].tolist()
    many = rng.random((n, 5)) < 0.3
    works: dict[str, Callable[[], object]] = {
        "classify, two classes": lambda: classify(labels, predictions, "sick"),
        "score_probabilities, two classes": lambda: score_probabilities(labels, p, ("well", "sick"), "sick"),
        "classify, four classes": lambda: classify(four, four),
        "score_probabilities, four classes": lambda: score_probabilities(four, rows, "abcd"),
        "classify_multilabel, five labels": lambda: classify_multilabel(many, many, "abcde"),
        "regress": lambda: regress(p, p[::-1]),
        "ConfidenceSequence.update": lambda: ConfidenceSequence().update(p),
        "ProportionSequence.update": lambda: ProportionSequence().update(sick),
    }
    for name, work in works.items():
        print(f"{n:>9,} rows  {name:34} {1_000 * seconds(work, times):9.2f} ms")


if __name__ == "__main__":
    report(12, 500)
    report(1_000_000, 5)
