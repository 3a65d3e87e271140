"""The report of a monitor over a span of time: what it says, as data that can be filed and hashed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic_core import to_jsonable_python

from tidegauge.domain.alert import AlertEvent
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Acknowledgement, Feature, MonitorRun, Transition
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.observation import Maintenance
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold

#: Version of the document's form; docs/report.md describes it.
FORM = "tidegauge-report/1"


class Step(StrEnum):
    """What one point of the series stands for."""

    WINDOW = "window"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True)
class AlertLine:
    """An alert as it stood when the report was made."""

    name: str
    type: MetricType
    rule: str
    severity: str
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """What was monitored, as it stood when the report was made."""

    monitor_id: str
    name: str
    owner: str
    state: str
    deployment_id: str
    origin: str
    model: str  # empty, with version 0, where it is none of the catalogue
    model_version: int
    config_version: int
    config: MonitorConfig
    baseline: str  # content hash
    baseline_made_at: datetime | None
    false_alarms: float | None  # bound on the chance of a false drift alarm from one start of the evidence
    schema: tuple[Feature, ...]
    thresholds: Mapping[str, Threshold]
    alerts: tuple[AlertLine, ...]


@dataclass(frozen=True)
class Span:
    """The windows that begin in [start, end)."""

    start: datetime
    end: datetime
    time_zone: str
    frequency_minutes: int


@dataclass(frozen=True)
class Shares:
    """How many windows had which status; ``part`` is monitor for the worst of its parts."""

    part: str
    healthy: int = 0
    warning: int = 0
    critical: int = 0
    unknown: int = 0

    @property
    def windows(self) -> int:
        return self.healthy + self.warning + self.critical + self.unknown

    def share(self, status: Status) -> float:
        """Return the share of the windows with a status; 0 of none."""
        count: int = getattr(self, status.value)
        return count / self.windows if self.windows else 0.0


@dataclass(frozen=True)
class Episode:
    """Critical windows of one part in a row; unknown ones and gaps between them end it."""

    part: str
    start: datetime
    end: datetime
    windows: int


@dataclass(frozen=True)
class AlarmPeriod:
    """A drift alarm: raised at ``raised_at`` (of the observations), seen in windows from start to end."""

    raised_at: datetime | None
    start: datetime
    end: datetime
    windows: int
    feature: str
    effect: float


@dataclass(frozen=True)
class EvidenceSummary:
    """Evidence over ``windows`` that have it; the highest was at the end of a window, ``highest_at``."""

    windows: int
    highest: float  # natural logarithm of the e-process
    highest_at: datetime
    feature: str
    effect: float
    since: datetime | None
    alarms: tuple[AlarmPeriod, ...]


@dataclass(frozen=True)
class Pooled:
    """A metric of all labels of the span together, with its 95% interval."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    windows: int


@dataclass(frozen=True)
class MetricSummary:
    """A metric over the ``windows`` that have a value, from ``n`` samples; worse is the metric's own way."""

    name: str
    type: MetricType
    windows: int
    n: int
    worst: float
    worst_at: datetime
    median: float
    best: float
    warnings: int
    criticals: int
    pooled: Pooled | None
    threshold: Threshold | None


@dataclass(frozen=True)
class Revision:
    """A window that was looked at again, and what that changed."""

    start: datetime
    end: datetime
    revision: int
    cause: str
    made_at: datetime
    before: Status
    after: Status


@dataclass(frozen=True)
class Absent:
    """Windows in a row that were due and have no result; ``waiting`` of them still have their turn."""

    start: datetime
    end: datetime
    windows: int
    waiting: int


@dataclass(frozen=True)
class Change:
    """A field of the configuration that became another."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ConfigChange:
    """A version of the configuration, and what it changed from the one before."""

    number: int
    by: str
    at: datetime
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Notified:
    """Where a told alert went: the channel, how far it came, and when."""

    channel: str
    state: str
    at: datetime | None
    error: str


@dataclass(frozen=True)
class Firing:
    """What an alert has told, and to whom."""

    event: AlertEvent
    notified: tuple[Notified, ...]


@dataclass(frozen=True)
class Problem:
    """What one window found wrong."""

    start: datetime
    text: str


@dataclass(frozen=True)
class Picture:
    """One of the strangest images; there only where images were asked for."""

    event_id: str
    index: int
    time: datetime
    prediction: str
    confidence: float | None
    strangeness: float
    nearest: str
    png_base64: str


@dataclass(frozen=True)
class SegmentSummary:
    """One segment over the span: its windows by status, and how many of them had a drift alarm.

    ``accuracy`` is that of all its labels together; None without any.
    """

    name: str
    observations: int
    windows: int
    healthy: int
    warning: int
    critical: int
    unknown: int
    alarms: int
    accuracy: Pooled | None


@dataclass(frozen=True)
class Report:
    """Everything a report says. The same rows give the same report, whenever and by whomever it is made."""

    subject: Subject
    span: Span
    summary: tuple[str, ...]
    shares: tuple[Shares, ...]
    episodes: tuple[Episode, ...]
    evidence: EvidenceSummary | None
    metrics: tuple[MetricSummary, ...]
    segments: tuple[SegmentSummary, ...]
    config_versions: tuple[int, ...]  # that the runs of the span followed
    absent: tuple[Absent, ...]
    late: int  # events that came after their window had been looked at
    revisions: tuple[Revision, ...]
    firings: tuple[Firing, ...]
    acknowledgements: tuple[Acknowledgement, ...]
    maintenances: tuple[Maintenance, ...]
    transitions: tuple[Transition, ...]
    config_changes: tuple[ConfigChange, ...]
    problems: tuple[Problem, ...]
    step: Step
    series: tuple[MonitorRun, ...]  # what the charts draw: the windows, or hours or days of them
    pictures: tuple[Picture, ...] = ()
    form: str = field(default=FORM)

    def content(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        plain = to_jsonable_python(self)
        plain["series"] = [_point(run) for run in self.series]
        finite: dict[str, Any] = _finite(plain)
        return finite


@dataclass(frozen=True)
class Made:
    """How a report came to be; ``sha256`` is that of its content, see ``digest``."""

    tidegauge: str
    at: datetime
    by: str
    sha256: str


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON values: keys sorted, no spaces, UTF-8, as Python's json writes them.

    >>> digest({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def document(report: Report, made: Made) -> bytes:
    """Return the JSON file: the content, and how it came to be."""
    whole = {"report": report.content(), "made": to_jsonable_python(made)}
    return (json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _point(run: MonitorRun) -> dict[str, Any]:
    evidence = run.evidence
    return to_jsonable_python(  # type: ignore[no-any-return]
        {
            "start": run.start,
            "end": run.end,
            "revision": run.revision,
            "status": run.status,
            "drift": run.drift,
            "performance": run.performance,
            "health": run.health,
            "log_e": evidence.log_e if evidence else None,
            "alarm": evidence.alarm if evidence else None,
            "metrics": {
                m.name: {"value": m.value, "low": m.low, "high": m.high, "n": m.n, "status": m.status}
                for m in run.metrics
            },
        }
    )


def _finite(value: Any) -> Any:
    """Leave out what JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
