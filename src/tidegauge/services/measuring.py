"""What a window is measured by: health, drift and performance, from observations and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.labels import label_text
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import PREDICTION, Metric, RunImage
from tidegauge.domain.observation import Label
from tidegauge.domain.status import Status
from tidegauge.services.baselines import Baseline
from tidegauge.services.tabular.drift import mean_of, table_drift
from tidegauge.stats.images import ImageBaseline, compare
from tidegauge.stats.latency import summarise
from tidegauge.stats.performance.classification import Classification, classify
from tidegauge.stats.performance.confidence_sequence import ProportionSequence
from tidegauge.stats.performance.expected import expect
from tidegauge.stats.performance.regression import regress
from tidegauge.stats.performance.wilson import Estimate
from tidegauge.stats.scores import score_images, score_of_categories, score_of_numbers
from tidegauge.stats.two_sample.categories import Categories
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.storage.observations import Observations, moment

#: Of all days of a year together: a confidence sequence a day, each for a share of it.
SURE = 0.05 / 365
SAMPLING = "sampling"  # in the detail of the number of requests: a sentence on what part of them is logged
_DRAWS = 250  # of a window's labels: a dozen images leave the interval wide anyhow
_STRANGERS = 5  # unknown classes that are named
_PERMUTATIONS = 199  # of a window's p-value: evidence, not it, decides on alarms

Counts = dict[str, tuple[int, int]]


def health(observed: Observations, start: datetime, end: datetime) -> list[Metric]:
    """Measure the answers of a window: of all requests, where a part of them is logged.

    Each counts for as many as it stands for; the samples of a metric are those that were observed.
    """
    first = observed.take(np.flatnonzero(observed.index == 0))  # one row a request
    n = len(first)
    weight = None if (first.weight == 1).all() else first.weight
    latency = summarise(np.where(first.latency >= 0, first.latency / 1000, np.nan), weight)
    total = float(first.weight.sum())
    bad = float(first.weight[(first.status >= 400) & (first.status < 500)].sum())
    failed = float(first.weight[first.status >= 500].sum())
    values = {
        "requests": (float(round(total)), n),
        "requests_rate": (total / (end - start).total_seconds(), n),
        "4xx_requests": (float(round(bad)), n),
        "5xx_requests": (float(round(failed)), n),
        "4xx_requests_rate": (bad / total if n else None, n),
        "5xx_requests_rate": (failed / total if n else None, n),
        "latency_p50": (latency.p50, latency.n),
        "latency_p95": (latency.p95, latency.n),
        "latency_p99": (latency.p99, latency.n),
        "latency_avg": (latency.mean, latency.n),
    }
    sampling = {} if weight is None else {SAMPLING: sampled(first)}
    return [
        Metric(
            name,
            MetricType.HEALTH,
            value,
            count,
            Status.UNKNOWN,
            detail=sampling if name == "requests" else {},
        )
        for name, (value, count) in values.items()
    ]


def sampled(observed: Observations) -> str:
    """Say which part of the requests is logged, of answered ones if there are any: all failed ones may be."""
    answered = observed.weight[observed.status < 400]
    weights = answered if len(answered) else observed.weight
    least, most = weights.min(), weights.max()
    if least == most:
        return f"1 in {most:.4g} requests is logged; counts are scaled by {most:.4g}."
    return (
        f"From 1 in {most:.4g} to 1 in {least:.4g} requests are logged; counts are scaled by what each "
        f"stands for, and drift looks at a part of them that stands for {most:.4g} each."
    )


def predictions(observed: Observations, classes: tuple[str, ...]) -> list[str]:
    """Name the class that each answered observation was given, in order; failed ones are left out."""
    answered = observed.scores[~np.isnan(observed.scores).any(axis=1)] if len(observed) else observed.scores
    if not answered.size:
        return []
    best = answered.argmax(axis=1)
    return [classes[choice] if classes else str(choice) for choice in best]


def answers(observed: Observations, baseline: Baseline) -> list[str]:
    """Return what each answered observation was told, in order: its class, or a number as text."""
    if not baseline.numbers:
        return predictions(observed, baseline.classes)
    return [label_text(number) for number in numbers(observed).tolist()]


def numbers(observed: Observations) -> npt.NDArray[np.float64]:
    """Return the numbers that answered observations were told, in order."""
    answered = observed.scores[~np.isnan(observed.scores).any(axis=1)] if len(observed) else observed.scores
    return answered.ravel().astype(np.float64)


def drift(
    algorithm: str, baseline: Baseline, observed: Observations, *, of_predictions: bool = True
) -> tuple[list[Metric], tuple[RunImage, ...]]:
    """Compare a window with the baseline: its images or the columns of its table, and what was predicted."""
    metrics: list[Metric] = []
    images: tuple[RunImage, ...] = ()
    if baseline.image is not None:
        metric, images = _images(algorithm, baseline, baseline.image, observed)
        metrics.append(metric)
    if baseline.table is not None:
        metrics += table_drift(algorithm, baseline.table, observed)
    if of_predictions:
        metrics += _predictions(algorithm, baseline, observed)
    return metrics, images


def _images(
    algorithm: str, baseline: Baseline, image: ImageBaseline, observed: Observations
) -> tuple[Metric, tuple[RunImage, ...]]:
    seen = observed.take(np.flatnonzero(observed.seen))
    images = baseline.images_of(seen)
    if images is None or not len(seen):
        return Metric("image", MetricType.DRIFT, None, 0, Status.UNKNOWN), ()
    found = compare(image, images, _PERMUTATIONS)
    detail: dict[str, Any] = {"p_value": found.p_value, "attributes": dict(found.attributes)}
    score = score_images(algorithm, image, found)
    metric = Metric("image", MetricType.DRIFT, score, found.n, Status.UNKNOWN, detail=detail)
    named = answers(seen, baseline)
    return metric, tuple(
        RunImage(
            str(seen.event_id[k]),
            int(seen.index[k]),
            moment(int(seen.time[k])),
            named[k],
            None if baseline.numbers else float(seen.scores[k].max()),
            float(found.strangeness[k]),
            baseline.paths[found.nearest[k]],
        )
        for k in range(len(seen))
    )


def _predictions(algorithm: str, baseline: Baseline, observed: Observations) -> list[Metric]:
    detail: dict[str, Any]
    if baseline.outputs is not None:
        told = numbers(observed)
        moved = score_of_numbers(algorithm)(baseline.outputs, Numbers.of(told))
        detail = {"mean": mean_of(told), "baseline_mean": mean_of(baseline.outputs.values)}
    elif baseline.predictions:
        counts = dict(Counter(predictions(observed, baseline.classes)))
        before = Categories.of(baseline.predictions)
        moved = score_of_categories(algorithm)(before, Categories.of(counts))
        detail = {"window": counts, "baseline": dict(baseline.predictions)}
    else:
        return [Metric(PREDICTION, MetricType.DRIFT, None, len(answers(observed, baseline)), Status.UNKNOWN)]
    return [Metric(PREDICTION, MetricType.DRIFT, moved.score, moved.n, Status.UNKNOWN, detail=detail)]


def pairs(labels: Sequence[Label], observed: Observations, baseline: Baseline) -> tuple[list[str], list[str]]:
    """Return labels and the answers that they judge; a label by event id finds its answer in the log.

    An answer that is labelled in a file and by event id counts once, as the latter says.
    """
    told: dict[tuple[str, int], str] = {}
    if any(not label.output for label in labels):
        answered = observed.take(np.flatnonzero(~np.isnan(observed.scores).any(axis=1)))
        keys = zip(answered.event_id, answered.index.tolist(), strict=True)
        told = dict(zip(keys, answers(answered, baseline), strict=True))
    by_id = [(label, told.get((label.event_id, label.index))) for label in labels if not label.output]
    judged = Counter((label.time, output) for label, output in by_id if output)
    truth, found = [], []
    for label, output in [*by_id, *((label, label.output) for label in labels if label.output)]:
        if label.output and judged[label.time, label.output]:
            judged[label.time, label.output] -= 1
        elif output:
            truth.append(label.label)
            found.append(output)
    return truth, found


def of_known_classes(
    truth: Sequence[str], outputs: Sequence[str], classes: Sequence[str]
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Leave out what names a class that the model does not have, and say so; all is known without classes."""
    if not classes:
        return list(truth), list(outputs), ()
    known = set(classes)
    kept = [
        (label, output)
        for label, output in zip(truth, outputs, strict=True)
        if label in known and output in known
    ]
    strangers = Counter(
        name for pair in zip(truth, outputs, strict=True) for name in dict.fromkeys(pair) if name not in known
    )
    if not strangers:
        return list(truth), list(outputs), ()
    words = "label or answer names" if len(truth) - len(kept) == 1 else "labels or answers name"
    named = ", ".join(f"{name[:60]!r} ({count})" for name, count in strangers.most_common(_STRANGERS))
    problem = (
        f"{len(truth) - len(kept)} {words} a class that the model does not have: {named}; left out. "
        f"Its classes are {', '.join(classes)}."
    )
    return [label for label, _ in kept], [output for _, output in kept], (problem,)


