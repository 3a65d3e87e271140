"""Monitors: their states, schema and results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.shown import Shown
from tidegauge.domain.status import Status, worst
from tidegauge.domain.strict import STRICT
from tidegauge.domain.thresholds import Threshold
from tidegauge.errors import ConflictError, InvalidInputError

#: The name of the score of predictions, which no column may have.
PREDICTION = "prediction"

#: The name of the score of a function of the user for a whole table.
WHOLE_TABLE = "table"

_LABELS_LAST = timedelta(days=30)  # how long labels tell of how a model does


class MonitorState(StrEnum):
    INIT = "init"  # a field is missing
    BASELINING = "baselining"
    PENDING = "pending"  # the schema is incomplete
    READY = "ready"
    ACTIVE = "active"
    ERROR = "error"


_NEXT: Mapping[MonitorState, frozenset[MonitorState]] = {
    MonitorState.INIT: frozenset({MonitorState.INIT, MonitorState.BASELINING}),
    MonitorState.BASELINING: frozenset(
        {MonitorState.PENDING, MonitorState.READY, MonitorState.ERROR, MonitorState.INIT}
    ),
    MonitorState.PENDING: frozenset({MonitorState.READY, MonitorState.BASELINING, MonitorState.INIT}),
    MonitorState.READY: frozenset(
        {MonitorState.ACTIVE, MonitorState.BASELINING, MonitorState.PENDING, MonitorState.INIT}
    ),
    MonitorState.ACTIVE: frozenset({MonitorState.READY, MonitorState.ERROR}),
    MonitorState.ERROR: frozenset({MonitorState.BASELINING, MonitorState.INIT}),
}


def check_transition(before: MonitorState, after: MonitorState) -> None:
    """Raise ConflictError where the state machine has no such step."""
    if after not in _NEXT[before]:
        raise ConflictError(f"The monitor is {before.value}; from there it cannot become {after.value}.")


class FeatureKind(StrEnum):
    INPUT = "input_feature"
    PREDICTION = "prediction_output"
    TIMESTAMP = "timestamp"
    ROW_ID = "row_id"


class ValueType(StrEnum):
    CATEGORICAL = "categorical"
    CONTINUOUS = "continuous"


@dataclass(frozen=True)
class Feature:
    """A row of the monitor's schema; one that is not ``selected`` has no score and no evidence."""

    __pydantic_config__ = STRICT
    name: str
    kind: FeatureKind
    value_type: ValueType
    selected: bool = True

    def check(self) -> None:
        """Raise InvalidInputError for a name that no feature can have."""
        if not self.name.strip():
            raise InvalidInputError.of("name", "name is empty; name the feature.")
        if self.kind is FeatureKind.INPUT and self.name == PREDICTION:
            raise InvalidInputError.of(
                "name",
                f"name is {PREDICTION!r}, which is the score of predictions; rename the column, or choose "
                "the kind prediction_output.",
            )


def score_names(config: MonitorConfig, schema: Iterable[Feature]) -> frozenset[str] | None:
    """Return the names that scores of drift have; None while the columns of a table are not known."""
    if config.input_data_type == "image":
        return frozenset({"image", PREDICTION})
    columns = {feature.name for feature in schema if feature.kind is FeatureKind.INPUT}
    if not columns:
        return None
    return frozenset({*columns, PREDICTION, *([WHOLE_TABLE] if config.drift.algorithm == "custom" else [])})


@dataclass(frozen=True)
class EvidenceResult:
    """Where evidence stood at the end of a run, after ``n`` observations; times are those of observations.

    ``log_e``: natural logarithm of the e-process; ``alarm`` stays on until it is acknowledged; ``feature``
    leads, by ``effect`` baseline standard deviations since ``since``.
    """

    log_e: float
    log_peak: float
    alarm: bool
    alarm_at: datetime | None
    since: datetime | None
    feature: str
    effect: float
    n: int


@dataclass(frozen=True)
class EvidenceState:
    """How far a monitor's evidence has come: a fold over the observations in the order of the log.

    ``sequence`` is the last batch of observations that was taken in; ``checkpoint`` the path of the arrays
    as they were at ``checkpoint_sequence``. ``resets`` counts acknowledged alarms, each of which spends
    ``alpha`` again. ``segments`` have evidence of their own, each with a share of alpha.
    """

    sequence: int
    checkpoint: str
    checkpoint_sequence: int
    resets: int
    alpha: float
    result: EvidenceResult | None = None
    segments: Mapping[str, EvidenceState] = field(default_factory=dict)  # in the order of their appearance

    @property
    def acknowledged(self) -> int:
        """How often evidence was begun again, segments included."""
        return self.resets + sum(state.resets for state in self.segments.values())

    @property
    def settled(self) -> int:
        """The batch up to which observations will not be taken in again, whatever crashes."""
        return min([self.checkpoint_sequence, *(s.checkpoint_sequence for s in self.segments.values())])

    @property
    def alarms(self) -> tuple[str, ...]:
        """The segments with an alarm; empty text stands for the whole."""
        states = {"": self, **self.segments}
        return tuple(name for name, state in states.items() if state.result and state.result.alarm)


