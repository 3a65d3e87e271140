"""Monitor runs: a window of the log, compared with the baseline, judged, and written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from tidegauge.domain.alert import AlertEvent
from tidegauge.domain.events import Event
from tidegauge.domain.identity import new_id
from tidegauge.domain.images import encode_png
from tidegauge.domain.labels import LabelColumns, LabelRows, label_text
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorRun, MonitorState, RunImage
from tidegauge.domain.status import Status, worst
from tidegauge.domain.verdicts import judge, part_status
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services.baselines import Baseline, Baselines
from tidegauge.services.collector import Collector
from tidegauge.services.labels import read_labels
from tidegauge.services.observations import Answer, Observation, Observed, observe
from tidegauge.stats.images import compare, extract
from tidegauge.stats.latency import summarise
from tidegauge.stats.performance.classification import classify
from tidegauge.stats.two_sample.total_variation import total_variation
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore

_TRIES = 5
_PROBLEMS_LISTED = 20


class Runs:
    """Computes windows; the same window again gives a new revision."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        collector: Collector,
        baselines: Baselines,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._store = store
        self._collector = collector
        self._log = collector.log
        self._baselines = baselines
        self._now = now

    def run(self, monitor: Monitor, start: datetime, end: datetime) -> MonitorRun:
        """Look at the window [start, end) and write down what was found."""
        if monitor.state not in (MonitorState.READY, MonitorState.ACTIVE):
            raise ConflictError(
                f"The monitor is {monitor.state.value}; it runs once it is ready. {monitor.message}".strip()
            )
        start, end = _utc(start), _utc(end)
        if start >= end:
            raise InvalidInputError.of(
                "end", f"end is {end.isoformat()}, not after start {start.isoformat()}."
            )
        run = self._save(self._compute(monitor, start, end))
        self._note(monitor, run)
        self._alert(monitor, run)
        return run

    def image(self, monitor: Monitor, run: MonitorRun, event_id: str, index: int) -> bytes:
        """Return an image of the run's window as PNG."""
        shown = next((i for i in run.images if (i.event_id, i.index) == (event_id, index)), None)
        if shown is None:
            raise NotFoundError(f"The run has no image {index} of event {event_id!r}.")
        around = self._log.read(monitor.deployment_id, shown.time, run.end)
        events = [event for event in around if event.id == event_id]
        baseline = self._baselines.load(monitor)
        for observation in self._observe(monitor, baseline, events).observations:
            if observation.index == index and observation.image is not None:
                return encode_png(observation.image)
        raise NotFoundError(f"The log has no image {index} of event {event_id!r} any more.")

    def _compute(self, monitor: Monitor, start: datetime, end: datetime) -> MonitorRun:
        self._collector.flush()
        baseline = self._baselines.load(monitor)
        observed = self._observe(monitor, baseline, list(self._log.read(monitor.deployment_id, start, end)))
        metrics: list[Metric] = []
        images: tuple[RunImage, ...] = ()
        problems = list(observed.problems)
        config = monitor.config
        if config.health.enabled:
            metrics += _health(observed.answers)
        if config.drift.enabled:
            moved, images = _drift(baseline, observed.observations)
            metrics += moved
        if config.performance.enabled:
            rows = self._labels(monitor, start, end)
            metrics += _performance(rows, label_text(config.performance.positive) or baseline.positive)
            problems += _label_problems(rows)
        judged = tuple(judge(metric, monitor) for metric in metrics)
        health, drift, performance = (
            part_status(part, judged, monitor)
            for part in (MetricType.HEALTH, MetricType.DRIFT, MetricType.PERFORMANCE)
        )
        return MonitorRun(
            id=new_id(),
            monitor_id=monitor.id,
            config_version=monitor.config_version,
            start=start,
            end=end,
            revision=0,
            created_at=self._now(),
            status=worst([health, drift, performance]),
            health=health,
            drift=drift,
            performance=performance,
            metrics=judged,
            images=images,
            problems=tuple(problems),
        )

    def _observe(self, monitor: Monitor, baseline: Baseline, events: list[Event]) -> Observed:
        drift = monitor.config.drift
        return observe(events, drift.image if drift.enabled else None, baseline.classes)

    def _labels(self, monitor: Monitor, start: datetime, end: datetime) -> LabelRows:
        config = monitor.config.performance
        columns = LabelColumns(
            timestamp=config.timestamp_column,
            output=config.prediction_column,
            label=config.groundtruth_column,
        )
        prefix = config.prefix or self._database.deployments.get(monitor.deployment_id).livedata
        return read_labels(self._store, prefix, columns, start, end)

    def _save(self, run: MonitorRun) -> MonitorRun:
        window = {
            "monitor_id": run.monitor_id,
            "config_version": run.config_version,
            "start": run.start,
            "end": run.end,
        }
        for _ in range(_TRIES):
            revision = self._database.monitor_runs.highest("revision", **window) + 1
            try:
                return self._database.monitor_runs.add(replace(run, revision=revision))
            except ConflictError:
                continue  # another run of the same window was faster
        raise ConflictError("The same window is being run by others; try again.")

    def _note(self, monitor: Monitor, run: MonitorRun) -> None:
        """Take the status over unless a later window has been run already."""
        later = self._database.monitor_runs.between("start", run.end, None, limit=1, monitor_id=monitor.id)
        if not later:
            self._database.monitors.update(monitor.id, status=run.status, last_run_at=run.end)

    def _alert(self, monitor: Monitor, run: MonitorRun) -> None:
        for alert in self._database.alerts.where(monitor_id=monitor.id):
            holds, value = alert.rule.judge(run)
            # A window that is run again has been told of already.
            told = self._database.alert_events.find(alert_id=alert.id, at=run.end)
            if holds and not told and value is not None:
                self._database.alert_events.add(
                    AlertEvent(
                        new_id(), alert.id, monitor.id, run.id, alert.name, alert.rule.text, value, run.end
                    )
                )


