"""A monitor with windows, as pages show it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi.testclient import TestClient

from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import EvidenceResult, Metric, Monitor, MonitorRun, MonitorState, RunImage
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.services.bundle import Services

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
EVIL = "<script>alert(1)</script>"
THRESHOLDS = parse_thresholds(
    {
        "image": {"type": "drift", "soft": 0.42, "hard": 0.55},
        "accuracy": {"type": "performance", "soft": 0.85, "hard": 0.8},
    }
)
MOVED = {"attributes": {"sharpness": -7.93}}
TOLD = {"window": {"NORMAL": 9, "PNEUMONIA": 3}, "baseline": {"NORMAL": 50, "PNEUMONIA": 50}}
CONFUSION = {"classes": ["NORMAL", "PNEUMONIA"], "confusion": [[5, 1], [2, 4]], "positive": "PNEUMONIA"}


def services_of(pages: TestClient) -> Services:
    return pages.app.state.services


def add_monitor(pages: TestClient, name: str, owner: str = "operator", **changes: Any) -> Monitor:
    running = DeploymentState.RUNNING
    deployment = Deployment(
        new_id(), name, owner, new_id(), "m", 1, True, Origin.EXTERNAL, running, running, START, "/p"
    )
    services = services_of(pages)
    services.database.deployments.add(deployment)
    monitor = Monitor(
        id=new_id(),
        deployment_id=deployment.id,
        name=name,
        owner=owner,
        state=MonitorState.ACTIVE,
        status=Status.UNKNOWN,
        config=MonitorConfig(),
        config_version=1,
        created_at=START,
        thresholds=THRESHOLDS,
    )
    return services.database.monitors.add(replace(monitor, **changes))


def add_run(
    pages: TestClient, monitor: Monitor, number: int = 0, *, bad: bool = False, **changes: Any
) -> MonitorRun:
    """Look at one window, which is well, or has drifted and answers badly."""
    start = START + number * STEP
    critical, healthy = Status.CRITICAL, Status.HEALTHY
    status = critical if bad else healthy
    metrics = (
        Metric("image", MetricType.DRIFT, 0.9 if bad else 0.2, 12, status, detail=MOVED),
        Metric("prediction", MetricType.DRIFT, 0.1, 12, Status.UNKNOWN, detail=TOLD),
        Metric("accuracy", MetricType.PERFORMANCE, 0.75 if bad else 0.92, 12, status, 0.47, 0.98, CONFUSION),
        Metric("expected_accuracy", MetricType.PERFORMANCE, 0.93, 12, Status.UNKNOWN, 0.8, 0.97),
        Metric("mcc", MetricType.PERFORMANCE, 0.5, 12, Status.UNKNOWN),
        Metric("requests", MetricType.HEALTH, 12.0, 12, Status.UNKNOWN),
        Metric("latency_p95", MetricType.HEALTH, 8.0, 12, Status.UNKNOWN),
    )  # fmt: skip
    evidence = EvidenceResult(
        30.0 if bad else 0.5,
        30.0,
        bad,
        start if bad else None,
        start if bad else None,
        "sharpness",
        -7.9,
        100,
    )
    image = RunImage("event-1", 0, start, "NORMAL", 0.9, 3.2, "NORMAL/a.png")
    run = MonitorRun(
        new_id(), monitor.id, 1, start, start + STEP, 1, start, status, healthy, status, status, metrics,
        (image,), (), evidence=evidence,
    )  # fmt: skip
    run = replace(run, **changes)
    services = services_of(pages)
    with services.database.transaction():
        services.database.monitor_runs.add(run)
        services.history.note(services.database.monitors.get(monitor.id), run)
    return run