@dataclass(frozen=True)
class Monitor(Shown):
    """At most one per deployment. ``state`` is the life cycle, ``status`` the last verdict."""

    shown: ClassVar = ("name", "state", "status", "progress", "message", "realised", "last_run_at", "id")

    id: str
    deployment_id: str
    name: str  # of the deployment
    owner: str
    state: MonitorState
    status: Status
    config: MonitorConfig
    config_version: int
    created_at: datetime
    schema: tuple[Feature, ...] = ()
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    baseline: str = ""  # content hash of the baseline in the store
    progress: str = ""  # what baselining is at
    message: str = ""  # why init, pending or error
    last_run_at: datetime | None = None
    due_from: datetime | None = None  # begin of the next window that the schedule has to make due
    look_at: datetime | None = None  # when the schedule has to look for what is new
    look_until: datetime | None = None  # end of the claim of the worker that does
    evidence: EvidenceState | None = None
    metric_names: tuple[tuple[str, MetricType], ...] = ()  # of all windows so far; a name keeps its place
    realised: Status = Status.UNKNOWN  # performance in the newest window that has labels
    realised_at: datetime | None = None  # its end
    shared: bool = False

    def unmet(self) -> str:
        """Say what the schema lacks before the monitor can be ready; empty when complete."""
        if not self.config.drift.enabled:
            return ""
        found = []
        predictions = [feature for feature in self.schema if feature.kind is FeatureKind.PREDICTION]
        if not predictions:
            found.append(
                "The schema has no prediction output; add it with Update Schema "
                "(tidegauge monitor add-feature NAME prediction)."
            )
        if self.config.model_type == "regression":
            found += (
                f"The prediction output {feature.name!r} is categorical, but a regression answers with "
                "numbers; make it continuous."
                for feature in predictions
                if feature.value_type is ValueType.CATEGORICAL
            )
        if self.config.input_data_type == "tabular" and not self.inputs(selected=True):
            found.append(
                "The schema has no selected input feature; add one with Update Schema "
                "(tidegauge monitor add-feature NAME COLUMN --kind input_feature)."
            )
        return " ".join(found)

    def inputs(self, *, selected: bool = False) -> tuple[Feature, ...]:
        """Return the input features of the schema, or the selected ones alone."""
        return tuple(
            feature
            for feature in self.schema
            if feature.kind is FeatureKind.INPUT and (feature.selected or not selected)
        )

    def watches_predictions(self) -> bool:
        """Tell whether predictions have a score of their own."""
        return not any(f.kind is FeatureKind.PREDICTION and not f.selected for f in self.schema)


@dataclass(frozen=True)
class Transition:
    """One change of a monitor's state: when, by whom and why."""

    id: str
    monitor_id: str
    before: MonitorState
    after: MonitorState
    by: str
    why: str
    at: datetime


@dataclass(frozen=True)
class Metric:
    """A score or metric of one run with its interval and verdict; None: too little data."""

    name: str
    type: MetricType
    value: float | None
    n: int
    status: Status
    low: float | None = None
    high: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    surely_low: float | None = None  # confidence sequence of the day: holds at all times at once
    surely_high: float | None = None


def farthest(metrics: Iterable[Metric]) -> Metric | None:
    """Return the score of the inputs that is largest: of images, or of the features of a table."""
    inputs = [m for m in metrics if m.type is MetricType.DRIFT and m.name != PREDICTION]
    return max(inputs, key=lambda metric: -1.0 if metric.value is None else metric.value, default=None)


@dataclass(frozen=True)
class RunImage:
    """One image of the window: its event, its position in the request, how strange it is.

    Answers that are numbers have no ``confidence``.
    """

    event_id: str
    index: int
    time: datetime
    prediction: str
    confidence: float | None
    strangeness: float
    nearest: str  # the nearest image of the training data


