"""What of a valid configuration this version carries out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tidegauge.domain.monitor_config.checks import value_at
from tidegauge.errors import FieldError

if TYPE_CHECKING:
    from tidegauge.domain.monitor_config import MonitorConfig

#: The only values that are carried out, by field; of a field that is not here all are.
_CARRIED_OUT: Mapping[str, tuple[object, ...]] = {
    "keep_images": (True,),
}

#: What an active monitor takes on without a new baseline.
_LIVE = (
    "frequency_minutes",
    "time_zone",
    "minimum_samples",
    "health",
    "performance",
    "evidence.minimum_effect",
    "time",
)


def unsupported(config: MonitorConfig) -> list[FieldError]:
    """Return the fields whose values are valid, but that this version does not carry out yet."""
    return [
        FieldError(name, f"{name} {_given(value)}, which is not carried out yet; {_remedy(values)}.")
        for name, values in _CARRIED_OUT.items()
        if (value := value_at(config, name)) not in values
    ]


def needs_baseline(fields: Iterable[str]) -> tuple[str, ...]:
    """Return those of these dotted fields that cannot change without a new baseline.

    >>> needs_baseline(["performance.enabled", "drift.image.height", "time_zone"])
    ('drift.image.height',)
    """
    return tuple(name for name in fields if not any(f"{name}.".startswith(f"{live}.") for live in _LIVE))


def _given(value: object) -> str:
    return f"is {value!r}" if isinstance(value, str | int | float) else "differs from the default"


def _remedy(values: tuple[object, ...]) -> str:
    if all(isinstance(value, str | int | float) and value != "" for value in values):
        return f"use {' or '.join(str(value) for value in values)}"
    return "leave it out"
