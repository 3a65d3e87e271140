"""Rows that fill ``/metrics``, and real Prometheus and Alertmanager processes."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from parts import absent
from tidegauge.domain.alert import Alert, AlertRule, Condition, Severity
from tidegauge.domain.channel import Channel, ChannelKind, Delivery, DeliveryState, Message
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import (
    Cause,
    DueWindow,
    EvidenceResult,
    EvidenceState,
    Metric,
    Monitor,
    MonitorRun,
    MonitorState,
)
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.observation import DeadLetter, HealthSample, LogFile, Reader
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold
from tidegauge.links.processes import free_port
from tidegauge.storage.database import Database

MINUTE = timedelta(minutes=1)
_START_SECONDS = 30
THRESHOLDS = {
    "image": Threshold("image", MetricType.DRIFT, 0.42, 0.55),
    "accuracy": Threshold("accuracy", MetricType.PERFORMANCE, 0.8, 0.7),
    "latency_p95": Threshold("latency_p95", MetricType.HEALTH, 200.0, 500.0),
}
METRICS = (
    Metric("image", MetricType.DRIFT, 0.6, 12, Status.CRITICAL),
    Metric("prediction", MetricType.DRIFT, None, 0, Status.UNKNOWN),
    Metric(
        "accuracy",
        MetricType.PERFORMANCE,
        0.75,
        12,
        Status.WARNING,
        low=0.47,
        high=0.91,
        surely_low=0.4,
        surely_high=0.95,
    ),
    Metric("requests", MetricType.HEALTH, 12.0, 12, Status.UNKNOWN),
    Metric("latency_p95", MetricType.HEALTH, 12.5, 12, Status.HEALTHY),
)
EVIDENCE = EvidenceState(
    sequence=3,
    checkpoint="",
    checkpoint_sequence=0,
    resets=1,
    alpha=0.001,
    result=EvidenceResult(
        log_e=9.5, log_peak=10.5, alarm=True, alarm_at=None, since=None, feature="blur", effect=3.0, n=120
    ),
)


def add_deployment(database: Database, name: str, now: datetime, **changes: Any) -> Deployment:
    """Write a deployment that is served, without a process behind it."""
    made = Deployment(
        id=new_id(),
        name=name,
        owner="operator",
        model_id="m",
        model_name="m",
        model_version=1,
        logging=True,
        origin=Origin.LOCAL,
        wanted=DeploymentState.RUNNING,
        state=DeploymentState.RUNNING,
        created_at=now,
        predict_path="",
        restarts=2,
    )
    return database.deployments.add(replace(made, **changes))


def add_monitor(database: Database, deployment: Deployment, now: datetime, **changes: Any) -> Monitor:
    """Write an active monitor of a deployment that is critical and has a drift alarm."""
    made = Monitor(
        id=new_id(),
        deployment_id=deployment.id,
        name=deployment.name,
        owner=deployment.owner,
        state=MonitorState.ACTIVE,
        status=Status.CRITICAL,
        config=MonitorConfig(),
        config_version=1,
        created_at=now,
        thresholds=THRESHOLDS,
        evidence=EVIDENCE,
    )
    return database.monitors.add(replace(made, **changes))


def add_run(database: Database, monitor: Monitor, end: datetime, **changes: Any) -> MonitorRun:
    """Write what a monitor found in the five minutes before ``end``."""
    made = MonitorRun(
        id=new_id(),
        monitor_id=monitor.id,
        config_version=1,
        start=end - 5 * MINUTE,
        end=end,
        revision=1,
        created_at=end + MINUTE,
        status=Status.CRITICAL,
        health=Status.HEALTHY,
        drift=Status.CRITICAL,
        performance=Status.WARNING,
        metrics=METRICS,
        late=4,
        quiet_minutes=2.5,
    )
    return database.monitor_runs.add(replace(made, **changes))


def add_alert(database: Database, monitor: Monitor, now: datetime, **changes: Any) -> Alert:
    rule = AlertRule(
        "low", MetricType.PERFORMANCE, (Condition(name="accuracy", bound=0.8),), severity=Severity.CRITICAL
    )
    return database.alerts.add(
        replace(Alert(new_id(), monitor.id, "low", rule, now, firing_since=now), **changes)
    )


def add_channel(database: Database, now: datetime, states: dict[DeliveryState, int]) -> Channel:
    """Write a channel that fails, with so many deliveries in each state."""
    channel = database.channels.add(
        Channel(new_id(), "operator", "ward", ChannelKind.WEBHOOK, {}, now, failing_since=now, message="down")
    )
    message = Message("fired", "low", "xray", "m", Severity.WARNING, "critical", now, now, "Accuracy is low.")
    for state, count in states.items():
        for _ in range(count):
            database.deliveries.add(Delivery(new_id(), channel.id, "m", "", message, now, now, state))
    return channel


def add_everything(database: Database, name: str, now: datetime) -> Monitor:
    """Write rows that give every series a value: a drift alarm, windows that wait, a channel that fails."""
    deployment = add_deployment(database, name, now)
    monitor = add_monitor(database, deployment, now, due_from=now - 6 * MINUTE)
    add_run(database, monitor, now - 5 * MINUTE)
    add_alert(database, monitor, now)
    add_channel(database, now, {DeliveryState.WAITING: 3, DeliveryState.DROPPED: 1, DeliveryState.SENT: 2})
    database.health_samples.add(
        HealthSample(
            new_id(), deployment.id, now, ready=True, cpu_seconds=12.5, memory_bytes=1 << 28, started_at=now
        )
    )
    for kind in ("event", "event", "label"):
        database.dead_letters.add(DeadLetter(new_id(), deployment.id, kind, "", "", "", None, now))
    for number in range(1, 8):
        database.log_files.add(LogFile(f"{deployment.id}/{number}", deployment.id, number, now))
    for extractor, position in (("old", 1), ("new", 5)):
        database.readers.add(Reader(f"{deployment.id}/{extractor}", deployment.id, extractor, position))
    start = now - 15 * MINUTE
    for number, cause in enumerate((Cause.SCHEDULE, Cause.SCHEDULE, Cause.BACKFILL)):
        begin = start + number * 5 * MINUTE
        database.due_windows.add(
            DueWindow(new_id(), monitor.id, begin, begin + 5 * MINUTE, cause, begin + 5 * MINUTE)
        )
    return monitor


class MetricsPage:
    """A page of Prometheus' text format, as prometheus_client reads it."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def values(self, series: str, /, **labels: str) -> list[float]:
        """Return the values of all series of this name with these labels and perhaps others."""
        return [
            sample.value
            for sample in self.samples
            if sample.name == series and labels.items() <= sample.labels.items()
        ]

    def value(self, series: str, /, **labels: str) -> float:
        """Return the value of the one series of this name with these labels."""
        (value,) = self.values(series, **labels)
        return value


