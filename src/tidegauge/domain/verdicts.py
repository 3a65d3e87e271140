"""From metrics and thresholds to the verdicts of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import EvidenceResult, Metric, Monitor, MonitorRun, SegmentResult
from tidegauge.domain.status import Status, worst
from tidegauge.domain.thresholds import evaluate

_PARTS = (MetricType.HEALTH, MetricType.DRIFT, MetricType.PERFORMANCE)


def judge(metric: Metric, monitor: Monitor) -> Metric:
    """Return the metric with its verdict; without a threshold it stays unknown."""
    threshold = monitor.thresholds.get(metric.name)
    if threshold is None or threshold.type is not metric.type:
        return metric
    # Counts and latencies are what they are, and of some files nobody knows how many samples they are of.
    taken = metric.type is MetricType.HEALTH or "uncounted" in metric.detail
    minimum = 1 if taken else monitor.config.minimum_samples
    return replace(metric, status=evaluate(metric.value, threshold, metric.n, minimum))


def judge_run(run: MonitorRun, monitor: Monitor) -> MonitorRun:
    """Return the run with its verdicts: of the whole, or of a segment where that is worse."""
    judged, parts = _verdicts(monitor, run.metrics, run.evidence)
    health, drift, performance = (
        worst([verdict, *(segment.part(part) for segment in run.segments)])
        for part, verdict in zip(_PARTS, parts, strict=True)
    )
    return replace(
        run,
        metrics=judged,
        status=worst([health, drift, performance]),
        health=health,
        drift=drift,
        performance=performance,
    )


def judge_segment(
    monitor: Monitor, name: str, n: int, metrics: Iterable[Metric], evidence: EvidenceResult | None
) -> SegmentResult:
    """Return what was found of a segment, by the thresholds of the monitor."""
    judged, (health, drift, performance) = _verdicts(monitor, metrics, evidence)
    return SegmentResult(name, n, health, drift, performance, judged, evidence)


def _verdicts(
    monitor: Monitor, metrics: Iterable[Metric], evidence: EvidenceResult | None
) -> tuple[tuple[Metric, ...], tuple[Status, ...]]:
    judged = tuple(judge(metric, monitor) for metric in metrics)
    return judged, tuple(part_status(part, judged, monitor, evidence) for part in _PARTS)


def part_status(
    part: MetricType, metrics: Iterable[Metric], monitor: Monitor, evidence: EvidenceResult | None = None
) -> Status:
    """Return the verdict of a part of the monitor: the worst of its judged metrics.

    Health without thresholds is healthy as long as there is traffic. Drift with an alarm of the evidence is
    critical; with evidence and without an alarm it is healthy where no threshold says otherwise.
    """
    own = [metric for metric in metrics if metric.type is part]
    judged = [metric.status for metric in own if metric.name in monitor.thresholds]
    if part is MetricType.HEALTH and not judged:
        return Status.HEALTHY if any(m.n for m in own if m.name == "requests") else Status.UNKNOWN
    if part is MetricType.DRIFT and evidence is not None:
        if evidence.alarm:
            return Status.CRITICAL
        if not judged and any(metric.n for metric in own):
            return Status.HEALTHY
    return worst(judged)
