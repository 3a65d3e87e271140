"""What of a configuration an active monitor takes on."""

from __future__ import annotations

from collections.abc import Iterable

#: What needs no new baseline.
_LIVE = (
    "frequency_minutes",
    "time_zone",
    "minimum_samples",
    "health",
    "performance",
    "evidence.minimum_effect",
    "time",
)


def needs_baseline(fields: Iterable[str]) -> tuple[str, ...]:
    """Return those of these dotted fields that cannot change without a new baseline.

    >>> needs_baseline(["performance.enabled", "drift.image.height", "time_zone"])
    ('drift.image.height',)
    """
    return tuple(name for name in fields if not any(f"{name}.".startswith(f"{live}.") for live in _LIVE))
