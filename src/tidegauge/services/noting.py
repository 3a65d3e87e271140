"""Taking down the files of the log: their numbers say in what order they were written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from tidegauge.domain.observation import LogFile
from tidegauge.errors import ConflictError
from tidegauge.services.repeats import Key, key_of
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import GONE

_TRIES = 20
_AT_ONCE = 500  # rows that are looked up at a time
_RECENT = timedelta(minutes=15)  # senders give up sooner


class Noting:
    """Takes down what is written to the log, by whichever collector."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def note(self, written: Sequence[tuple[str, str]]) -> None:
        """Take down files of the log, in the order of writing; known ones are left out."""
        for deployment_id, path in written:
            for _ in range(_TRIES):
                number = self._database.log_files.highest("number", deployment_id=deployment_id) + 1
                try:
                    self._database.log_files.add(LogFile(path, deployment_id, number, self._now()))
                    break
                except ConflictError:
                    if self._database.log_files.find(id=path):
                        break
                    if not self._database.deployments.find(id=deployment_id):
                        break  # deleted meanwhile
            else:  # other collectors took the number again and again
                raise ConflictError(f"The log file {path} could not be taken down; it is tried again.")

    def known(self, paths: Collection[str]) -> set[str]:
        """Return which of these files were taken down before: they may have been merged or deleted since."""
        return {file.id for file in rows_of(self._database, paths)}

    def recent(self, log: InferenceLog) -> Iterator[Key]:
        """Yield the keys of the events that were written last, newest file first."""
        since = self._now() - _RECENT
        looked: set[str] = set()
        for file in self._database.log_files.between("written_at", since, None, sort="-written_at"):
            path = file.merged_into or file.id  # late events are joined with others soon
            if path in looked:
                continue
            looked.add(path)
            for source, event_id, type_ in self._keys(log, path):
                yield key_of(file.deployment_id, source, event_id, type_)

    def _keys(self, log: InferenceLog, path: str) -> list[tuple[str, str, str]]:
        """Return the keys of a file of the log, wherever its events are by now."""
        try:
            return log.keys(path)
        except GONE:
            file = self._database.log_files.find(id=path)
            return self._keys(log, file.merged_into) if file and file.merged_into else []


def rows_of(database: Database, paths: Iterable[str]) -> list[LogFile]:
    """Return what is known of some files of the log."""
    wanted = list(paths)
    parts = (wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE))
    return [file for part in parts for file in database.log_files.where(id=part)]
