"""Observations: what was read of each logged event, and how far the reading has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidegauge.domain.events import Event, Key

PATIENCE = timedelta(hours=1)  # for the other half of an exchange


@dataclass(frozen=True)
class LogFile:
    """A file of the inference log; ``number`` counts the files of a deployment in the order of writing.

    ``redacted``: the images of its requests are gone. ``merged_into`` is the larger file that has its rows by
    now; ``gone_at`` is when they were deleted because of their age or the log's size.
    """

    id: str  # path in the store
    deployment_id: str
    number: int
    written_at: datetime
    redacted: bool = False
    merged_into: str = ""
    gone_at: datetime | None = None


@dataclass(frozen=True)
class Half:
    """A request, or a response, whose other half has not come yet, and the log file that has it."""

    path: str
    received: datetime
    time: datetime


def half_key(event: Event) -> str:
    """Return the key of an event as one text: its source and its id, neither of which has a line break."""
    return "\n".join(event.key)


def key_of_half(text: str) -> Key:
    """Return the key that ``half_key`` wrote; an earlier version wrote the id alone: its source is empty."""
    source, _, event_id = text.rpartition("\n")
    return source, event_id


@dataclass(frozen=True)
class Reader:
    """How far one extractor has read the log of one deployment.

    ``position`` is the number of the last log file read, ``sequence`` that of the last batch written.
    ``begun`` is how far another extractor had come when this one began: what it had read is not late.
    ``halves`` are by ``half_key``.
    """

    id: str  # <deployment id>/<extractor>
    deployment_id: str
    extractor: str
    position: int = 0
    sequence: int = 0
    begun: int = 0
    halves: Mapping[str, Half] = field(default_factory=dict)

    @property
    def waiting(self) -> frozenset[str]:
        """Ids of the events whose other half has not come yet."""
        return frozenset(key_of_half(text)[1] for text in self.halves)


@dataclass(frozen=True)
class ObservationFile:
    """A file of observations: batches ``first_sequence`` to ``last_sequence``, times first to last."""

    id: str  # path in the store
    deployment_id: str
    extractor: str
    first: datetime
    last: datetime
    first_sequence: int
    last_sequence: int
    rows: int


@dataclass(frozen=True)
class DeadLetter:
    """What could not be used, and why: an event of the log, a label, or events of an hour."""

    id: str
    deployment_id: str
    kind: str  # event, label or hour
    event_id: str
    source: str  # the log file or label file, with its row
    reason: str
    time: datetime | None
    noticed_at: datetime


@dataclass(frozen=True)
class Label:
    """The true answer to one logged request; the newest of the same event (or file row) counts.

    ``output`` is the model's answer where the label came with one; else it is looked up by ``event_id``.
    ``superseded_at`` is set once another label has taken its place: history is kept.
    """

    id: str
    deployment_id: str
    time: datetime
    event_id: str
    index: int
    output: str
    label: str
    source: str  # path of the label file, or who posted it
    row: int
    received_at: datetime
    superseded_at: datetime | None = None


@dataclass(frozen=True)
class LabelFile:
    """A label file that was taken in, as it was then."""

    id: str  # path in the store
    deployment_id: str
    digest: str  # of size and time of change
    rows: int
    problems: int
    read_at: datetime


@dataclass(frozen=True)
class HealthSample:
    """What a served process was like at one moment; ``cpu_seconds`` counts from its start."""

    id: str
    deployment_id: str
    at: datetime
    ready: bool
    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    started_at: datetime | None = None


@dataclass(frozen=True)
class Maintenance:
    """A span of time in which the alerts of a monitor are not told."""

    id: str
    monitor_id: str
    start: datetime
    end: datetime
    reason: str
    by: str
