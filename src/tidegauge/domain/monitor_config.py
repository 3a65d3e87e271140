"""What a monitor is told to do: every field of its four tabs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from zoneinfo import available_timezones

from tidegauge.domain.strict import STRICT
from tidegauge.errors import FieldError, InvalidInputError


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