def _label_problems(rows: LabelRows) -> list[str]:
    listed = [
        f"{p.file}: {p.reason}" if p.row is None else f"{p.file}, row {p.row}: {p.reason}"
        for p in rows.problems[:_PROBLEMS_LISTED]
    ]
    more = rows.problem_count - len(listed)
    return [*listed, f"{more} more problems with labels."] if more > 0 else listed


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _health(answers: tuple[Answer, ...]) -> list[Metric]:
    n = len(answers)
    latency = summarise(np.array([a.latency_ms for a in answers if a.latency_ms is not None], np.float64))
    bad = sum(400 <= answer.status < 500 for answer in answers)
    failed = sum(answer.status >= 500 for answer in answers)
    values = {
        "requests": (float(n), n),
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


def _drift(
    baseline: Baseline, observations: tuple[Observation, ...]
) -> tuple[list[Metric], tuple[RunImage, ...]]:
    metrics: list[Metric] = []
    images: tuple[RunImage, ...] = ()
    seen = [(o, o.image) for o in observations if o.image is not None]
    if baseline.image is not None:
        if seen:
            drift = compare(baseline.image, extract(np.stack([image for _, image in seen])))
            detail = {"p_value": drift.p_value, "attributes": dict(drift.attributes)}
            metrics.append(
                Metric("image", MetricType.DRIFT, drift.score, drift.n, Status.UNKNOWN, detail=detail)
            )
            images = tuple(
                RunImage(
                    o.event_id,
                    o.index,
                    o.time,
                    o.prediction,
                    o.confidence,
                    float(strangeness),
                    baseline.paths[nearest],
                )
                for (o, _), strangeness, nearest in zip(seen, drift.strangeness, drift.nearest, strict=True)
            )
        else:
            metrics.append(Metric("image", MetricType.DRIFT, None, 0, Status.UNKNOWN))
    if baseline.predictions:
        found = dict(Counter(o.prediction for o in observations))
        variation = total_variation(baseline.predictions, found)
        metrics.append(
            Metric(
                "prediction",
                MetricType.DRIFT,
                variation.score,
                variation.n,
                Status.UNKNOWN,
                detail={"window": found, "baseline": dict(baseline.predictions)},
            )
        )
    return metrics, images


def _performance(rows: LabelRows, positive: str | None) -> list[Metric]:
    result = classify(rows.labels, rows.outputs, positive)
    detail = {"confusion": result.confusion, "classes": result.classes, "positive": result.positive}
    return [
        Metric(
            name,
            MetricType.PERFORMANCE,
            found.value,
            found.n,
            Status.UNKNOWN,
            found.low,
            found.high,
            detail if name == "accuracy" else {},
        )
        for name, found in result.metrics.items()
    ]
