"""``/metrics``: what Prometheus may know, in its text format; docs/metrics.md explains every series."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

from fastapi import APIRouter, Response
from starlette.requests import HTTPConnection

from tidegauge import __version__
from tidegauge.api import collector_metrics
from tidegauge.domain.channel import DeliveryState
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Cause, EvidenceState, Metric, Monitor, MonitorRun, MonitorState
from tidegauge.domain.observation import HealthSample
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold
from tidegauge.services.bundle import Services
from tidegauge.storage.database import Database
from tidegauge.web.access import OPEN, Everything, operating, signed_in

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LONGEST = 128  # characters of a label value
_RUNS_AT_ONCE = 10
_MOST = 500  # scores and metrics of one monitor
_TOLD = (DeliveryState.WAITING, DeliveryState.SENDING, DeliveryState.DROPPED)
_VALUES = (
    "tidegauge_monitor_value",
    "tidegauge_monitor_value_low",
    "tidegauge_monitor_value_high",
    "tidegauge_monitor_value_surely_low",
    "tidegauge_monitor_value_surely_high",
)

#: Every series: name to type and help.
FAMILIES = {
    "tidegauge_build_info": ("gauge", "Always 1; the version is a label."),
    **{name: (series.kind, series.help) for name, series in collector_metrics.SERIES.items()},
    "tidegauge_log_files_total": (
        "counter",
        "Files of inference logs that were merged, are gone with their hour, or were swept after a crash.",
    ),
    "tidegauge_deployments": ("gauge", "Deployments by state."),
    "tidegauge_deployment_wanted": ("gauge", "1 if the owner wants it to be served."),
    "tidegauge_deployment_up": (
        "gauge",
        "1 while its model server runs.",
    ),
    "tidegauge_deployment_restarts_total": ("counter", "Deaths of the model server that were not asked for."),
    "tidegauge_deployment_ready": ("gauge", "1 if the last look found the model server ready."),
    "tidegauge_deployment_cpu_seconds_total": ("counter", "CPU time of the model server since it started."),
    "tidegauge_deployment_memory_bytes": ("gauge", "Resident memory of the model server at the last look."),
    "tidegauge_dead_letters": ("gauge", "Events, labels and hours of a linked log that could not be used."),
    "tidegauge_monitors": ("gauge", "Monitors by state and status."),
    "tidegauge_monitor_state": ("gauge", "1 for the state that the monitor is in, else 0."),
    "tidegauge_monitor_status": ("gauge", "1 for the status of the part of the monitor, else 0."),
    "tidegauge_monitor_value": ("gauge", "Score or metric of the last window."),
    "tidegauge_monitor_value_low": ("gauge", "Lower end of the value's 95% interval."),
    "tidegauge_monitor_value_high": ("gauge", "Upper end of the value's 95% interval."),
    "tidegauge_monitor_value_surely_low": ("gauge", "Lower end of the value's confidence sequence."),
    "tidegauge_monitor_value_surely_high": ("gauge", "Upper end of the value's confidence sequence."),
    "tidegauge_monitor_value_samples": ("gauge", "Samples that the value was computed from."),
    "tidegauge_monitor_value_status": ("gauge", "1 for the status of a value with a threshold, else 0."),
    "tidegauge_monitor_threshold": ("gauge", "Past soft the status is warning, past hard critical."),
    "tidegauge_monitor_values_left_out": ("gauge", f"Values past the first {_MOST}, which are not exported."),
    "tidegauge_monitor_evidence_log_e": ("gauge", "Natural logarithm of the evidence of drift."),
    "tidegauge_monitor_evidence_log_e_peak": ("gauge", "Largest evidence of drift since the last reset."),
    "tidegauge_monitor_evidence_threshold": ("gauge", "Evidence from which there is a drift alarm."),
    "tidegauge_monitor_evidence_observations": ("gauge", "Observations that the evidence has consumed."),
    "tidegauge_monitor_evidence_resets": ("gauge", "Drift alarms that were acknowledged."),
    "tidegauge_monitor_drift_alarm": ("gauge", "1 from a drift alarm until it is acknowledged."),
    "tidegauge_monitor_last_window_end_timestamp_seconds": ("gauge", "End of the last window looked at."),
    "tidegauge_monitor_last_run_timestamp_seconds": ("gauge", "When that window was looked at last."),
    "tidegauge_monitor_late_events": ("gauge", "Events of that window that came after its first run."),
    "tidegauge_monitor_quiet_seconds": ("gauge", "Time from the last event to the end of that window."),
    "tidegauge_monitor_log_files_unread": ("gauge", "Files of the inference log that are yet to be read."),
    "tidegauge_due_windows": ("gauge", "Windows that wait to be looked at, by cause."),
    "tidegauge_schedule_lag_seconds": (
        "gauge",
        "Time since the end of the oldest scheduled window not run.",
    ),
    "tidegauge_alert_firing": ("gauge", "1 while the alert fires."),
    "tidegauge_alert_muted": ("gauge", "1 while nothing is told of the alert."),
    "tidegauge_deliveries": ("gauge", "Notifications not yet sent (waiting, sending) or given up (dropped)."),
    "tidegauge_channel_failing": ("gauge", "1 while nothing gets through to the channel."),
}


def build_router() -> APIRouter:
    """Build the route of one server; it keeps what it has written of the last run of each monitor."""
    router = APIRouter(tags=["system"])
    last_runs = _LastRuns()

    @router.get(
        "/metrics",
        openapi_extra=OPEN,
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    def metrics(connection: HTTPConnection, services: Everything) -> Response:
        """Everything that Prometheus may know; no names of people, no payloads."""
        if services.settings.private_metrics:
            operating(signed_in(connection))
        page = _Scrape(services, last_runs, datetime.now(UTC)).page()
        return Response(page.text().encode(errors="replace"), media_type=CONTENT_TYPE)

    return router


class _Page:
    """Lines by series. Written by hand: prometheus_client takes several times as long for 200 monitors."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, name: str, labels: str, value: float) -> None:
        # Infinity and NaN too are written so that Go, and with it Prometheus, can read them.
        self._lines[name].append(f"{name}{{{labels}}} {value!r}" if labels else f"{name} {value!r}")

    def one_of(self, name: str, labels: str, label: str, kinds: type[StrEnum], current: StrEnum) -> None:
        """Add a series per kind, 1 for the current one and 0 for the others."""
        lines = self._lines[name]
        for kind in kinds:
            lines.append(f'{name}{{{labels},{label}="{kind}"}} {"1" if kind is current else "0"}')

    def take_over(self, other: _Page) -> None:
        for name, lines in other._lines.items():
            self._lines[name].extend(lines)

    def text(self) -> str:
        parts: list[str] = []
        for name, (kind, text) in FAMILIES.items():
            parts += (f"# HELP {name} {text}", f"# TYPE {name} {kind}")
            parts += self._lines.get(name, ())
        return "\n".join(parts) + "\n"


