"""Rows of a monitor over a span of time, as its runs leave them: what reports are made of."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tidegauge.domain.alert import Alert, AlertEvent, AlertRule, Condition, Operator, Severity
from tidegauge.domain.channel import Channel, ChannelKind, Delivery, DeliveryState, Message
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import (
    Acknowledgement,
    Cause,
    ConfigVersion,
    EvidenceResult,
    EvidenceState,
    Feature,
    FeatureKind,
    Metric,
    Monitor,
    MonitorRun,
    MonitorState,
    RunImage,
    Transition,
    ValueType,
)
from tidegauge.domain.monitor_config import (
    DriftConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    TrainData,
)
from tidegauge.domain.observation import Maintenance
from tidegauge.domain.status import Status, worst
from tidegauge.domain.thresholds import Threshold, evaluate, parse_thresholds
from tidegauge.services.measuring import performance
from tidegauge.storage.database import Database

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTES = 5
CONFIG = MonitorConfig(
    frequency_minutes=MINUTES,
    time_zone="Europe/Berlin",
    drift=DriftConfig(enabled=True, image=ImageShape(200, 200), train_data=TrainData("chest-xray", 3)),
    performance=PerformanceConfig(enabled=True),
)
THRESHOLDS = parse_thresholds(
    {
        "image": {"type": "drift", "soft": 0.42, "hard": 0.55},
        "accuracy": {"type": "performance", "soft": 0.7, "hard": 0.5},
        "latency_p95": {"type": "health", "soft": 60.0, "hard": 120.0},
    }
)
_SECRET = "person1-virus-2"  # an event id of an image: what must not leave the house unasked


def add_monitor(database: Database, name: str = "chest-xray", owner: str = "operator") -> Monitor:
    """Add a ready monitor of an external deployment, with a baseline and thresholds."""
    running = DeploymentState.RUNNING
    deployment = Deployment(
        new_id(), name, owner, new_id(), "pneumonia", 4, True, Origin.EXTERNAL, running, running, START, "/p"
    )
    database.deployments.add(deployment)
    monitor = Monitor(
        id=new_id(),
        deployment_id=deployment.id,
        name=name,
        owner=owner,
        state=MonitorState.READY,
        status=Status.HEALTHY,
        config=CONFIG,
        config_version=2,
        created_at=START,
        schema=(Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL),),
        thresholds=THRESHOLDS,
        baseline="9f2c" * 16,
        evidence=EvidenceState(1, "", 0, 0, 0.001),
    )
    database.monitors.add(monitor)
    return monitor


def add_span(
    database: Database,
    monitor: Monitor,
    windows: int,
    *,
    drift_from: float = 2 / 3,
    part: range | None = None,
) -> None:
    """Add the runs of ``windows`` from START on, or a part of them; past ``drift_from`` the images drift."""
    first = math.ceil(drift_from * windows)
    alarm_from = START + (first + 1) * timedelta(minutes=MINUTES) + timedelta(minutes=2)
    runs = []
    for number in part or range(windows):
        start = START + number * timedelta(minutes=MINUTES)
        alarm = number > first
        log_e = min(60.0, (number - first) * 0.7 + 2) if number >= first else math.sin(number / 9)
        evidence = EvidenceResult(
            log_e, 60.0, alarm, alarm_from if alarm else None, start, "sharpness", -4.2, 12 * number
        )
        # Every window has its own source, so that the same rows come every time, in parts or at once.
        runs.append(_run(monitor, start, number >= first, evidence, random.Random(number)))
    database.monitor_runs.add_all(runs)


def _run(
    monitor: Monitor, start: datetime, drifted: bool, evidence: EvidenceResult, rng: random.Random
) -> MonitorRun:
    truth = ["PNEUMONIA" if rng.random() < 0.6 else "NORMAL" for _ in range(12)]
    right = 0.7 if drifted else 0.94
    outputs = [
        label if rng.random() < right else ("NORMAL", "PNEUMONIA")[label == "NORMAL"] for label in truth
    ]
    score = min(0.99, max(0.0, rng.gauss(0.8 if drifted else 0.21, 0.05)))
    night = 1 + 0.6 * math.cos(start.hour / 24 * 2 * math.pi)
    latency = rng.gauss(24, 3) * night
    found = [
        Metric(
            "image", MetricType.DRIFT, score, 12, Status.UNKNOWN, detail={"attributes": {"sharpness": -1.0}}
        ),
        Metric("prediction", MetricType.DRIFT, rng.random() * 0.2, 12, Status.UNKNOWN),
        *performance(truth, outputs, "PNEUMONIA"),
        Metric("requests", MetricType.HEALTH, 12.0, 12, Status.UNKNOWN),
        Metric("4xx_requests", MetricType.HEALTH, 0.0, 12, Status.UNKNOWN),
        Metric("5xx_requests", MetricType.HEALTH, float(rng.random() < 0.01), 12, Status.UNKNOWN),
        Metric("latency_p50", MetricType.HEALTH, latency, 12, Status.UNKNOWN),
        Metric("latency_p95", MetricType.HEALTH, latency * 1.4, 12, Status.UNKNOWN),
        Metric("latency_p99", MetricType.HEALTH, latency * 1.9, 12, Status.UNKNOWN),
    ]
    metrics = tuple(_judged(metric, monitor.thresholds.get(metric.name)) for metric in found)
    part = {
        kind: worst(m.status for m in metrics if m.type is kind and m.name in monitor.thresholds)
        for kind in MetricType
    }
    drift = Status.CRITICAL if evidence.alarm else part[MetricType.DRIFT]
    statuses = (part[MetricType.HEALTH], drift, part[MetricType.PERFORMANCE])
    images = tuple(
        RunImage(f"{_SECRET}-{k}", 0, start, outputs[k], 0.9, rng.random() * 4, "NORMAL/IM-0115.jpeg")
        for k in range(12)
    )
    return MonitorRun(
        new_id(), monitor.id, 1, start, start + timedelta(minutes=MINUTES), 1,
        start + timedelta(minutes=MINUTES), worst(statuses), *statuses, metrics, images,
        cause=Cause.SCHEDULE, evidence=evidence,
    )  # fmt: skip


def _judged(metric: Metric, threshold: Threshold | None) -> Metric:
    if threshold is None:
        return metric
    return replace(metric, status=evaluate(metric.value, threshold, metric.n, 5))


def add_history(database: Database, monitor: Monitor, end: datetime) -> None:
    """Add what people and alerts did: transitions, a changed configuration, a told alert."""
    begin = START - timedelta(hours=1)
    steps = [
        (MonitorState.INIT, MonitorState.BASELINING, "operator", "created", begin),
        (
            MonitorState.BASELINING,
            MonitorState.READY,
            "tidegauge",
            "baseline made",
            begin + timedelta(minutes=3),
        ),
        (MonitorState.READY, MonitorState.ACTIVE, "operator", "started", START),
    ]
    for before, after, by, why, at in steps:
        database.transitions.add(Transition(new_id(), monitor.id, before, after, by, why, at))
    database.monitors.update(monitor.id, state=MonitorState.ACTIVE, due_from=end)
    old = replace(CONFIG, minimum_samples=3)
    changed = START + timedelta(hours=2)
    database.config_versions.add(ConfigVersion(new_id(), monitor.id, 1, old, "operator", begin))
    database.config_versions.add(ConfigVersion(new_id(), monitor.id, 2, CONFIG, "operator", changed))
    rule = AlertRule(
        "accuracy-low",
        MetricType.PERFORMANCE,
        (Condition(name="accuracy", operator=Operator.LESS, bound=0.85, surely=True),),
        severity=Severity.CRITICAL,
        channels=("duty-doctor",),
    )
    alert = database.alerts.add(Alert(new_id(), monitor.id, rule.name, rule, START))
    channel = database.channels.add(
        Channel(new_id(), monitor.owner, "duty-doctor", ChannelKind.MAIL, {}, START, secret="s3cret")
    )
    runs = database.monitor_runs.where(monitor_id=monitor.id, sort="-start", limit=1)
    for run in runs:
        event = AlertEvent(
            new_id(), alert.id, monitor.id, run.id, alert.name, rule.text, 0.61, run.end,
            severity=Severity.CRITICAL, summary="accuracy was 0.61, surely below 0.85",
        )  # fmt: skip
        database.alert_events.add(event)
        message = Message("fired", alert.name, monitor.name, monitor.id, Severity.CRITICAL, "critical",
                          run.start, run.end, event.summary)  # fmt: skip
        database.deliveries.add(
            Delivery(
                new_id(),
                channel.id,
                monitor.id,
                event.id,
                message,
                run.end,
                run.end,
                DeliveryState.SENT,
                1,
                sent_at=run.end + timedelta(seconds=4),
            )
        )
    middle = START + (end - START) / 2
    database.acknowledgements.add(
        Acknowledgement(
            new_id(), monitor.id, "dr-miller", middle, "new scanner in ward 3 <b>known</b>", 0.001, 0.002
        )
    )
    database.maintenances.add(
        Maintenance(new_id(), monitor.id, middle, middle + timedelta(hours=1), "scanner service", "operator")
    )


def look_again(database: Database, run: MonitorRun, **changes: object) -> MonitorRun:
    """Add a further revision of a run, as late labels do."""
    again = replace(
        run, id=new_id(), revision=run.revision + 1, created_at=run.created_at + timedelta(days=3),
        cause=Cause.LATE_LABELS, **changes,
    )  # fmt: skip
    return database.monitor_runs.add(again)