class Cause(StrEnum):
    """Why a window was looked at."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    BACKFILL = "backfill"
    LATE_EVENTS = "late events"
    LATE_LABELS = "late labels"
    DELETED_EVENTS = "deleted events"

    @property
    def can_wait(self) -> bool:
        """Tell whether windows of now come first: a file of labels, or a backfill, may touch thousands."""
        return self in (Cause.BACKFILL, Cause.LATE_LABELS, Cause.DELETED_EVENTS)


@dataclass(frozen=True)
class SegmentResult:
    """What was found of the ``n`` observations of one segment in a window."""

    name: str
    n: int
    health: Status
    drift: Status
    performance: Status
    metrics: tuple[Metric, ...] = ()
    evidence: EvidenceResult | None = None

    @property
    def status(self) -> Status:
        return worst([self.health, self.drift, self.performance])

    def part(self, type_: MetricType) -> Status:
        """Return the verdict of one part of the monitor."""
        parts = {MetricType.HEALTH: self.health, MetricType.DRIFT: self.drift}
        return parts.get(type_, self.performance)

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)


@dataclass(frozen=True)
class MonitorRun(Shown):
    """What a monitor found in one window [start, end); later revisions replace earlier ones.

    ``late`` counts the events that arrived after the window had been looked at first; ``quiet_minutes`` is
    the time from the last event to the end of the window, None where there never was one. The verdicts are
    the worst of the whole and of its ``segments``.
    """

    shown: ClassVar = ("start", "end", "status", "health", "drift", "performance", "problems")

    id: str
    monitor_id: str
    config_version: int
    start: datetime
    end: datetime
    revision: int
    created_at: datetime
    status: Status
    health: Status
    drift: Status
    performance: Status
    metrics: tuple[Metric, ...] = ()
    images: tuple[RunImage, ...] = ()
    problems: tuple[str, ...] = ()
    cause: Cause = Cause.MANUAL
    evidence: EvidenceResult | None = None
    late: int = 0
    quiet_minutes: float | None = None
    segments: tuple[SegmentResult, ...] = ()

    def part(self, type_: MetricType) -> Status:
        """Return the verdict of one part of the monitor."""
        parts = {MetricType.HEALTH: self.health, MetricType.DRIFT: self.drift}
        return parts.get(type_, self.performance)

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)

    def realised(self) -> Status | None:
        """Return the worst status of the metrics that come from labels; None where none was judged."""
        judged = [
            metric.status
            for metric in self.metrics
            if metric.type is MetricType.PERFORMANCE
            and metric.name not in EXPECTED
            and metric.status is not Status.UNKNOWN
        ]
        return worst(judged) if judged else None


#: What a monitor has when other labels are to judge it: of another model, or by other thresholds.
UNJUDGED: Mapping[str, Any] = {"realised": Status.UNKNOWN, "realised_at": None}


def by_labels(realised: Status, at: datetime | None, end: datetime) -> Status:
    """Return how performance by labels stands in a window that ends at ``end``: labels are late.

    >>> at, day = datetime(2026, 3, 1), timedelta(days=1)
    >>> [by_labels(Status.CRITICAL, at, at + later * day).value for later in (2, 40)]
    ['critical', 'unknown']
    """
    return realised if at is not None and end - at <= _LABELS_LAST else Status.UNKNOWN


def with_late(status: Status, late: Status) -> Status:
    """Return the status of a newest window, or that of the newest labels where it is worse."""
    return status if late is Status.HEALTHY else worst((status, late))


@dataclass(frozen=True)
class DueWindow:
    """A window that waits to be looked at; ``claimed_until`` ends the claim of a worker that died."""

    id: str
    monitor_id: str
    start: datetime
    end: datetime
    cause: Cause
    due_at: datetime
    claimed_by: str = ""
    claimed_until: datetime | None = None
    tries: int = 0
    error: str = ""

    @property
    def can_wait(self) -> bool:
        """Tell whether windows of now come first."""
        return self.cause.can_wait


@dataclass(frozen=True)
class ConfigVersion:
    """What a monitor was told to do, by whom and when; runs name the version that they followed."""

    id: str
    monitor_id: str
    number: int
    config: MonitorConfig
    by: str
    at: datetime


@dataclass(frozen=True)
class Acknowledgement:
    """An alarm that somebody has looked at: evidence begins again and spends ``alpha`` once more."""

    id: str
    monitor_id: str
    by: str
    at: datetime
    note: str
    alpha: float
    spent: float  # the bound on any false alarm so far, this one included


@dataclass(frozen=True)
class Tally:
    """A day of a monitor: ``counts`` are hits and samples of each proportion, as labels came.

    ``statuses`` counts the windows by their latest status; that of a segment has none.
    """

    id: str  # <monitor id>/<day>, or <monitor id>/<day>/<segment>
    monitor_id: str
    day: datetime
    counts: Mapping[str, tuple[int, int]]
    statuses: Mapping[str, int] = field(default_factory=dict)
