"""What a window is measured by: health, drift and performance, from observations and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from tidegauge.domain.labels import label_text
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, RunImage
from tidegauge.domain.observation import Label
from tidegauge.domain.status import Status
from tidegauge.services.baselines import Baseline
from tidegauge.stats.images import compare
from tidegauge.stats.latency import summarise
from tidegauge.stats.performance.classification import Classification, classify
from tidegauge.stats.performance.confidence_sequence import ProportionSequence
from tidegauge.stats.performance.expected import expect
from tidegauge.stats.scores import score_images, score_of_categories
from tidegauge.stats.two_sample.categories import Categories
from tidegauge.storage.observations import Observations, moment

#: Of all days of a year together: a confidence sequence a day, each for a share of it.
SURE = 0.05 / 365
_DRAWS = 250  # of a window's labels: a dozen images leave the interval wide anyhow
_PERMUTATIONS = 199  # of a window's p-value: evidence, not it, decides on alarms

Counts = dict[str, tuple[int, int]]


def health(observed: Observations, start: datetime, end: datetime) -> list[Metric]:
    """Measure the answers of a window."""
    first = observed.take(np.flatnonzero(observed.index == 0))  # one row a request
    n = len(first)
    latency = summarise(np.where(first.latency >= 0, first.latency / 1000, np.nan))
    bad = int(((first.status >= 400) & (first.status < 500)).sum())
    failed = int((first.status >= 500).sum())
    values = {
        "requests": (float(n), n),
        "requests_rate": (n / (end - start).total_seconds(), n),
        "4xx_requests": (float(bad), n),
        "5xx_requests": (float(failed), n),
        "4xx_requests_rate": (bad / n if n else None, n),
        "5xx_requests_rate": (failed / n if n else None, n),
        "latency_p50": (latency.p50, latency.n),
        "latency_p95": (latency.p95, latency.n),
        "latency_p99": (latency.p99, latency.n),
        "latency_avg": (latency.mean, latency.n),
    }
    return [
        Metric(name, MetricType.HEALTH, value, count, Status.UNKNOWN)
        for name, (value, count) in values.items()
    ]


def predictions(observed: Observations, classes: tuple[str, ...]) -> list[str]:
    """Name the class that each answered observation was given, in order; failed ones are left out."""
    answered = observed.scores[~np.isnan(observed.scores).any(axis=1)] if len(observed) else observed.scores
    if not answered.size:
        return []
    best = answered.argmax(axis=1)
    return [classes[choice] if classes else str(choice) for choice in best]


def drift(
    algorithm: str, baseline: Baseline, observed: Observations
) -> tuple[list[Metric], tuple[RunImage, ...]]:
    """Compare a window with the baseline: its images, and what was predicted."""
    metrics: list[Metric] = []
    images: tuple[RunImage, ...] = ()
    if baseline.image is not None and observed.images is not None and observed.seen.any():
        found = compare(baseline.image, observed.images, _PERMUTATIONS)
        detail: dict[str, Any] = {"p_value": found.p_value, "attributes": dict(found.attributes)}
        score = score_images(algorithm, baseline.image, found)
        metrics.append(Metric("image", MetricType.DRIFT, score, found.n, Status.UNKNOWN, detail=detail))
        seen = observed.take(np.flatnonzero(observed.seen))
        named = predictions(seen, baseline.classes)
        images = tuple(
            RunImage(
                str(seen.event_id[k]),
                int(seen.index[k]),
                moment(int(seen.time[k])),
                named[k],
                float(seen.scores[k].max()),
                float(found.strangeness[k]),
                baseline.paths[found.nearest[k]],
            )
            for k in range(len(seen))
        )
    elif baseline.image is not None:
        metrics.append(Metric("image", MetricType.DRIFT, None, 0, Status.UNKNOWN))
    if baseline.predictions:
        counts = dict(Counter(predictions(observed, baseline.classes)))
        moved = score_of_categories(algorithm)(Categories.of(baseline.predictions), Categories.of(counts))
        detail = {"window": counts, "baseline": dict(baseline.predictions)}
        metrics.append(
            Metric("prediction", MetricType.DRIFT, moved.score, moved.n, Status.UNKNOWN, detail=detail)
        )
    return metrics, images


def pairs(
    labels: Sequence[Label], observed: Observations, classes: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Return labels and the answers that they judge; a label by event id finds its answer in the log."""
    answers: dict[tuple[str, int], str] = {}
    if any(not label.output for label in labels):
        answered = observed.take(np.flatnonzero(~np.isnan(observed.scores).any(axis=1)))
        keys = zip(answered.event_id, answered.index.tolist(), strict=True)
        answers = dict(zip(keys, predictions(answered, classes), strict=True))
    truth, found = [], []
    for label in labels:
        output = label.output or answers.get((label.event_id, label.index))
        if output:
            truth.append(label.label)
            found.append(output)
    return truth, found


