"""A log without images: once their features are read, the payloads of requests are taken out."""

from __future__ import annotations

from collections.abc import Container, Sequence

from tidegauge.domain.observation import LogFile, Reader
from tidegauge.errors import NotFoundError
from tidegauge.services.extraction import Extraction
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
        self._redact(reader)
        for other in self._database.readers.where(deployment_id=deployment_id):
            if other.extractor != extraction.id:
                self._drop(deployment_id, other.extractor)
                self._database.readers.delete(other.id)

    def _redact(self, reader: Reader) -> None:
        """Redact what was read; a request that waits for its response keeps its images until then."""
        waiting, number = reader.waiting, 0
        while files := self._database.log_files.between(
            "number",
            number + 1,
            reader.position + 1,
            deployment_id=reader.deployment_id,
            redacted=False,
            sort="number",
            limit=_AT_ONCE,
        ):
            places: dict[str, list[LogFile]] = {}
            for file in files:
                places.setdefault(file.merged_into or file.id, []).append(file)
            for place, parts in places.items():
                self._redact_file(reader.deployment_id, place, parts, waiting)
            number = files[-1].number

    def _redact_file(
        self, deployment_id: str, place: str, files: Sequence[LogFile], waiting: Container[str]
    ) -> None:
        """Redact a file, or what is left of some in the one that they were merged into."""
        parts = [file.id for file in files] if files[0].merged_into else []
        try:
            kept = self._log.redact(deployment_id, place, waiting, parts)
        except NotFoundError:
            kept = set()  # deleted since, or merged: then it is redacted there, the next time
        for file in files:
            if file.id not in kept:
                self._database.log_files.update(file.id, {"merged_into": file.merged_into}, redacted=True)

    def _drop(self, deployment_id: str, extractor: str) -> None:
        files = self._database.observation_files.where(deployment_id=deployment_id, extractor=extractor)
        self._files.delete(files)  # first: a crash leaves rows that say what is still to go
        self._database.observation_files.delete_where(deployment_id=deployment_id, extractor=extractor)
