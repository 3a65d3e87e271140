"""A log without images: once their features are read, the payloads of requests are taken out."""

from __future__ import annotations

from tidegauge.domain.observation import Reader
from tidegauge.errors import NotFoundError
from tidegauge.services.observing import Extraction
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.observations import ObservationStore

_AT_ONCE = 64


class Redacting:
    """Follows the reader of a monitor that keeps no images; what a crash leaves over goes the next time."""

    def __init__(self, database: Database, log: InferenceLog, files: ObservationStore) -> None:
        self._database = database
        self._log = log
        self._files = files

    def follow(self, deployment_id: str, extraction: Extraction) -> None:
        """Take the images out of what has been read, and drop observations that have thumbnails."""
        reader = self._database.readers.find(id=f"{deployment_id}/{extraction.id}")
        if reader is None:
            return
        while self._redact(reader, frozenset(reader.halves)):
            pass
        for other in self._database.readers.where(deployment_id=deployment_id):
            if other.extractor != extraction.id:
                self._drop(deployment_id, other.extractor)
                self._database.readers.delete(other.id)

    def _redact(self, reader: Reader, waiting: frozenset[str]) -> bool:
        """Redact some files that were read; tell whether there may be more."""
        deployment_id = reader.deployment_id
        files = self._database.log_files.between(
            "number",
            None,
            reader.position + 1,
            deployment_id=deployment_id,
            redacted=False,
            sort="number",
            limit=_AT_ONCE,
        )
        done = 0
        for file in files:
            try:
                whole = self._log.redact(deployment_id, file.id, waiting)
            except NotFoundError:
                whole = True  # deleted since
            if whole:  # else a request waits for its response: its images are still to be read
                self._database.log_files.update(file.id, redacted=True)
                done += 1
        return done == _AT_ONCE

    def _drop(self, deployment_id: str, extractor: str) -> None:
        files = self._database.observation_files.where(deployment_id=deployment_id, extractor=extractor)
        self._database.observation_files.delete_where(deployment_id=deployment_id, extractor=extractor)
        self._files.delete(files)