def performance(truth: Sequence[str], outputs: Sequence[str], positive: str | None) -> list[Metric]:
    """Measure answers against their labels."""
    result = classify(truth, outputs, positive)
    detail = {"confusion": result.confusion, "classes": result.classes, "positive": result.positive}
    hits = proportions(result)
    return [
        Metric(
            name,
            MetricType.PERFORMANCE,
            found.value,
            found.n,
            Status.UNKNOWN,
            found.low,
            found.high,
            {
                **(detail if name == "accuracy" else {}),
                **({"hits": hits[name]} if name in hits else {}),
            },
        )
        for name, found in result.metrics.items()
    ]


def expected(baseline: Baseline, observed: Observations, *, alarm: bool) -> list[Metric]:
    """Estimate performance from the scores, before any label has come.

    It is unsafe, and says why, where the scores have left the held-out ones or the drift alarm is on.
    """
    if baseline.expectation is None:
        return []
    answered = observed.scores[~np.isnan(observed.scores).any(axis=1)] if len(observed) else observed.scores
    rows = answered.reshape(-1, len(baseline.expectation.classes)).astype(np.float64)
    found = expect(
        baseline.expectation, rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-9), draws=_DRAWS
    )
    reason = "The drift alarm is on." if alarm else found.reason
    detail = {"unsafe": reason} if reason else {}
    return [
        Metric(
            f"expected_{name}",
            MetricType.PERFORMANCE,
            estimate.value,
            estimate.n,
            Status.UNKNOWN,
            estimate.low,
            estimate.high,
            detail,
        )
        for name, estimate in found.metrics.items()
        if name != "roc_auc"  # of a dozen it says nothing
    ]


def proportions(result: Classification) -> Counts:
    """Return hits and samples of the metrics that are proportions."""
    if not result.classes:
        return {}
    table = np.array(result.confusion, np.int64)
    found = {"accuracy": (int(np.trace(table)), int(table.sum()))}
    if result.positive is not None and result.positive in result.classes:
        place = result.classes.index(result.positive)
        hit, said, truly = int(table[place, place]), int(table[:, place].sum()), int(table[place].sum())
        rest = int(table.sum()) - said - truly + hit
        found |= {
            "precision": (hit, said),
            "recall": (hit, truly),
            "specificity": (rest, int(table.sum()) - truly),
        }
    return found


def hits(metrics: Iterable[Metric]) -> Counts:
    """Return hits and samples that metrics were made of."""
    return {
        metric.name: (int(metric.detail["hits"][0]), int(metric.detail["hits"][1]))
        for metric in metrics
        if "hits" in metric.detail
    }


def surely(counts: tuple[int, int]) -> tuple[float, float] | None:
    """Return bounds of a proportion that hold at all times of the day at once; None without samples.

    Assumption: see ``ProportionSequence``. Over all days of a year they are wrong with a chance of 5%.
    """
    right, n = counts
    if n <= 0:
        return None
    sequence = ProportionSequence(SURE)
    sequence.ones, sequence.n = right, n
    bounds = sequence.update([])
    return bounds.low, bounds.high


def positive_class(configured: str, baseline: Baseline) -> str | None:
    """Return the class that precision and recall speak of."""
    return label_text(configured) or baseline.positive