class _LastRuns:
    """What is to be told of the last run of each monitor, written once: a run never changes."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Mapping[str, Threshold], _Page]] = {}

    def pages(self, database: Database, monitors: Mapping[str, Monitor]) -> Iterator[_Page]:
        """Yield the lines of the newest revision of the last window of each monitor."""
        owners = {
            run_id: monitors[monitor_id]
            for monitor_id, run_id in database.monitor_runs.newest("start", "monitor_id").items()
            if monitor_id in monitors  # or made since the monitors were read
        }
        # Thresholds are part of the page, and may change under a run.
        kept = {
            run_id: self._kept[run_id]
            for run_id, monitor in owners.items()
            if run_id in self._kept and self._kept[run_id][0] == monitor.thresholds
        }
        # A few at a time: rows that live shortly are nothing to the garbage collector.
        missing = [run_id for run_id in owners if run_id not in kept]
        for first in range(0, len(missing), _RUNS_AT_ONCE):
            for run in database.monitor_runs.where(id=missing[first : first + _RUNS_AT_ONCE]):
                monitor = owners[run.id]
                kept[run.id] = (monitor.thresholds, _run_page(monitor, run))
        self._kept = kept
        return (page for _, page in kept.values())


class _Scrape:
    """Reads the numbers when Prometheus asks for them, in one query per table whatever there is."""

    def __init__(self, services: Services, last_runs: _LastRuns, now: datetime) -> None:
        self._services = services
        self._database = services.database
        self._last_runs = last_runs
        self._now = now
        self._page = _Page()
        self._add = self._page.add

    def page(self) -> _Page:
        self._add("tidegauge_build_info", _labels(version=__version__), 1)
        self._log()
        self._deployments()
        monitors = self._database.monitors.where()
        self._monitors(monitors)
        self._unread(monitors)
        self._schedule(monitors)
        self._alerts(monitors)
        self._channels()
        return self._page

    def _log(self) -> None:
        counts = self._services.collector.counts()
        for name, series in collector_metrics.SERIES.items():
            self._add(name, "", series.value(counts))
        for done, count in vars(self._services.keeper.counts).items():
            self._add("tidegauge_log_files_total", _labels(done=done), count)

    def _deployments(self) -> None:
        deployments = self._database.deployments.where()
        for state, count in Counter(item.state for item in deployments).items():
            self._add("tidegauge_deployments", _labels(state=state.value), count)
        newest = list(self._database.health_samples.newest("at", "deployment_id").values())
        seen = {sample.deployment_id: sample for sample in self._database.health_samples.where(id=newest)}
        letters = self._database.dead_letters.tally("deployment_id", "kind")
        for deployment in deployments:
            own = _labels(deployment=deployment.name, deployment_id=deployment.id)
            if deployment.origin is Origin.LOCAL:
                self._process(deployment, own, seen.get(deployment.id))
            for kind in ("event", "label"):
                count = letters.get((deployment.id, kind), 0)
                self._add("tidegauge_dead_letters", f'{own},kind="{kind}"', count)

    def _process(self, deployment: Deployment, own: str, sample: HealthSample | None) -> None:
        wanted = deployment.wanted is DeploymentState.RUNNING
        self._add("tidegauge_deployment_wanted", own, int(wanted))
        self._add("tidegauge_deployment_up", own, int(deployment.state is DeploymentState.RUNNING))
        self._add("tidegauge_deployment_restarts_total", own, deployment.restarts)
        if sample is None or not wanted:
            return
        self._add("tidegauge_deployment_ready", own, int(sample.ready))
        if sample.cpu_seconds is not None:
            self._add("tidegauge_deployment_cpu_seconds_total", own, sample.cpu_seconds)
        if sample.memory_bytes is not None:
            self._add("tidegauge_deployment_memory_bytes", own, sample.memory_bytes)

    def _monitors(self, monitors: Iterable[Monitor]) -> None:
        for (state, status), count in Counter((item.state, item.status) for item in monitors).items():
            self._add("tidegauge_monitors", _labels(state=state.value, status=status.value), count)
        for monitor in monitors:
            own = _of(monitor)
            self._page.one_of("tidegauge_monitor_state", own, "state", MonitorState, monitor.state)
            part = f'{own},part="all"'
            self._page.one_of("tidegauge_monitor_status", part, "status", Status, monitor.status)
            if monitor.evidence is not None:
                self._evidence(own, monitor.evidence)
                for name, of_segment in monitor.evidence.segments.items():
                    self._evidence(f"{own},{_labels(segment=name)}", of_segment)
        for page in self._last_runs.pages(self._database, {monitor.id: monitor for monitor in monitors}):
            self._page.take_over(page)

    def _evidence(self, own: str, state: EvidenceState) -> None:
        self._add("tidegauge_monitor_evidence_threshold", own, -math.log(state.alpha))
        self._add("tidegauge_monitor_evidence_resets", own, state.resets)
        if state.result is not None:
            self._add("tidegauge_monitor_evidence_log_e", own, state.result.log_e)
            self._add("tidegauge_monitor_evidence_log_e_peak", own, state.result.log_peak)
            self._add("tidegauge_monitor_evidence_observations", own, state.result.n)
            self._add("tidegauge_monitor_drift_alarm", own, int(state.result.alarm))

    def _unread(self, monitors: Iterable[Monitor]) -> None:
        """Tell how far the best reader is behind; others may be those of old configurations."""
        newest = list(self._database.log_files.newest("number", "deployment_id").values())
        written = {file.deployment_id: file.number for file in self._database.log_files.where(id=newest)}
        read: dict[str, int] = {}
        for reader in self._database.readers.where():
            read[reader.deployment_id] = max(reader.position, read.get(reader.deployment_id, 0))
        for monitor in monitors:
            if monitor.deployment_id in read:
                unread = written.get(monitor.deployment_id, 0) - read[monitor.deployment_id]
                self._add("tidegauge_monitor_log_files_unread", _of(monitor), max(0, unread))

    def _schedule(self, monitors: Iterable[Monitor]) -> None:
        waiting = self._database.due_windows.tally("cause")
        for cause in Cause:
            count = waiting.get((cause.value,), 0)
            self._add("tidegauge_due_windows", _labels(cause=cause.value), count)
        # Not when it was due: that moves with every try of a window that fails.
        scheduled = self._database.due_windows.where(cause=Cause.SCHEDULE, sort="end", limit=1)
        oldest = min([*(window.end for window in scheduled), *_window_ends(monitors)], default=self._now)
        lag = max(0.0, (self._now - oldest).total_seconds())
        self._add("tidegauge_schedule_lag_seconds", "", lag)

    def _alerts(self, monitors: Iterable[Monitor]) -> None:
        owners = {monitor.id: monitor for monitor in monitors}
        for alert in self._database.alerts.where():
            if alert.monitor_id not in owners:  # made since the monitors were read
                continue
            labels = _labels(alert=alert.name, type=alert.rule.type.value, severity=alert.rule.severity.value)
            labels = f"{_of(owners[alert.monitor_id])},{labels}"
            muted = alert.muted_until is not None and self._now < alert.muted_until
            self._add("tidegauge_alert_firing", labels, int(alert.firing_since is not None))
            self._add("tidegauge_alert_muted", labels, int(muted))

    def _channels(self) -> None:
        unsent = self._database.deliveries.tally(
            "channel_id", "state", state=[state.value for state in _TOLD]
        )
        for channel in self._database.channels.where():
            own = _labels(channel=channel.name, channel_id=channel.id, kind=channel.kind.value)
            self._add("tidegauge_channel_failing", own, int(channel.failing_since is not None))
            for state in _TOLD:
                count = unsent.get((channel.id, state.value), 0)
                self._add("tidegauge_deliveries", f'{own},state="{state.value}"', count)


def _run_page(monitor: Monitor, run: MonitorRun) -> _Page:
    page, own = _Page(), _of(monitor)
    for type_ in MetricType:
        part = f'{own},part="{type_.value}"'
        page.one_of("tidegauge_monitor_status", part, "status", Status, run.part(type_))
    page.add("tidegauge_monitor_last_window_end_timestamp_seconds", own, run.end.timestamp())
    page.add("tidegauge_monitor_last_run_timestamp_seconds", own, run.created_at.timestamp())
    page.add("tidegauge_monitor_late_events", own, run.late)
    if run.quiet_minutes is not None:
        page.add("tidegauge_monitor_quiet_seconds", own, run.quiet_minutes * 60)
    values = [(own, metric) for metric in run.metrics]
    for segment in run.segments:
        of_segment = f"{own},{_labels(segment=segment.name)}"
        for type_ in MetricType:
            part = f'{of_segment},part="{type_.value}"'
            page.one_of("tidegauge_monitor_status", part, "status", Status, segment.part(type_))
        values += [(of_segment, metric) for metric in segment.metrics]
    page.add("tidegauge_monitor_values_left_out", own, max(0, len(values) - _MOST))
    for labels, metric in values[:_MOST]:
        _add_value(page, labels, metric, monitor.thresholds.get(metric.name))
    return page


def _add_value(page: _Page, own: str, metric: Metric, threshold: Threshold | None) -> None:
    name, unit = _in_base_units(metric)
    labels = f'{own},type="{metric.type.value}",name="{name}"'
    values = (metric.value, metric.low, metric.high, metric.surely_low, metric.surely_high)
    for series, value in zip(_VALUES, values, strict=True):
        if value is not None:
            page.add(series, labels, value * unit)
    page.add("tidegauge_monitor_value_samples", labels, metric.n)
    if threshold is not None and threshold.type is metric.type:
        page.one_of("tidegauge_monitor_value_status", labels, "status", Status, metric.status)
        for bound, value in (("soft", threshold.soft), ("hard", threshold.hard)):
            page.add("tidegauge_monitor_threshold", f'{labels},bound="{bound}"', value * unit)


def _window_ends(monitors: Iterable[Monitor]) -> Iterator[datetime]:
    """Yield when the next window of each schedule ends: past it a scheduler that has died shows as lag."""
    for monitor in monitors:
        if monitor.state is MonitorState.ACTIVE and monitor.due_from is not None:
            yield monitor.due_from + timedelta(minutes=monitor.config.frequency_minutes)


def _in_base_units(metric: Metric) -> tuple[str, float]:
    """Return the escaped name with its unit, and the factor to it: latencies are milliseconds inside.

    >>> _in_base_units(Metric("latency_p95", MetricType.HEALTH, 12.0, 3, Status.UNKNOWN))
    ('latency_p95_seconds', 0.001)
    """
    if metric.type is MetricType.HEALTH and metric.name.startswith("latency_"):
        return f"{_escape(metric.name)}_seconds", 1e-3
    return _escape(metric.name), 1


def _of(monitor: Monitor) -> str:
    # The name is its owner's alone; the id tells two owners' monitors apart without naming people.
    return _labels(monitor=monitor.name, monitor_id=monitor.id)


def _labels(**values: str) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in values.items())


@lru_cache(maxsize=4096)
def _escape(value: str) -> str:
    r"""Escape a label value and bound its length; a hash at the end keeps two long ones apart.

    >>> print(_escape('a "b"\n'))
    a \"b\"\n
    >>> len(_escape("x" * 1000))
    128
    """
    if len(value) > _LONGEST:
        digest = sha256(value.encode(errors="replace")).hexdigest()[:8]
        value = f"{value[: _LONGEST - 9]}~{digest}"
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
