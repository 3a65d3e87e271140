"""What is found in a window: of the whole, and of each segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor import EvidenceResult, Metric, Monitor, MonitorRun, RunImage, SegmentResult
from tidegauge.domain.observation import Label
from tidegauge.domain.verdicts import judge_segment
from tidegauge.domain.windows import Window
from tidegauge.services import measuring, segments
from tidegauge.services.baselines import Baseline
from tidegauge.services.captures import LOSS, Captures
from tidegauge.services.health import Health
from tidegauge.services.labels import Labels
from tidegauge.services.letters import Letters
from tidegauge.services.sources.bundle import Sources
from tidegauge.services.sources.drift import FAILED
from tidegauge.services.sources.performance import precomputed
from tidegauge.storage.observations import Observations

#: Where the evidence of each segment that it has met stands.
Standing = Mapping[str, EvidenceResult | None]

_UNCOMPARED = (
    "The baseline has no predictions to compare with; accept a window as the baseline (tidegauge monitor "
    "accept), give a training table a column with the model's answers, or do not select the prediction."
)


@dataclass(frozen=True)
class Found:
    """What a window has; ``problems`` say what is missing, and why."""

    metrics: tuple[Metric, ...]
    images: tuple[RunImage, ...]
    segments: tuple[SegmentResult, ...]
    problems: tuple[str, ...]


class Findings:
    """Measures health, drift and performance by the configuration of a monitor."""

    def __init__(
        self, labels: Labels, letters: Letters, sources: Sources, health: Health, captures: Captures
    ) -> None:
        self._labels = labels
        self._letters = letters
        self._sources = sources
        self._health = health
        self._captures = captures

    def look(
        self,
        monitor: Monitor,
        baseline: Baseline,
        window: Window,
        observed: Observations,
        evidence: EvidenceResult | None,
        standing: Standing,
    ) -> Found:
        """Return what was observed in a window; ``evidence`` is where that of the whole stood at its end."""
        config = monitor.config
        judging = config.performance.enabled
        labels = self._labels.of_window(monitor.deployment_id, *window) if judging else ()
        metrics, images, problems = self._measure(monitor, baseline, window, observed, labels, evidence)
        if config.health.enabled:
            metrics += self._health.of_window(monitor.deployment_id, *window, config.health.frequency_minutes)
            metrics.append(self._captures.of_window(monitor.deployment_id, *window))
        problems = [*_sentences(metrics), *problems]
        events, left_out = self._letters.of_window(monitor.deployment_id, *window)
        problems = [*events, *problems, *(left_out if judging else ())]
        parts, unclear = _divided(monitor, baseline, observed, labels, standing)
        found = []
        for name, part in parts.items():
            own, _, _ = self._measure(
                monitor, baseline, window, part.observed, part.labels, standing.get(name)
            )
            found.append(judge_segment(monitor, name, len(part.observed), own, standing.get(name)))
        # An alarm stays on where nothing of its segment has come.
        found += [
            judge_segment(monitor, name, 0, (), result)
            for name, result in standing.items()
            if name not in parts and result is not None and result.alarm
        ]
        found.sort(key=lambda segment: segment.name)
        return Found(tuple(metrics), images, tuple(found), (*problems, *unclear))

    def look_at_labels(
        self,
        monitor: Monitor,
        baseline: Baseline,
        last: MonitorRun,
        read: Callable[[], Observations],
        standing: Standing,
    ) -> Found:
        """Return what was found before with the labels of now; ``read`` gives the observations if need be."""
        window = last.start, last.end
        labels = self._labels.of_window(monitor.deployment_id, *window)
        needed = monitor.config.segments or any(not label.output for label in labels)
        observed = read() if needed else Observations.none()
        measured, problems = self._performance(monitor, baseline, window, observed, labels)
        metrics = (*_without_labels(last.metrics), *measured)
        parts, unclear = _divided(monitor, baseline, observed, labels, standing)
        found = []
        for segment in last.segments:
            own = _without_labels(segment.metrics)
            if part := parts.get(segment.name):
                own += self._performance(monitor, baseline, window, part.observed, part.labels)[0]
            found.append(judge_segment(monitor, segment.name, segment.n, own, segment.evidence))
        events, left_out = self._letters.of_window(monitor.deployment_id, *window)
        said = (*events, *_sentences(metrics), *problems, *left_out)
        return Found(metrics, last.images, tuple(found), (*said, *unclear))

    def _measure(
        self,
        monitor: Monitor,
        baseline: Baseline,
        window: Window,
        observed: Observations,
        labels: Sequence[Label],
        evidence: EvidenceResult | None,
    ) -> tuple[list[Metric], tuple[RunImage, ...], list[str]]:
        """Measure what was observed, of the whole or of a segment; say why something has no value, too."""
        config = monitor.config
        metrics: list[Metric] = []
        images: tuple[RunImage, ...] = ()
        problems: list[str] = []
        if config.health.enabled:
            metrics += measuring.health(observed, *window)
        even = observed.evenly()
        if config.drift.enabled:
            of_predictions = monitor.watches_predictions()
            moved, images = measuring.drift(
                config.drift.algorithm, baseline, even, of_predictions=of_predictions
            )
            if config.drift.algorithm == "custom":
                moved = self._sources.drift.measure(monitor, baseline, even, moved)
            metrics += moved
            if of_predictions and not baseline.knows_predictions:
                problems.append(_UNCOMPARED)
        if config.performance.enabled:
            metrics += measuring.expected(baseline, even, alarm=bool(evidence and evidence.alarm))
            measured, unmeasured = self._performance(monitor, baseline, window, observed, labels)
            metrics += measured
            problems += unmeasured
        return metrics, images, problems

    def _performance(
        self,
        monitor: Monitor,
        baseline: Baseline,
        window: Window,
        observed: Observations,
        labels: Sequence[Label],
    ) -> tuple[list[Metric], tuple[str, ...]]:
        """Return the metrics of labels (or files, or functions), and why some have no value."""
        if monitor.config.performance.compute == "precomputed_metrics":
            return precomputed(labels, self._labels.replaced(monitor.deployment_id, *window)), ()
        truth, outputs = measuring.pairs(labels, observed, baseline)
        if monitor.config.performance.compute == "custom":
            return self._sources.performance.measure(monitor, truth, outputs)
        if baseline.numbers:
            return measuring.regression(truth, outputs)
        positive = measuring.positive_class(monitor.config.performance.positive, baseline)
        truth, outputs, problems = measuring.of_known_classes(truth, outputs, baseline.classes)
        return measuring.performance(truth, outputs, positive), problems


def _divided(
    monitor: Monitor,
    baseline: Baseline,
    observed: Observations,
    labels: Sequence[Label],
    standing: Iterable[str],
) -> tuple[Mapping[str, segments.Part], list[str]]:
    """Part a window by segment, and say what cannot be told apart."""
    if not monitor.config.segments:
        return {}, []
    told = () if monitor.config.performance.compute == "precomputed_metrics" else labels
    parts, untold = segments.divide(observed, told, baseline, tuple(standing))
    unclear = []
    if untold:
        unclear.append(f"Of {untold} labels the segment cannot be told; they count in the whole only.")
    if segments.OTHER in parts:
        unclear.append(f"There are more than {segments.MOST} segments; the others are taken together.")
    return parts, unclear


def _without_labels(metrics: Iterable[Metric]) -> list[Metric]:
    return [m for m in metrics if m.type is not MetricType.PERFORMANCE or m.name in EXPECTED]


def _sentences(metrics: Iterable[Metric]) -> list[str]:
    """Return what metrics themselves say: why one has no value, what it was scaled by, what was lost."""
    names = (FAILED, measuring.SAMPLING, LOSS)
    return [metric.detail[name] for metric in metrics for name in names if name in metric.detail]
