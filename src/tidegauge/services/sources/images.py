"""The images of logged requests, wherever the log stands."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tidegauge.domain.events import REQUEST_TYPE, Key
from tidegauge.domain.monitor import Monitor
from tidegauge.errors import InvalidInputError
from tidegauge.services.payloads import decode_images
from tidegauge.services.sources.logs import Logs
from tidegauge.storage.observations import Observations
from tidegauge.storage.segments import Record


class LoggedImages:
    """The images of logged requests, read when they are asked for: never all of them in memory."""

    def __init__(self, logs: Logs, monitor: Monitor, observed: Observations) -> None:
        self._logs = logs
        self._monitor = monitor
        self._observed = observed
        self.paths = [
            f"event {event} [{index}]"
            for event, index in zip(observed.event_id, observed.index.tolist(), strict=True)
        ]
        self._file = lru_cache(maxsize=8)(self._read)

    def __len__(self) -> int:
        return len(self._observed)

    def __getitem__(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        shape = self._monitor.config.drift.image
        if shape is None:
            raise InvalidInputError("The monitor has no image shape any more.")
        found: dict[tuple[Key, int], npt.NDArray[np.uint8]] = {}
        images = []
        for row in rows.tolist():
            key = str(self._observed.event_source[row]), str(self._observed.event_id[row])
            path, index = str(self._observed.log_file[row]), int(self._observed.index[row])
            if (key, index) not in found:
                record = self._file(path).get(key)
                if record is None:
                    raise InvalidInputError(f"The log has no event {key[1]!r} any more.")
                pixels = decode_images(record.event, shape)
                found |= {(key, place): image for place, image in enumerate(pixels)}
            images.append(found[key, index])
        return np.stack(images)

    def _read(self, path: str) -> dict[Key, Record]:
        records = self._logs.file(self._monitor.deployment_id, path)
        requests = [record for record in records if record.event.type == REQUEST_TYPE]
        # What an earlier version has observed has no source.
        return {("", one.event.id): one for one in requests} | {one.event.key: one for one in requests}
