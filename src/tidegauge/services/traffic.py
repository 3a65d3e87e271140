"""What comes of a deployment: when something last came, and how much comes a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.domain.events import SERVED_TYPE
from tidegauge.domain.observation import LogFile
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import GONE

#: Of a server not ours nobody knows more after so long without an event.
QUIET = timedelta(hours=1)
_SPAN = timedelta(minutes=5)
_MOST = 500  # files of the log that are looked into


@dataclass(frozen=True)
class Flow:
    """How many ``inferences`` came in the last ``minutes``, and when the ``last`` event did."""

    last: datetime | None
    inferences: int
    minutes: float

    @property
    def per_minute(self) -> float:
        return self.inferences / self.minutes


class Traffic:
    """Knows of what comes by the files of the log, which are taken down as they are written."""

    def __init__(self, database: Database, log: InferenceLog, now: Callable[[], datetime]) -> None:
        self._files = database.log_files
        self._log = log
        self._now = now

    def is_quiet(self, deployment_id: str) -> bool:
        """Tell whether nothing has come for an hour."""
        last = self._last(deployment_id)
        return last is None or self._now() - last >= QUIET

    def flow(self, deployment_id: str) -> Flow:
        """Return how much came of late, whatever time its events tell; what was sent twice counts once."""
        since = self._now() - _SPAN
        newest = self._files.where(deployment_id=deployment_id, sort="-number", limit=_MOST)
        seen: set[tuple[str, str]] = set()
        for file in newest:
            if file.written_at < since:
                break
            keys = self._keys(file)
            seen |= {(source, event_id) for source, event_id, type_ in keys if type_ != SERVED_TYPE}
        return Flow(newest[0].written_at if newest else None, len(seen), _SPAN.total_seconds() / 60)

    def _keys(self, file: LogFile) -> list[tuple[str, str, str]]:
        """Return the keys of the events of a file, wherever they are by now; none where they are deleted."""
        try:
            return self._log.keys(file.id, file.merged_into)
        except GONE:
            now = self._files.find(id=file.id)
            return self._keys(now) if now and now.merged_into != file.merged_into else []

    def _last(self, deployment_id: str) -> datetime | None:
        newest = self._files.where(deployment_id=deployment_id, sort="-number", limit=1)
        return newest[0].written_at if newest else None
