"""The images that pages show: those of a window, and those of a baseline."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.content import ContentForm, Manifest
from tidegauge.domain.erasure import digest_of
from tidegauge.domain.events import REQUEST_TYPE, Event
from tidegauge.domain.images import encode_png
from tidegauge.domain.monitor import Monitor, MonitorRun, RunImage
from tidegauge.domain.monitor_config import ImageShape, MonitorConfig
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.services import content
from tidegauge.services.baselines import Baselines
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.extraction import extraction_for
from tidegauge.services.payloads import decode_images
from tidegauge.services.privacy.tombstones import Tombstones
from tidegauge.services.sources.logs import Logs
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.observations import ObservationStore

_LOGGED = re.compile(r"event (.+) \[(\d+)\]\Z", re.DOTALL)  # how a baseline names an image of the log
_AT_ONCE = 48  # images of a window, the strangest, that are read together
_SPAN_MOST = 2000  # images of a window that is read at once; of a larger one, images are read one by one
_KEPT_SECONDS = 10.0  # that the images of a window stay in memory: as long as a page loads
_KEPT_BYTES = 64 << 20
_MANIFESTS = 4
_TRAINING = 64  # images of training data in memory

Key = tuple[str, int]  # event and place in it


@dataclass(frozen=True)
class TrainingImage:
    """An image that a baseline was made of, as PNG in the shape that the model sees, and its label."""

    png: bytes
    label: str | None


@dataclass(frozen=True)
class _Kept:
    """Images of the window that was shown last."""

    window: tuple[str, datetime, datetime, ImageShape]
    until: float
    images: dict[Key, bytes]


class Showing:
    """Reads images where they stand: in the log, and in a version of a Dataset."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        logs: Logs,
        log: InferenceLog,
        files: ObservationStore,
        baselines: Baselines,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._logs = logs
        self._log = log
        self._files = files
        self._baselines = baselines
        self._clock = clock
        self._tombstones = Tombstones(database)
        self._kept: _Kept | None = None
        self._lock = threading.Lock()
        self._manifest = lru_cache(maxsize=_MANIFESTS)(self._read_manifest)
        self._training = lru_cache(maxsize=_TRAINING)(self._read_training)

    def config(self, monitor: Monitor, number: int) -> MonitorConfig:
        """Return what a monitor was told to do in one version of its configuration."""
        if number == monitor.config_version:
            return monitor.config
        found = self._database.config_versions.find(monitor_id=monitor.id, number=number)
        if found is None:
            raise NotFoundError(f"The monitor has no configuration {number}.")
        return found.config

    def image(self, monitor: Monitor, run: MonitorRun, event_id: str, index: int) -> bytes:
        """Return an image of the run's window as PNG."""
        config = self.config(monitor, run.config_version)
        if not monitor.config.keep_images or not config.keep_images:
            raise NotFoundError("The monitor keeps no images (keep_images: false).")
        shape, key = config.drift.image, (event_id, index)
        shown = next((i for i in run.images if (i.event_id, i.index) == key), None)
        if shown is None or shape is None:
            raise NotFoundError(f"The run has no image {index} of event {event_id!r}.")
        self.check_kept(monitor, event_id)
        found = self._together(monitor, run, shape).get(key)
        if found is None:
            found = self._read(monitor, shape, shown.time, shown.time, {key}).get(key)
        if found is None:
            raise NotFoundError(f"The log has no image {index} of event {event_id!r} any more.")
        return found

    def events(self, monitor: Monitor, image: RunImage) -> tuple[Event | None, Event | None]:
        """Return the request and the response of an image, as far as the log has them."""
        request = response = None
        for event in self._events(monitor, image.time, image.time, {(image.event_id, image.index)}):
            if event.id != image.event_id:
                continue
            if event.type == REQUEST_TYPE:
                request = request or event
            else:
                response = response or event
        return request, response

    def deleted(self, monitor: Monitor) -> Callable[[str], bool]:
        """Return what tells whether an event of the deployment was deleted."""
        known = self._tombstones.of(monitor.deployment_id)
        return lambda event_id: bool(known) and digest_of(monitor.deployment_id, event_id) in known

    def check_kept(self, monitor: Monitor, event_id: str) -> None:
        """Raise NotFoundError for a deleted event."""
        if self.deleted(monitor)(event_id):
            raise NotFoundError(f"The event {event_id!r} was deleted, its image with it.")

    def training(self, monitor: Monitor, number: int, name: str) -> TrainingImage:
        """Return an image that a baseline names, by the monitor's configuration of that number.

        NotFoundError says what is there no more.
        """
        config = self.config(monitor, number)
        shape, train = config.drift.image, config.drift.train_data
        if shape is None:
            raise NotFoundError("The monitor has no image shape.")
        if logged := _LOGGED.match(name):
            return TrainingImage(self._accepted(monitor, shape, logged[1], int(logged[2])), None)
        if train is None:
            raise NotFoundError("The monitor has no training data.")
        repository = self._catalogue.get(RepositoryKind.DATASET, monitor.owner, train.dataset)
        return self._training(monitor.owner, repository.id, train.version, name, shape)

    def _read_manifest(self, owner: str, repository_id: str, number: int) -> Manifest:
        repository = self._catalogue.get(RepositoryKind.DATASET, owner, repository_id)
        return self._catalogue.manifest(repository, self._catalogue.version(repository, number))

    def _read_training(
        self, owner: str, repository_id: str, number: int, name: str, shape: ImageShape
    ) -> TrainingImage:
        manifest = self._manifest(owner, repository_id, number)
        place = _place(manifest, name)
        if place is None:
            raise NotFoundError(f"The training data v{number} have no image {name!r}.")
        size = shape.height, shape.width, shape.channels
        found = next(content.read_images(manifest, self._catalogue.blobs, *size, indices=[place]))
        return TrainingImage(encode_png(found[0]), found[1])

    def _accepted(self, monitor: Monitor, shape: ImageShape, event_id: str, index: int) -> bytes:
        """Return an image of a window that was accepted as the baseline."""
        if not monitor.config.keep_images or not monitor.baseline:
            raise NotFoundError("The monitor keeps no images (keep_images: false), or has no baseline.")
        self.check_kept(monitor, event_id)
        extraction = extraction_for(monitor, self._baselines)
        when = self._files.times(monitor.deployment_id, extraction.id, {event_id}).get(event_id)
        found = self._read(monitor, shape, when, when, {(event_id, index)}) if when else {}
        if (event_id, index) not in found:
            raise NotFoundError(f"The log has no image {index} of event {event_id!r} any more.")
        return found[event_id, index]

    def _together(self, monitor: Monitor, run: MonitorRun, shape: ImageShape) -> dict[Key, bytes]:
        """Return the strangest images of a window: a page asks for all of them at about the same time."""
        if len(run.images) > _SPAN_MOST:
            return {}
        window = (monitor.id, run.start, run.end, shape)
        with self._lock:
            kept = self._kept
            if kept and kept.window == window and self._clock() < kept.until:
                return kept.images
            wanted = sorted(run.images, key=lambda image: -image.strangeness)[:_AT_ONCE]
            times = [image.time for image in wanted]
            keys = {(image.event_id, image.index) for image in wanted}
            images = self._read(monitor, shape, min(times), max(times), keys)
            self._kept = _Kept(window, self._clock() + _KEPT_SECONDS, images)
            return images

    def _read(
        self, monitor: Monitor, shape: ImageShape, first: datetime, last: datetime, wanted: set[Key]
    ) -> dict[Key, bytes]:
        """Return those of the wanted images that the log has from first to last, both included."""
        places: dict[str, list[int]] = {}
        for event_id, index in wanted:
            places.setdefault(event_id, []).append(index)
        found: dict[Key, bytes] = {}
        size = 0
        for event in self._events(monitor, first, last, wanted):
            if event.type != REQUEST_TYPE or event.id not in places:
                continue
            try:
                pixels = decode_images(event, shape)
            except InvalidInputError:
                continue  # its payload was taken out, or is of another shape
            for index in places[event.id]:
                if index < len(pixels) and size < _KEPT_BYTES:
                    png = found[event.id, index] = encode_png(pixels[index])
                    size += len(png)
        return found

    def _events(self, monitor: Monitor, first: datetime, last: datetime, wanted: set[Key]) -> Iterator[Event]:
        """Yield events of the log from first to last, among them those that are wanted and there."""
        until = last + timedelta(microseconds=1)
        if monitor.config.drift.predict_data == "cloudevents":
            yield from self._log.read(monitor.deployment_id, first, until)
            return
        if not monitor.baseline:
            return  # nothing was observed that says in which file an event is
        extraction = extraction_for(monitor, self._baselines)
        observed = self._files.window(monitor.deployment_id, extraction.id, first, until)
        ids = {event_id for event_id, _ in wanted}
        rows = zip(observed.event_id.tolist(), observed.log_file.tolist(), strict=True)
        for path in sorted({path for event_id, path in rows if event_id in ids}):
            try:
                yield from (record.event for record in self._logs.file(monitor.deployment_id, path))
            except NotFoundError:
                continue


def _place(manifest: Manifest, name: str) -> int | None:
    """Return the row of the image that a baseline names; None where there is none."""
    path, row = name, 0
    if manifest.form is ContentForm.NUMPY:
        path, _, number = name.rpartition("#")
        row = int(number) if number.isdecimal() else 0
    start = 0
    for file in manifest.files:
        if file.path == path:
            return start + row if row < file.rows else None
        start += file.rows
    return None
