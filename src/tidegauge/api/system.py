"""``/healthz``, ``/readyz``, ``/metrics`` and who am I."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tidegauge import __version__
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.users import User
from tidegauge.services.bundle import Services
from tidegauge.web.access import OPEN, Caller, Everything

router = APIRouter(tags=["system"])


@dataclass(frozen=True)
class Health:
    status: Literal["ok"]
    version: str


@router.get("/healthz", openapi_extra=OPEN)
def healthz() -> Health:
    """The process lives."""
    return Health("ok", __version__)


@router.get("/readyz", openapi_extra=OPEN)
def readyz(services: Everything) -> Health:
    """Database and store answer."""
    services.database.check()
    services.store.check()
    return Health("ok", __version__)


@router.get("/api/v1/me")
def me(caller: Caller) -> User:
    """Who the token belongs to."""
    return caller.user


@router.get("/metrics", openapi_extra=OPEN, response_class=Response)
def metrics(services: Everything) -> Response:
    """Counts and states for Prometheus; no names of people, no payloads."""
    registry = CollectorRegistry()
    registry.register(_Numbers(services))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Numbers:
    """Reads the numbers when Prometheus asks for them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        counts = self._services.collector.counts()
        for name, value, text in (
            ("received", counts.received, "Events made durable and acknowledged."),
            ("refused", counts.refused, "Events refused."),
        ):
            metric = CounterMetricFamily(f"tidegauge_events_{name}", text)
            metric.add_metric([], value)
            yield metric
        yield self._deployments()
        monitors = self._services.database.monitors.where()
        yield self._monitors(monitors)
        yield self._last_runs(monitors)

    def _deployments(self) -> Metric:
        states = Counter(item.state.value for item in self._services.database.deployments.where())
        metric = GaugeMetricFamily("tidegauge_deployments", "Deployments by state.", labels=["state"])
        for state, count in sorted(states.items()):
            metric.add_metric([state], count)
        return metric

    def _monitors(self, monitors: Sequence[Monitor]) -> Metric:
        pairs = Counter((monitor.state.value, monitor.status.value) for monitor in monitors)
        metric = GaugeMetricFamily(
            "tidegauge_monitors", "Monitors by state and status.", labels=["state", "status"]
        )
        for pair, count in sorted(pairs.items()):
            metric.add_metric(list(pair), count)
        return metric

    def _last_runs(self, monitors: Sequence[Monitor]) -> Metric:
        values = GaugeMetricFamily(
            "tidegauge_monitor_value",
            "Scores and metrics of the last run.",
            labels=["monitor", "type", "name"],
        )
        for monitor in monitors:
            run = self._services.monitors.last_run(monitor)
            for item in run.metrics if run else ():
                if item.value is not None:
                    values.add_metric([monitor.name, item.type.value, item.name], item.value)
        return values
