"""What a monitor is told to do: every field of its four tabs, and what stands beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tidegauge.domain.monitor_config.checks import check_fields
from tidegauge.domain.monitor_config.live import needs_baseline
from tidegauge.domain.monitor_config.parts import (
    DOCUMENTED,
    CustomFunction,
    DriftConfig,
    EvidenceConfig,
    HealthConfig,
    ImageShape,
    PerformanceConfig,
    PerSource,
    TimeConfig,
    Tolerances,
    TrainData,
)
from tidegauge.errors import FieldError, InvalidInputError

__all__ = [
    "CustomFunction",
    "DriftConfig",
    "EvidenceConfig",
    "HealthConfig",
    "ImageShape",
    "MonitorConfig",
    "PerSource",
    "PerformanceConfig",
    "TimeConfig",
    "Tolerances",
    "TrainData",
    "needs_baseline",
]


@dataclass(frozen=True)
class MonitorConfig:
    """What a monitor is told to do. A field that is left out has its default."""

    __pydantic_config__ = DOCUMENTED
    model_type: Literal["classification", "regression"] = "classification"
    """What the model answers: classes or numbers."""
    input_data_type: Literal["image", "tabular"] = "image"
    """What the model is asked with."""
    frequency_minutes: int = 5
    """Length of a window; windows are aligned from midnight of the time zone."""
    time_zone: str = "UTC"
    """IANA name, such as Europe/Berlin."""
    minimum_samples: int = 5
    """With fewer in a window the verdict is unknown."""
    segments: str = ""
    """Attribute of the events, such as hospital, by whose values windows are looked at apart; empty: none."""
    keep_images: bool = True
    """false: of images only features are kept, never pixels."""
    health: HealthConfig = field(default_factory=HealthConfig)
    """The health of the deployment."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    """Requests and predictions beside the training data."""
    performance: PerformanceConfig = field(default_factory=PerformanceConfig)
    """Answers beside the truth."""
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    """When evidence of drift is an alarm."""
    time: TimeConfig = field(default_factory=TimeConfig)
    """How late and how wrong times may be."""

    def errors(self) -> list[FieldError]:
        """Return every field that has a wrong value, or one that makes no sense beside the others."""
        return check_fields(self)

    def check(self) -> None:
        """Raise InvalidInputError with every field that has a wrong value, all at once."""
        errors = self.errors()
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))

    def missing(self) -> tuple[str, ...]:
        """Return the fields without which the monitor stays ``init``."""
        if not self.drift.enabled:
            return ()
        shape = (("drift.image", self.drift.image),) if self.input_data_type == "image" else ()
        fields = (*shape, ("drift.train_data", self.drift.train_data))
        return tuple(name for name, value in fields if value is None)
