"""What charts are called, what they show, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass

from tidegauge.charts.view import View, estimate_of, metric_of
from tidegauge.domain.metrics import MetricType, larger_is_worse


@dataclass(frozen=True)
class About:
    """``text`` stands in the place of a chart that cannot be seen; ``note`` says how to read it."""

    title: str
    text: str
    note: str = ""


def about(name: str, view: View) -> About:
    """Return what a chart is called, what it shows and how it is read."""
    answers, names = view.answers, view.series.names
    mean = _spans(view)
    own = {
        "timeline": About(
            "Statuses over time",
            "Status of drift, performance and health in each window",
            "A span has the worst status of its windows. A click opens the window.",
        ),
        "evidence": About(
            "Evidence of drift",
            "Evidence of drift after each window, in powers of ten, against the alarm",
            "In powers of ten. Evidence adds up over the whole life of the monitor. Without drift it ever "
            f"passes the dashed line with a chance of at most {view.alpha:g}.",
        ),
        "drift": About("Drift", "Largest score of any feature in each window"),
        "requests": About("Requests", "Requests, 4xx and 5xx answers in each window", mean),
        "latency": About(
            "Latency",
            "p50, p95 and p99 of the latency in milliseconds in each window",
            f"In milliseconds. {mean}".strip(),
        ),
        "utilization": About("Utilization", "Share of a core and of the memory that the model server uses"),
        "predictions": About(
            "Predictions beside the baseline",
            "How often each class was predicted, now and in the baseline",
            f"{_count(answers.windows, 'answers')}The baseline: answers to held-out training data.",
        ),
        "confusion": About(
            "Confusion matrix",
            "How often each class was predicted for each label",
            f"{_count(answers.labelled, 'labels')}A row is a label, and a shade its share of the row.",
        ),
    }
    return own.get(name) or _of_metric(metric_of(name), view, estimate_of(metric_of(name), names))


def _of_metric(name: str, view: View, estimated: str) -> About:
    kind = dict(view.series.names).get(name, MetricType.DRIFT)
    plain = name.replace("_", " ")
    threshold = view.thresholds.get(name)
    bands = ""
    if threshold:
        way = "above" if larger_is_worse(name, threshold.type) else "below"
        bands = f"{way.capitalize()} {threshold.soft:g} is warning, {way} {threshold.hard:g} critical."
    if kind is MetricType.DRIFT:
        read = "0: as in the baseline; larger: farther from it."
        return About(
            f"Drift of the {plain}",
            f"Score of the {plain} in each window against its soft and hard thresholds",
            " ".join(part for part in (read, bands, _spans(view)) if part),
        )
    title = plain[:1].upper() + plain[1:]
    if kind is MetricType.HEALTH:
        return About(title, f"{plain} in each window and its thresholds", bands)
    beside = (
        f" Estimated is {estimated.replace('_', ' ')}, from the scores before any label came."
        if estimated
        else ""
    )
    return About(
        f"{title}, estimated and realised" if estimated else title,
        f"{plain} in each window with its 95% interval and thresholds",
        " ".join(
            part for part in (f"The shaded band is the 95% interval.{beside}", bands, _spans(view)) if part
        ),
    )


def _spans(view: View) -> str:
    """Say how to read spans of several windows; empty where each is one."""
    if all(span.windows == 1 for span in view.series.spans):
        return ""
    return "The line is the mean of a span, and thin upright lines reach to its extremes."


def _count(windows: int, what: str) -> str:
    return f"Of {windows} window{'' if windows == 1 else 's'} with {what}. " if windows else ""
