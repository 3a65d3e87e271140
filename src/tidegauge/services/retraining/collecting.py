"""Collecting: a new version of the training data, from the one before and labelled live images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from tidegauge.domain.catalogue import Repository, RepositoryKind, Version, VersionState
from tidegauge.domain.content import Manifest
from tidegauge.domain.events import REQUEST_TYPE
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.domain.retraining import Collected, DatasetVersion, Retraining
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services import content
from tidegauge.services.baselines import Baselines
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.extraction import extraction_of
from tidegauge.services.payloads import decode_images, is_unit
from tidegauge.services.retraining.growing import Growing, pixel_digest
from tidegauge.services.retraining.truth import Live, live_images
from tidegauge.services.sources.logs import Logs
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import ObservationStore

Progress = Callable[[str], None]

_AT_ONCE = 1000
_STEPS = 500  # images between two notes of progress
_SAMPLED = 50  # requests that are asked in which range their grey levels are
_COLLECTED = TypeAdapter(Collected)


class Collecting:
    """Makes the version once, whatever crashes: it has the id of its retraining."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        log: Logs,
        files: ObservationStore,
        catalogue: Catalogue,
        baselines: Baselines,
    ) -> None:
        self._database = database
        self._store = store
        self._log = log
        self._files = files
        self._catalogue = catalogue
        self._baselines = baselines

    def collect(self, monitor: Monitor, retraining: Retraining, progress: Progress) -> Collected:
        """Return what was collected; of a version that has been made already, what it says of itself."""
        made = self._database.versions.find(id=retraining.id)
        if made is None or made.state is not VersionState.READY:
            made = self._make(monitor, retraining, progress)
        found = _COLLECTED.validate_python(made.meta["lineage"]["collected"])
        return replace(found, data=DatasetVersion(found.before.dataset, made.number))

    def tested(self, retraining: Retraining) -> Manifest:
        """Return the live images that were kept from the training data."""
        return Manifest.from_json(self._store.get(_tested_path(retraining)))

    def _make(self, monitor: Monitor, retraining: Retraining, progress: Progress) -> Version:
        shape, train = monitor.config.drift.image, monitor.config.drift.train_data
        held_out = retraining.plan.held_out
        if shape is None or train is None or held_out is None:
            raise ConflictError("The monitor has no image shape or training data any more; configure it.")
        before = DatasetVersion(train.dataset, train.version)
        repository, manifest = self._content(monitor.owner, before)
        progress("reading the held-out set")
        _, others = self._content(monitor.owner, held_out)
        growing = Growing(
            manifest, {digest for _, digest in self._digests(others, shape)}, self._catalogue.blobs
        )
        for number, (path, digest) in enumerate(self._digests(manifest, shape)):
            growing.note(path, digest)
            if number % _STEPS == 0:
                progress(f"{number} of {manifest.rows} images of the training data")
        self._take_live(monitor, retraining, shape, growing, progress)
        if not growing.added:
            raise InvalidInputError(f"There is no labelled live image to add: {growing.left_out()}.")
        collected = growing.collected(before)
        self._store.put(_tested_path(retraining), growing.tested_manifest().to_json())
        return self._catalogue.make_version(
            repository,
            retraining.id,
            growing.manifest(f"live-{retraining.id}"),
            {"lineage": _lineage(monitor, retraining, collected)},
        )

    def _content(self, owner: str, wanted: DatasetVersion) -> tuple[Repository, Manifest]:
        kind = RepositoryKind.DATASET
        repository = self._catalogue.get(kind, owner, wanted.dataset)
        version = self._catalogue.ready_version(kind, owner, wanted.dataset, wanted.version)
        return repository, self._catalogue.manifest(repository, version)

    def _digests(self, manifest: Manifest, shape: ImageShape) -> Iterator[tuple[str, str]]:
        size = shape.height, shape.width, shape.channels
        for image, _label, path in content.read_images(manifest, self._catalogue.blobs, *size):
            yield path, pixel_digest(image)

    def _take_live(
        self,
        monitor: Monitor,
        retraining: Retraining,
        shape: ImageShape,
        growing: Growing,
        progress: Progress,
    ) -> None:
        plan = retraining.plan
        if plan.start is None or plan.end is None:
            raise ConflictError("The retraining has no span; start another one.")
        baseline = self._baselines.load(monitor)
        found = live_images(
            self._database,
            self._files,
            monitor.deployment_id,
            extraction_of(monitor, baseline),
            baseline.classes,
            plan.start,
            plan.end,
        )
        while part := list(islice(found, _AT_ONCE)):
            usable = [live for live in part if growing.is_usable(live)]
            for live, image in self._images(monitor, shape, usable, growing):
                growing.take(live, image)
            progress(f"{growing.added} live images taken, {growing.counts.total()} left out")

    def _images(
        self, monitor: Monitor, shape: ImageShape, lives: list[Live], growing: Growing
    ) -> Iterator[tuple[Live, npt.NDArray[np.uint8]]]:
        """Read the images of logged requests, a file of the log at a time."""
        by_file: dict[str, list[Live]] = defaultdict(list)
        for live in lives:
            by_file[live.log_file].append(live)
        for path, wanted in by_file.items():
            try:
                records = self._log.file(monitor.deployment_id, path)
            except NotFoundError:
                growing.counts["gone"] += len(wanted)  # the log is kept for a limited time
                continue
            events = [record.event for record in records if record.event.type == REQUEST_TYPE]
            requests = {("", event.id): event for event in events} | {event.key: event for event in events}
            for live in wanted:
                try:
                    request = requests[live.event_source, live.event_id]
                    image = decode_images(request, shape)[live.index]
                except (KeyError, IndexError, InvalidInputError):
                    growing.counts["gone"] += 1
                    continue
                if len(growing.units) < _SAMPLED:
                    growing.units.append(is_unit(request, shape))
                yield live, np.ascontiguousarray(image)


def _tested_path(retraining: Retraining) -> str:
    return f"monitors/{retraining.monitor_id}/retrainings/{retraining.id}.json"


def _lineage(monitor: Monitor, retraining: Retraining, collected: Collected) -> dict[str, Any]:
    plan = retraining.plan
    found = {
        "retraining": retraining.id,
        "monitor": {"id": monitor.id, "name": monitor.name},
        "start": plan.start,
        "end": plan.end,
        "held_out": plan.held_out,
        "collected": collected,
    }
    return dict(to_jsonable_python(found))
