"""What Prometheus may know of a collector, in a server and in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegauge.services.collector import CollectorCounts


@dataclass(frozen=True)
class Series:
    """A series without labels: its type, its help, and its value."""

    kind: str
    help: str
    value: Callable[[CollectorCounts], int]


SERIES = {
    "tidegauge_events_received_total": Series(
        "counter", "Events made durable and acknowledged.", lambda c: c.received
    ),
    "tidegauge_events_received_bytes_total": Series(
        "counter", "Bytes of payload of received events.", lambda c: c.bytes
    ),
    "tidegauge_events_repeated_total": Series(
        "counter", "Events that came once more, and were not stored again.", lambda c: c.repeated
    ),
    "tidegauge_events_refused_total": Series("counter", "Events refused.", lambda c: c.refused),
    "tidegauge_events_written_total": Series(
        "counter", "Events written to the inference log.", lambda c: c.written
    ),
    "tidegauge_log_segments_pending": Series(
        "gauge", "Segments of events that wait for the store.", lambda c: c.pending
    ),
    "tidegauge_log_damaged_spans_total": Series(
        "counter", "Spans of segments that could not be read.", lambda c: c.damaged
    ),
    "tidegauge_log_write_failing": Series(
        "gauge", "1 while the last write to the inference log has failed.", lambda c: int(bool(c.failure))
    ),
}


def text(counts: CollectorCounts) -> str:
    """Return all of it in Prometheus' text format."""
    return "".join(
        f"# HELP {name} {series.help}\n# TYPE {name} {series.kind}\n{name} {series.value(counts)}\n"
        for name, series in SERIES.items()
    )
