"""Verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    """What a comparison with thresholds says; ``unknown`` means too little data."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


#: From the least to the worst.
ORDER = (Status.UNKNOWN, Status.HEALTHY, Status.WARNING, Status.CRITICAL)


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst verdict: critical, warning, healthy; unknown only where nothing is known.

    >>> worst([Status.HEALTHY, Status.UNKNOWN, Status.WARNING]).value
    'warning'
    >>> worst([]).value
    'unknown'
    """
    return max(statuses, key=ORDER.index, default=Status.UNKNOWN)
