"""How large the inference log of a deployment is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class LogSize:
    """What the log of a deployment takes up, and what has become of its files.

    ``files`` and ``bytes`` are those in the store. ``first`` is the hour that the log begins with, ``last``
    the time of its last event. ``merged`` files are parts of larger ones by now, ``gone`` ones were deleted
    with their hour, since the log is kept for ``keep_days`` days and up to ``keep_bytes`` (0: all is kept).
    """

    files: int
    bytes: int
    first: datetime | None
    last: datetime | None
    merged: int
    gone: int
    keep_days: int
    keep_bytes: int
