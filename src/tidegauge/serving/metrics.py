"""Prometheus metrics of a model server, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegauge.serving.eventlog import LogCounts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts inferences by protocol and HTTP status, and how long they took."""

    def __init__(self, log_counts: Callable[[], LogCounts]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tidegauge_inference_requests",
            "Inference requests by protocol and HTTP status.",
            ("protocol", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tidegauge_inference_seconds",
            "Time from the whole request to the whole answer.",
            ("protocol",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_LogMetrics(log_counts))
        ProcessCollector(registry=self._registry)
        self.served = 0

    def count(self, protocol: str, code: int, seconds: float) -> None:
        """Count one answered inference request."""
        self.served += 1
        self._requests.labels(protocol, str(code)).inc()
        self._seconds.labels(protocol).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _LogMetrics(Collector):
    """Reads the counts of the inference log when they are asked for."""

    def __init__(self, log_counts: Callable[[], LogCounts]) -> None:
        self._log_counts = log_counts

    def collect(self) -> Iterable[Metric]:
        counts = self._log_counts()
        yield GaugeMetricFamily("tidegauge_log_queued", "Inferences that wait to be logged.", counts.queued)
        for name, text, value in (
            ("acknowledged", "Inferences that the collector took.", counts.acknowledged),
            ("dropped_overflow", "Inferences unlogged because the queue was full.", counts.dropped_overflow),
            ("refused", "Inferences that the collector refused.", counts.refused),
        ):
            yield CounterMetricFamily(f"tidegauge_log_{name}", text, value)
