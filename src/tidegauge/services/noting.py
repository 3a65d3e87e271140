"""Taking down the files of the log: their numbers say in what order they were written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta

from tidegauge.domain.observation import LogFile
from tidegauge.errors import ConflictError, NotFoundError
from tidegauge.services.repeats import Key, key_of
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog

_TRIES = 20
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
        return {file.id for file in self._database.log_files.where(id=list(paths))}

    def recent(self, log: InferenceLog) -> Iterator[Key]:
        """Yield the keys of the events that were written last, newest file first."""
        since = self._now() - _RECENT
        for file in self._database.log_files.between("written_at", since, None, sort="-written_at"):
            try:
                for source, event_id, type_ in log.keys(file.id):
                    yield key_of(file.deployment_id, source, event_id, type_)
            except NotFoundError:
                continue  # deleted, or joined with others, meanwhile
