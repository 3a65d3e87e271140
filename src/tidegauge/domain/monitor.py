"""Monitors: their configuration, states and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from zoneinfo import available_timezones

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.status import Status
from tidegauge.domain.strict import STRICT
from tidegauge.domain.thresholds import Threshold
from tidegauge.errors import ConflictError, FieldError, InvalidInputError


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


@dataclass(frozen=True)
class ImageShape:
    __pydantic_config__ = STRICT
    height: int
    width: int
    channels: int = 1
    channel_order: Literal["channels_last", "channels_first"] = "channels_last"


@dataclass(frozen=True)
class TrainData:
    """The Dataset version that the baseline is made of."""

    __pydantic_config__ = STRICT
    dataset: str
    version: int


@dataclass(frozen=True)
class HealthConfig:
    __pydantic_config__ = STRICT
    enabled: bool = True


@dataclass(frozen=True)
class DriftConfig:
    __pydantic_config__ = STRICT
    enabled: bool = False
    algorithm: Literal["auto"] = "auto"
    image: ImageShape | None = None
    train_data: TrainData | None = None
    predict_data: Literal["cloudevents"] = "cloudevents"


@dataclass(frozen=True)
class PerformanceConfig:
    """Labels dropped as CSV or Parquet files below ``prefix`` (default: <deployment id>/livedata)."""

    __pydantic_config__ = STRICT
    enabled: bool = False
    compute: Literal["labelled_data"] = "labelled_data"
    prefix: str = ""
    groundtruth_column: str = "label"
    prediction_column: str = "output"
    timestamp_column: str = "timestamp"
    positive: str = ""  # the class that precision and recall speak of; empty: the model's own


@dataclass(frozen=True)
class MonitorConfig:
    __pydantic_config__ = STRICT
    model_type: Literal["classification"] = "classification"
    input_data_type: Literal["image"] = "image"
    frequency_minutes: int = 5
    time_zone: str = "UTC"
    minimum_samples: int = 5  # with fewer the verdict is unknown
    health: HealthConfig = field(default_factory=HealthConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    performance: PerformanceConfig = field(default_factory=PerformanceConfig)

    def check(self) -> None:
        """Raise InvalidInputError with every field that has a wrong value, all at once."""
        errors = [
            FieldError(name, f"{name} is {value}; give a whole number from {low} to {high}.")
            for name, value, low, high in self._ranges()
            if not low <= value <= high
        ]
        if self.time_zone not in available_timezones():
            errors.append(
                FieldError(
                    "time_zone", f"time_zone is {self.time_zone!r}; use an IANA name such as Europe/Berlin."
                )
            )
        if self.performance.prefix.startswith("/") or ".." in self.performance.prefix.split("/"):
            errors.append(
                FieldError(
                    "performance.prefix",
                    f"performance.prefix is {self.performance.prefix!r}; give a path in the store "
                    "without a leading '/' and without '..'.",
                )
            )
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))

    def _ranges(self) -> list[tuple[str, int, int, int]]:
        ranges = [
            ("frequency_minutes", self.frequency_minutes, 1, 1440),
            ("minimum_samples", self.minimum_samples, 1, 1_000_000),
        ]
        if self.drift.image:
            image = self.drift.image
            ranges += [
                ("drift.image.height", image.height, 8, 8192),
                ("drift.image.width", image.width, 8, 8192),
                ("drift.image.channels", image.channels, 1, 3),
            ]
        return ranges

    def missing(self) -> tuple[str, ...]:
        """Return the fields without which the monitor stays ``init``."""
        if not self.drift.enabled:
            return ()
        fields = (("drift.image", self.drift.image), ("drift.train_data", self.drift.train_data))
        return tuple(name for name, value in fields if value is None)


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
    """A row of the monitor's schema."""

    __pydantic_config__ = STRICT
    name: str
    kind: FeatureKind
    value_type: ValueType


@dataclass(frozen=True)
class Monitor:
    """At most one per deployment. ``state`` is the life cycle, ``status`` the last verdict."""

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

    def unmet(self) -> str:
        """Say what the schema lacks before the monitor can be ready; empty when complete."""
        has_prediction = any(feature.kind is FeatureKind.PREDICTION for feature in self.schema)
        if self.config.drift.enabled and not has_prediction:
            return (
                "The schema has no prediction output; add it with Update Schema "
                "(tidegauge monitor add-feature NAME prediction)."
            )
        return ""


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


@dataclass(frozen=True)
class RunImage:
    """One image of the window: its event, its position in the request, how strange it is."""

    event_id: str
    index: int
    time: datetime
    prediction: str
    confidence: float
    strangeness: float
    nearest: str  # the nearest image of the training data


@dataclass(frozen=True)
class MonitorRun:
    """What a monitor found in one window [start, end); later revisions replace earlier ones."""

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

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)
