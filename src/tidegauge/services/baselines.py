"""Baselines: the summary of the training data that drift is measured from."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from tidegauge.domain.catalogue import Repository, RepositoryKind, Version
from tidegauge.domain.content import Manifest
from tidegauge.domain.labels import label_text
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.monitor_config import ImageShape, TrainData
from tidegauge.domain.monitor_config.parts import Tolerances
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.services import content
from tidegauge.services.catalogue import Catalogue
from tidegauge.stats.images import ImageBaseline, fit_baseline
from tidegauge.stats.images.changes import (
    Tolerance,
    brightened,
    contrasted,
    noisy,
    reencoded,
    resized,
    rotated,
    zoomed,
)
from tidegauge.stats.performance.expected import Expectation, fit_expectation
from tidegauge.storage.database import Database
from tidegauge.storage.objects import Blobs, ObjectStore

_DESCRIPTION = "description"
_EXPECTED = "expected."
_SAMPLE = "sample"
_MOST_SAMPLED = 500  # images that a function of a user compares windows with


@dataclass(frozen=True)
class Baseline:
    """What a run compares with; ``image`` is None where drift is off.

    ``predictions`` counts the classes of the model's reference predictions; ``paths`` names the
    training images in the order of the image baseline; ``expectation`` says what scores are worth;
    ``sample`` are images of it for functions of users, uint8 ``[n, h, w, c]``, None where there are none.
    """

    image: ImageBaseline | None
    paths: tuple[str, ...]
    predictions: Mapping[str, int]
    classes: tuple[str, ...]
    positive: str | None
    expectation: Expectation | None = None
    sample: npt.NDArray[np.uint8] | None = None


class NamedImages(Protocol):
    """Images by rows, with the name of each once it has been read."""

    paths: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]: ...


class Baselines:
    """Makes baselines, stores them by content hash, and reads them back."""

    def __init__(self, database: Database, store: ObjectStore, catalogue: Catalogue) -> None:
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._read = lru_cache(maxsize=32)(self._read_uncached)

    def build(self, monitor: Monitor, progress: Callable[[str], None]) -> str:
        """Make the baseline of a monitor's configuration; return its hash."""
        repository, model = self._model(monitor)
        positive = model.meta.get("positive")
        reference = self._reference(repository, model)
        outputs = () if reference is None else reference["output"]
        classes = [str(name) for name in model.meta.get("classes", ())]
        description: dict[str, Any] = {
            # In the words of the labels: 1 and 1.0 are one class.
            "classes": [label_text(name) for name in classes],
            "positive": None if positive is None else label_text(positive),
            "predictions": dict(Counter(label_text(value) for value in outputs)),
            "paths": (),
        }
        expectation = _expectation(reference, classes, description["positive"])
        drift = monitor.config.drift
        images = None
        if drift.enabled and drift.image and drift.train_data:
            images = self._training_images(monitor.owner, drift.train_data, drift.image)
        return self._put(monitor, description, images, expectation, progress)

    def accept(
        self,
        monitor: Monitor,
        images: NamedImages,
        predictions: Mapping[str, int],
        progress: Callable[[str], None],
    ) -> str:
        """Make a baseline of images that a person accepted, and what was predicted of them."""
        known = self.load(monitor)
        description = {
            "classes": known.classes,
            "positive": known.positive,
            "predictions": predictions,
            "paths": (),
        }
        return self._put(monitor, description, images, known.expectation, progress)

    def _put(
        self,
        monitor: Monitor,
        description: dict[str, Any],
        images: NamedImages | None,
        expectation: Expectation | None,
        progress: Callable[[str], None],
    ) -> str:
        arrays: dict[str, npt.NDArray[Any]] = {}
        if images is not None:
            baseline = fit_baseline(
                images,
                _tolerances(monitor.config.evidence.tolerances),
                progress=lambda done, total: progress(f"{done} of {total} images, variants included"),
            )
            arrays = baseline.to_arrays()
            description = {**description, "paths": images.paths}
            if monitor.config.drift.algorithm == "custom":
                arrays[_SAMPLE] = images[spread(len(images), _MOST_SAMPLED)]
        if expectation is not None:
            arrays |= {f"{_EXPECTED}{name}": array for name, array in expectation.to_arrays().items()}
        arrays[_DESCRIPTION] = np.frombuffer(orjson.dumps(description), np.uint8)
        sink = io.BytesIO()
        np.savez_compressed(sink, allow_pickle=False, **arrays)
        data = sink.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        self._store.put(_path(monitor.id, digest), data)
        return digest

    def load(self, monitor: Monitor) -> Baseline:
        return self._read(monitor.id, monitor.baseline)

    def _read_uncached(self, monitor_id: str, digest: str) -> Baseline:
        with np.load(io.BytesIO(self._store.get(_path(monitor_id, digest))), allow_pickle=False) as file:
            arrays = dict(file)
        description = orjson.loads(arrays.pop(_DESCRIPTION).tobytes())
        expected = {
            name.removeprefix(_EXPECTED): arrays.pop(name)
            for name in list(arrays)
            if name.startswith(_EXPECTED)
        }
        sample = arrays.pop(_SAMPLE, None)
        try:
            image = ImageBaseline.from_arrays(arrays) if arrays else None
            expectation = Expectation.from_arrays(expected) if expected else None
        except (KeyError, TypeError, ValueError) as error:
            raise ConflictError(
                "The baseline was made by another version of Tidegauge; stop the monitor and make it anew "
                "with: tidegauge monitor baseline"
            ) from error
        return Baseline(
            image,
            tuple(description["paths"]),
            description["predictions"],
            tuple(description["classes"]),
            description["positive"],
            expectation,
            sample,
        )

    def _model(self, monitor: Monitor) -> tuple[Repository, Version]:
        deployment = self._database.deployments.get(monitor.deployment_id)
        repository = self._catalogue.get(RepositoryKind.MODEL, monitor.owner, deployment.model_id)
        return repository, self._catalogue.version(repository, deployment.model_version)

    def _reference(self, repository: Repository, model: Version) -> pl.DataFrame | None:
        """Return what the model predicted on held-out data when it was trained; None where nobody knows."""
        for file in self._catalogue.manifest(repository, model).files:
            if file.path == "reference.parquet":
                frame = pl.read_parquet(io.BytesIO(self._catalogue.blobs.get(file.sha256)))
                if "output" not in frame.columns:
                    raise InvalidInputError("reference.parquet of the model has no column 'output'.")
                return frame
        return None

    def _training_images(self, owner: str, train: TrainData, shape: ImageShape) -> _TrainingImages:
        repository = self._catalogue.get(RepositoryKind.DATASET, owner, train.dataset)
        version = self._catalogue.version(repository, train.version)
        manifest = self._catalogue.manifest(repository, version)
        if not manifest.rows:
            raise InvalidInputError.of(
                "drift.train_data",
                f"Version v{train.version} of the dataset {train.dataset!r} has no images for a baseline.",
            )
        return _TrainingImages(manifest, self._catalogue.blobs, shape)


