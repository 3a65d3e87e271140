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
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor
from tidegauge.domain.monitor_config import ImageShape, TrainData
from tidegauge.domain.monitor_config.parts import Tolerances
from tidegauge.domain.schema import TableColumn, complete, infer_prediction
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.services import content
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.tabular.training import TrainingTable, read_training_table
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
from tidegauge.stats.tables import TableBaseline
from tidegauge.stats.tables import fit_baseline as fit_table
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.storage.database import Database
from tidegauge.storage.objects import Blobs, ObjectStore
from tidegauge.storage.observations import Observations

_DESCRIPTION = "description"
_EXPECTED = "expected."
_SAMPLE = "sample"
_TABLE = "table."
_OUTPUTS = "outputs."
_MOST_SAMPLED = 500  # images that a function of a user compares windows with


@dataclass(frozen=True)
class Baseline:
    """What a run compares with; ``image`` and ``table`` are None where drift is off or of the other.

    ``predictions`` counts the classes of the model's reference predictions; ``outputs`` are those of a
    regression; ``paths`` names the training images in the order of the image baseline; ``columns`` are all
    input features of a table, in the order of requests; ``numbers`` tells a regression; ``expectation``
    says what scores are worth;
    ``sample`` are images of it for functions of users, uint8 ``[n, h, w, c]``, None where there are none.
    """

    image: ImageBaseline | None
    paths: tuple[str, ...]
    predictions: Mapping[str, int]
    classes: tuple[str, ...]
    positive: str | None
    expectation: Expectation | None = None
    sample: npt.NDArray[np.uint8] | None = None
    table: TableBaseline | None = None
    columns: tuple[TableColumn, ...] = ()
    outputs: Numbers | None = None
    numbers: bool = False

    @property
    def reference(self) -> ImageBaseline | TableBaseline | None:
        """What evidence ranks observations against; None where there is too little of it."""
        return self.image if self.image is not None and self.image.space is not None else self.table

    def observe(self, batch: Observations) -> npt.NDArray[np.float64] | None:
        """Return the features, for evidence, of what was seen; None where nothing was."""
        if self.image is not None and batch.images is not None:
            return self.image.observe(batch.images)
        if self.table is not None and batch.table is not None:
            return self.table.observe({name: values[batch.seen] for name, values in batch.table.items()})
        return None