def wait_for_value(get: Callable[[], Any], what: str, seconds: float = _START_SECONDS) -> Any:
    """Call until the answer is neither None nor empty; connections refused count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.HTTPError):
            value = get()
            if value:
                return value
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)


@contextlib.contextmanager
def _running(program: str, *flags: str, port: int, log: Path) -> Iterator[httpx.Client]:
    """Run a program of Debian's until the block ends; yield a client once it says that it is ready."""
    if shutil.which(program) is None:
        absent(program)
    with log.open("wb") as output:
        process = subprocess.Popen([program, *flags], stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                return client.get("/-/ready").is_success

            wait_for_value(ready, program)
            yield client
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_prometheus(folder: Path, config: str) -> Iterator[httpx.Client]:
    """Run a Prometheus with this configuration, its data below ``folder``."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(config)
    flags = (
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with _running("prometheus", *flags, port=port, log=folder / "prometheus.log") as client:
        yield client


@contextlib.contextmanager
def running_alertmanager(folder: Path, config: str) -> Iterator[httpx.Client]:
    """Run an Alertmanager of its own, no member of any cluster."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alertmanager.yml").write_text(config)
    flags = (
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    with _running("prometheus-alertmanager", *flags, port=port, log=folder / "alertmanager.log") as client:
        yield client


@contextlib.contextmanager
def receiving_webhooks() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a receiver of Alertmanager's webhooks; yield its URL and the bodies that came."""
    came: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", came
    finally:
        server.shutdown()
        server.server_close()
