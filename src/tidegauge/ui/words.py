"""How pages word times, numbers and findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import exp
from urllib.parse import quote

from tidegauge.domain.metrics import larger_is_worse
from tidegauge.domain.monitor import EvidenceResult, Metric, Monitor, MonitorRun, RunImage
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold

_ABBREVIATIONS = frozenset({"auc", "mae", "mape", "mcc", "mse", "pr", "rmse", "roc", "smape"})
_MOVED = 2.0  # standard deviations from which an attribute is named


def utc(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def number(value: float | None) -> str:
    """Word a number with three digits, or a dash for none.

    >>> number(0.123456), number(1500.0), number(None)
    ('0.123', '1,500', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def size(count: int) -> str:
    """Word a number of bytes.

    >>> size(812), size(15_300_000)
    ('812 B', '15.3 MB')
    """
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"


def took(span: timedelta | None) -> str:
    """Word how long something took, or a dash for what is not over.

    >>> took(timedelta(seconds=7.3)), took(timedelta(seconds=200)), took(timedelta(hours=30)), took(None)
    ('7 s', '3 min 20 s', '30 h 0 min', '-')
    """
    if span is None:
        return "-"
    seconds = round(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def plain(name: str) -> str:
    """Turn an identifier into words.

    >>> plain("f1_score"), plain("mcc")
    ('f1 score', 'MCC')
    """
    return " ".join(word.upper() if word in _ABBREVIATIONS else word for word in str(name).split("_"))


def past(metric: Metric, threshold: Threshold) -> str:
    """Say which of its thresholds a metric that is not healthy is past.

    >>> from tidegauge.domain.metrics import MetricType
    >>> bound = Threshold("accuracy", MetricType.PERFORMANCE, 0.85, 0.8)
    >>> past(Metric("accuracy", MetricType.PERFORMANCE, 0.75, 12, Status.CRITICAL), bound)
    'below its hard threshold 0.8'
    """
    side = "above" if larger_is_worse(metric.name, metric.type) else "below"
    which, bound = ("hard", threshold.hard) if metric.status is Status.CRITICAL else ("soft", threshold.soft)
    return f"{side} its {which} threshold {number(bound)}"


def metric(found: Metric | None) -> str:
    """Word a metric with its interval."""
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def places(config: MonitorConfig) -> list[tuple[str, str]]:
    """Say where a monitor has its data and its metrics from, where that is not the usual place.

    >>> places(MonitorConfig()), _dataset("logs", None, "ward"), _dataset("logs", 2, "")
    ([], 'dataset logs, as it is now, below ward', 'dataset logs, v2')
    """
    drift, performance = config.drift, config.performance
    found = []
    if drift.predict_data == "dataset":
        where = _dataset(drift.predict_dataset, drift.predict_version, drift.predict_prefix)
        found.append(("Requests and predictions", where))
    if drift.custom:
        found.append(("Drift", f"{drift.custom.function} of {drift.custom.code} v{drift.custom.version}"))
    if performance.enabled and performance.custom:
        custom = performance.custom
        found.append(("Performance", f"{custom.function} of {custom.code} v{custom.version}"))
    elif performance.enabled and performance.compute != "labelled_data":
        found.append(("Performance", plain(performance.compute)))
    if performance.enabled and performance.dataset:
        where = _dataset(performance.dataset, performance.dataset_version, performance.prefix)
        found.append(("Labels" if performance.compute != "precomputed_metrics" else "Metrics", where))
    return found


def _dataset(name: str, version: int | None, prefix: str) -> str:
    state = "as it is now" if version is None else f"v{version}"
    return f"dataset {name}, {state}{f', below {prefix}' if prefix else ''}"


def rows(metrics: Iterable[Metric]) -> list[str]:
    """Say of metrics that files have brought which rows there were."""
    return [
        f"{plain(metric.name)}: the latest of {metric.detail['rows']} rows"
        f"{f'; {count} corrected' if (count := metric.detail['corrections']) else ''}"
        for metric in metrics
        if "corrections" in metric.detail and (metric.detail["rows"] > 1 or metric.detail["corrections"])
    ]


def features(metrics: Iterable[Metric]) -> list[tuple[Metric, str]]:
    """Return the columns of a table by score, the farthest first, each with what it was like."""
    columns = [metric for metric in metrics if "missing" in metric.detail]
    return [
        (metric, feature(metric)) for metric in sorted(columns, key=lambda metric: -(metric.value or 0.0))
    ]


def feature(metric: Metric) -> str:
    """Say how a column of a window differs from that of the baseline."""
    found = metric.detail
    said = []
    if found.get("mean") is not None and found.get("baseline_mean") is not None:
        said.append(f"mean {number(found['mean'])}, baseline {number(found['baseline_mean'])}")
    if "category" in found:
        said.append(
            f"{found['category']}: {found['share']:.0%} of the values, baseline {found['baseline_share']:.0%}"
        )
    if found["missing"]:
        said.append(f"{abs(found['missing']):.0%} {'more' if found['missing'] > 0 else 'fewer'} are missing")
    return "; ".join(said)


def moved(attributes: Mapping[str, float]) -> list[str]:
    """Say which attributes moved, the farthest first.

    >>> moved({"sharpness": -7.93, "contrast": 0.2})
    ['sharpness is 7.9 standard deviations below the baseline']
    """
    far = sorted(
        (item for item in attributes.items() if abs(item[1]) >= _MOVED), key=lambda item: -abs(item[1])
    )
    return [
        f"{plain(name)} is {abs(shift):.1f} standard deviations "
        f"{'above' if shift > 0 else 'below'} the baseline"
        for name, shift in sorted(far, key=lambda item: -abs(item[1]))
    ]


def evidence(found: EvidenceResult | None, alpha: float) -> str:
    """Say where evidence of drift stands, in one sentence; empty where there is none."""
    if found is None or not found.n:
        return ""
    side = "above" if found.effect > 0 else "below"
    leader = f"{plain(found.feature)} leads, {abs(found.effect):.1f} standard deviations {side} the baseline"
    if found.alarm:
        since = f", probably since {utc(found.since)}" if found.since else ""
        return (
            f"Drift alarm: the inputs no longer come from where the training data came from{since}; {leader}."
        )
    odds = exp(min(found.log_e, 700.0))
    return (
        f"No drift alarm: evidence {number(odds)} of {number(1 / alpha)} after {found.n:,} observations"
        f"{f'; {leader}' if odds > 1 else ''}."
    )


def alpha_of(monitor: Monitor) -> float:
    """Return the bound on any false drift alarm that a monitor's evidence is held against."""
    return monitor.evidence.alpha if monitor.evidence else monitor.config.evidence.alpha


def strangest_first(run: MonitorRun) -> list[RunImage]:
    """Return the images of a window, the strangest first."""
    return sorted(run.images, key=lambda image: -image.strangeness)


def is_synthetic(name: str) -> bool:
    """Tell whether a deployment, dataset or file bears the name that marks phantoms.

    >>> is_synthetic("NORMAL/phantom-1-0001.jpeg"), is_synthetic("person1_virus_2.jpeg")
    (True, False)
    """
    return name.rpartition("/")[2].startswith("phantom")


def own_path(path: str) -> str:
    """Return a path of this server; anything that could lead to another becomes the first page.

    >>> own_path("/monitors?q=a"), own_path("//evil.example"), own_path("https://evil.example")
    ('/monitors?q=a', '/', '/')
    """
    safe = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if safe else "/"


def quoted(path: str) -> str:
    return quote(path, safe="/")