@dataclass(frozen=True)
class Built:
    """A baseline that was made: its hash, what it tells of the schema, and which input features it lacks."""

    digest: str
    inferred: tuple[Feature, ...]
    lacking: tuple[str, ...]


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

    def build(self, monitor: Monitor, progress: Callable[[str], None]) -> Built:
        """Make the baseline of a monitor's configuration and schema."""
        repository, model = self._model(monitor)
        positive = model.meta.get("positive")
        reference = self._reference(repository, model)
        is_regression = monitor.config.model_type == "regression"
        outputs = pl.Series([], dtype=pl.Float64) if reference is None else reference["output"]
        classes = [] if is_regression else [str(name) for name in model.meta.get("classes", ())]
        description: dict[str, Any] = {
            # In the words of the labels: 1 and 1.0 are one class.
            "classes": [label_text(name) for name in classes],
            "positive": None if positive is None or is_regression else label_text(positive),
            "predictions": {} if is_regression else dict(Counter(label_text(value) for value in outputs)),
            "paths": (),
            "numbers": is_regression,
        }
        arrays: dict[str, npt.NDArray[Any]] = {}
        expectation = _expectation(reference, classes, description["positive"])
        if is_regression and len(outputs):
            arrays |= _prefixed(_OUTPUTS, _numbers(outputs).to_arrays())
        drift = monitor.config.drift
        if not drift.enabled or drift.train_data is None:
            return Built(self._put(monitor, description, None, expectation, progress, arrays), (), ())
        inferred = [infer_prediction(monitor.config.model_type)]
        lacking: tuple[str, ...] = ()
        images = None
        if monitor.config.input_data_type == "tabular":
            table = self._training_table(monitor.owner, drift.train_data, model)
            inferred += table.features(_targets(monitor, model))
            inputs = tuple(
                feature
                for feature in complete(monitor.schema, inferred, first=not monitor.baseline)
                if feature.kind is FeatureKind.INPUT
            )
            columns = table.columns(inputs)
            lacking = tuple(f.name for f in inputs if f.name not in {column.name for column in columns})
            baseline = table.baseline(columns, {feature.name for feature in inputs if feature.selected})
            arrays |= _prefixed(_TABLE, baseline.to_arrays()) if baseline else {}
            description["columns"] = columns
        elif drift.image:
            images = self._training_images(monitor.owner, drift.train_data, drift.image)
        digest = self._put(monitor, description, images, expectation, progress, arrays)
        return Built(digest, tuple(inferred), lacking)

    def accept(
        self,
        monitor: Monitor,
        observed: Observations,
        images: NamedImages | None,
        predictions: Mapping[str, int],
        progress: Callable[[str], None],
    ) -> str:
        """Make a baseline of what a person accepted: images or rows, and what was predicted of them."""
        known = self.load(monitor)
        description: dict[str, Any] = {
            "classes": known.classes,
            "positive": known.positive,
            "predictions": predictions,
            "paths": (),
            "columns": known.columns,
            "numbers": known.numbers,
        }
        arrays: dict[str, npt.NDArray[Any]] = {}
        if known.table is not None and observed.table is not None:
            rows = np.flatnonzero(observed.seen)
            accepted = {name: observed.table[name][rows] for name in known.table.summaries}
            arrays |= _prefixed(_TABLE, fit_table(accepted).to_arrays())
        if known.outputs is not None:
            answered = observed.scores[~np.isnan(observed.scores).any(axis=1)]
            arrays |= _prefixed(_OUTPUTS, Numbers.of(answered).to_arrays())
        return self._put(monitor, description, images, known.expectation, progress, arrays)

    def _put(
        self,
        monitor: Monitor,
        description: dict[str, Any],
        images: NamedImages | None,
        expectation: Expectation | None,
        progress: Callable[[str], None],
        others: Mapping[str, npt.NDArray[Any]],
    ) -> str:
        arrays = dict(others)
        if images is not None:
            baseline = fit_baseline(
                images,
                _tolerances(monitor.config.evidence.tolerances),
                progress=lambda done, total: progress(f"{done} of {total} images, variants included"),
            )
            arrays |= baseline.to_arrays()
            description = {**description, "paths": images.paths}
            if monitor.config.drift.algorithm == "custom":
                arrays[_SAMPLE] = images[spread(len(images), _MOST_SAMPLED)]
        if expectation is not None:
            arrays |= _prefixed(_EXPECTED, expectation.to_arrays())
        arrays[_DESCRIPTION] = np.frombuffer(orjson.dumps(description), np.uint8)
        return self._keep(monitor.id, arrays)

    def _keep(self, monitor_id: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
        sink = io.BytesIO()
        np.savez_compressed(sink, allow_pickle=False, **arrays)
        data = sink.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        self._store.put(_path(monitor_id, digest), data)
        return digest

    def without_events(self, monitor: Monitor, event_ids: set[str]) -> str | None:
        """Take names and thumbnails of logged events out of a baseline; return the new hash, None for none.

        Their thumbnails become black; what was learned of all images together stays.
        """
        if not monitor.baseline:
            return None
        with np.load(io.BytesIO(self._store.get(_path(monitor.id, monitor.baseline)))) as file:
            arrays = dict(file)
        description = orjson.loads(arrays[_DESCRIPTION].tobytes())
        names = tuple(f"event {id_} [" for id_ in event_ids)
        gone = [row for row, path in enumerate(description["paths"]) if path.startswith(names)]
        if not gone:
            return None
        for row in gone:
            description["paths"][row] = "a deleted event"
        _blacken(arrays, gone)
        arrays[_DESCRIPTION] = np.frombuffer(orjson.dumps(description), np.uint8)
        return self._keep(monitor.id, arrays)

    def forget_others(self, monitor: Monitor) -> None:
        """Delete the baselines that a monitor no longer uses."""
        for info in self._store.list(f"monitors/{monitor.id}"):
            name = info.path.rpartition("/")[2].removesuffix(".npz")
            if info.path == _path(monitor.id, name) and name != monitor.baseline:
                self._store.delete(info.path)

    def load(self, monitor: Monitor) -> Baseline:
        return self._read(monitor.id, monitor.baseline)

    def _read_uncached(self, monitor_id: str, digest: str) -> Baseline:
        with np.load(io.BytesIO(self._store.get(_path(monitor_id, digest))), allow_pickle=False) as file:
            arrays = dict(file)
        description = orjson.loads(arrays.pop(_DESCRIPTION).tobytes())
        expected, table, outputs = (_taken(arrays, prefix) for prefix in (_EXPECTED, _TABLE, _OUTPUTS))
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
            TableBaseline.from_arrays(table) if table else None,
            tuple(TableColumn(**column) for column in description.get("columns", ())),
            Numbers.from_arrays(outputs) if outputs else None,
            description.get("numbers", False),
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

    def _training_table(self, owner: str, train: TrainData, model: Version) -> TrainingTable:
        repository = self._catalogue.get(RepositoryKind.DATASET, owner, train.dataset)
        version = self._catalogue.version(repository, train.version)
        manifest = self._catalogue.manifest(repository, version)
        name = f"{train.dataset!r} {version.label}"
        return read_training_table(manifest, self._catalogue.blobs, name, _takes(model))

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


def _blacken(arrays: dict[str, npt.NDArray[Any]], gone: list[int]) -> None:
    """Overwrite the thumbnails of some images and of their variants, which stand variant by variant."""
    for part in ("plain", "changed", "varied"):
        reduced = arrays[f"samples.{part}.reduced"].copy()
        members = arrays.get(f"samples.{part}.rows", np.arange(len(reduced)))
        places = np.flatnonzero(np.isin(members, gone))
        variants = len(reduced) // max(1, len(members))
        reduced[(np.arange(variants)[:, np.newaxis] * len(members) + places).ravel()] = 0
        arrays[f"samples.{part}.reduced"] = reduced


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


def _takes(model: Version) -> tuple[str, ...]:
    """Return the columns that a model says it takes; none where it does not say."""
    named = model.meta.get("features", ())
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise InvalidInputError("features in model.json must be a list with the names of columns.")
    if len(set(named)) < len(named):
        raise InvalidInputError("features in model.json names a column twice.")
    return tuple(named)


def _targets(monitor: Monitor, model: Version) -> set[str]:
    named = model.meta.get("target")
    return {monitor.config.performance.groundtruth_column, *([named] if isinstance(named, str) else [])}


def _numbers(outputs: pl.Series) -> Numbers:
    try:
        return Numbers.of(outputs.cast(pl.Float64).to_numpy())
    except pl.exceptions.PolarsError as error:
        raise InvalidInputError(
            "reference.parquet of the model has outputs that are no numbers, but model_type is regression."
        ) from error


def _prefixed(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _taken(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Take the arrays with a prefix out of all."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def _path(monitor_id: str, digest: str) -> str:
    return f"monitors/{monitor_id}/{digest}.npz"