def performance(truth: Sequence[str], outputs: Sequence[str], positive: str | None) -> list[Metric]:
    """Measure answers that are classes against their labels."""
    result = classify(truth, outputs, positive)
    detail = {"confusion": result.confusion, "classes": result.classes, "positive": result.positive}
    hits = proportions(result)
    return [
        _measured(
            name,
            found,
            {
                **(detail if name == "accuracy" else {}),
                **({"hits": hits[name]} if name in hits else {}),
            },
        )
        for name, found in result.metrics.items()
    ]


def regression(truth: Sequence[str], outputs: Sequence[str]) -> tuple[list[Metric], tuple[str, ...]]:
    """Measure answers that are numbers against their labels, and say what is none."""
    pairs = [(_number(label), _number(output)) for label, output in zip(truth, outputs, strict=True)]
    known = [(label, output) for label, output in pairs if label is not None and output is not None]
    result = regress([label for label, _ in known], [output for _, output in known])
    wrong = [label for label, (number, _) in zip(truth, pairs, strict=True) if number is None]
    problems = tuple(f"The label {label[:60]!r} is no number; it is left out." for label in wrong)
    return [_measured(name, found, {}) for name, found in result.metrics.items()], problems


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _measured(name: str, found: Estimate, detail: dict[str, Any]) -> Metric:
    low, high = found.low, found.high
    return Metric(name, MetricType.PERFORMANCE, found.value, found.n, Status.UNKNOWN, low, high, detail)


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
