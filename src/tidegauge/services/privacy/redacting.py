"""A log without images: once their features are read, the payloads of requests are taken out."""

from __future__ import annotations

from tidegauge.domain.observation import Reader
from tidegauge.errors import NotFoundError
from tidegauge.services.extraction import Extraction
from tidegauge.services.privacy.tombstones import Tombstones
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
        self._tombstones = Tombstones(database)

    def follow(self, deployment_id: str, extraction: Extraction) -> None:
        """Take the images out of what has been read, and drop observations that have thumbnails."""
        reader = self._database.readers.find(id=f"{deployment_id}/{extraction.id}")
        if reader is None:
            return
        self._redact(reader)
        for other in self._database.readers.where(deployment_id=deployment_id):
            if other.extractor != extraction.id:
                self._drop(deployment_id, other.extractor)
                self._database.readers.delete(other.id)

    def _redact(self, reader: Reader) -> None:
        """Redact what was read; a request that waits for its response keeps its images until then."""
        waiting, number = frozenset(reader.halves), 0
        while files := self._database.log_files.between(
            "number",
            number + 1,
            reader.position + 1,
            deployment_id=reader.deployment_id,
            redacted=False,
            sort="number",
            limit=_AT_ONCE,
        ):
            for file in files:
                try:
                    whole = self._log.redact(reader.deployment_id, file.id, waiting)
                    self._erase_again(reader.deployment_id, file.id)
                except NotFoundError:
                    whole = True  # deleted since
                if whole:
                    self._database.log_files.update(file.id, redacted=True)
            number = files[-1].number

    def _erase_again(self, deployment_id: str, path: str) -> None:
        """Take out what was deleted while the file was written again."""
        if self._tombstones.of(deployment_id):
            records = self._log.file(deployment_id, path)
            kept = {record.event.id for record in self._tombstones.kept(records)}
            self._log.erase(path, {record.event.id for record in records} - kept)

    def _drop(self, deployment_id: str, extractor: str) -> None:
        files = self._database.observation_files.where(deployment_id=deployment_id, extractor=extractor)
        self._files.delete(files)  # first: a crash leaves rows that say what is still to go
        self._database.observation_files.delete_where(deployment_id=deployment_id, extractor=extractor)