class _TrainingImages:
    """The images of a version, read when they are asked for: never all of them in memory."""

    def __init__(self, manifest: Manifest, blobs: Blobs, shape: ImageShape) -> None:
        self.paths = [""] * manifest.rows
        self._manifest = manifest
        self._blobs = blobs
        self._shape = shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        indices = rows.tolist()
        shape = self._shape
        images, _labels, paths = content.load_images(
            self._manifest, self._blobs, shape.height, shape.width, shape.channels, indices=indices
        )
        for row, path in zip(indices, paths, strict=True):
            self.paths[row] = path
        return images


def spread(n: int, most: int) -> npt.NDArray[np.int64]:
    """Return the rows of at most so many of ``n`` things, evenly spread.

    >>> spread(3, 10).tolist(), spread(10, 4).tolist()
    ([0, 1, 2], [0, 3, 6, 9])
    """
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)


def _tolerances(wanted: Tolerances) -> tuple[Tolerance, ...]:
    made = [reencoded(wanted.jpeg_quality)] if wanted.jpeg_quality is not None else []
    made += [resized()] if wanted.resize else []
    for make, size in (
        (brightened, wanted.brightness),
        (contrasted, wanted.contrast),
        (rotated, wanted.rotation_degrees),
        (zoomed, wanted.zoom),
        (noisy, wanted.noise),
    ):
        made += [make(size)] if size else []
    return tuple(made)


def _expectation(
    reference: pl.DataFrame | None, classes: list[str], positive: str | None
) -> Expectation | None:
    """Learn what scores are worth, where the held-out predictions have scores (``p_<class>``) and labels."""
    columns = [f"p_{name}" for name in classes]
    if reference is None or len(classes) < 2 or not {"label", *columns} <= set(reference.columns):
        return None
    labels = [label_text(value) for value in reference["label"]]
    names = [label_text(name) for name in classes]
    try:
        return fit_expectation(
            reference.select(columns).to_numpy(), labels, names, positive, rng=np.random.default_rng(0)
        )
    except ValueError as error:
        raise InvalidInputError(f"reference.parquet of the model cannot be used: {error}.") from error


def _path(monitor_id: str, digest: str) -> str:
    return f"monitors/{monitor_id}/{digest}.npz"
