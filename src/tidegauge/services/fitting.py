"""Fitting baselines: from training data, or from a window that a person accepted."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from tidegauge.domain.catalogue import Repository, RepositoryKind, Version
from tidegauge.domain.content import Manifest
from tidegauge.domain.labels import label_text
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor
from tidegauge.domain.monitor_config import ImageShape, TrainData
from tidegauge.domain.monitor_config.parts import Tolerances
from tidegauge.domain.schema import complete, infer_prediction
from tidegauge.errors import InvalidInputError
from tidegauge.services import content
from tidegauge.services.baselines import Baseline, Baselines
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.tabular.training import TrainingTable, read_training_table
from tidegauge.stats.images import fit_baseline
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
from tidegauge.stats.tables import fit_baseline as fit_table
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.storage.database import Database
from tidegauge.storage.objects import Blobs
from tidegauge.storage.observations import Observations

_MOST_SAMPLED = 500  # images that a function of a user compares windows with


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


class Fitting:
    """Makes baselines, and keeps them."""

    def __init__(self, database: Database, catalogue: Catalogue, baselines: Baselines) -> None:
        self._database = database
        self._catalogue = catalogue
        self._baselines = baselines

    def build(self, monitor: Monitor, progress: Callable[[str], None]) -> Built:
        """Make the baseline of a monitor's configuration and schema."""
        said, reference = self._model(monitor)
        table = self._training_table(monitor, said)
        if reference is None and table is not None:
            reference = table.answers(monitor.config.performance.prediction_column)
        positive = said.get("positive")
        is_regression = monitor.config.model_type == "regression"
        outputs = pl.Series([], dtype=pl.Float64) if reference is None else reference["output"]
        classes = [] if is_regression else [str(name) for name in said.get("classes", ())]
        positive = None if positive is None or is_regression else label_text(positive)
        made = Baseline(
            None,
            (),
            {} if is_regression else dict(Counter(label_text(value) for value in outputs)),
            tuple(label_text(name) for name in classes),  # in the words of the labels: 1 and 1.0 are one
            positive,
            _expectation(reference, classes, positive),
            outputs=_numbers(outputs) if is_regression and len(outputs) else None,
            numbers=is_regression,
        )
        drift = monitor.config.drift
        if not drift.enabled or drift.train_data is None:
            return Built(self._baselines.keep(monitor.id, made), (), ())
        inferred = [infer_prediction(monitor.config.model_type)]
        lacking: tuple[str, ...] = ()
        if table is not None:
            inferred += table.features(_answers(monitor, said))
            inputs = tuple(
                feature
                for feature in complete(monitor.schema, inferred, first=not monitor.baseline)
                if feature.kind is FeatureKind.INPUT
            )
            columns = table.columns(inputs)
            lacking = tuple(f.name for f in inputs if f.name not in {column.name for column in columns})
            selected = {feature.name for feature in inputs if feature.selected}
            made = replace(made, table=table.baseline(columns, selected), columns=columns)
        elif drift.image:
            images = self._training_images(monitor.owner, drift.train_data, drift.image)
            made = _with_images(made, monitor, images, progress)
        return Built(self._baselines.keep(monitor.id, made), tuple(inferred), lacking)

    def accept(
        self,
        monitor: Monitor,
        observed: Observations,
        images: NamedImages | None,
        predictions: Mapping[str, int],
        progress: Callable[[str], None],
    ) -> str:
        """Make a baseline of what a person accepted: images or rows, and what was predicted of them."""
        known = self._baselines.load(monitor)
        made = replace(known, image=None, paths=(), sample=None, predictions=predictions)
        if known.table is not None and observed.table is not None:
            rows = np.flatnonzero(observed.seen)
            accepted = {name: observed.table[name][rows] for name in known.table.summaries}
            made = replace(made, table=fit_table(accepted))
        if known.numbers:
            answered = observed.scores[~np.isnan(observed.scores).any(axis=1)]
            made = replace(made, outputs=Numbers.of(answered))
        if images is not None:
            made = _with_images(made, monitor, images, progress)
        return self._baselines.keep(monitor.id, made)

    def _model(self, monitor: Monitor) -> tuple[Mapping[str, Any], pl.DataFrame | None]:
        """Return what a model says of itself, and its reference predictions, None where nobody knows them.

        Of one that is not in the catalogue its deployment says what is known.
        """
        deployment = self._database.deployments.get(monitor.deployment_id)
        if not deployment.model_id:
            return deployment.said, None
        repository = self._catalogue.get(RepositoryKind.MODEL, monitor.owner, deployment.model_id)
        model = self._catalogue.version(repository, deployment.model_version)
        return model.meta, self._reference(repository, model)

    def _reference(self, repository: Repository, model: Version) -> pl.DataFrame | None:
        """Return what the model predicted on held-out data when it was trained; None where nobody knows."""
        for file in self._catalogue.manifest(repository, model).files:
            if file.path == "reference.parquet":
                frame = pl.read_parquet(io.BytesIO(self._catalogue.blobs.get(file.sha256)))
                if "output" not in frame.columns:
                    raise InvalidInputError("reference.parquet of the model has no column 'output'.")
                return frame
        return None

    def _training_table(self, monitor: Monitor, said: Mapping[str, Any]) -> TrainingTable | None:
        """Return the table that drift is measured from; None where it is not, or from images."""
        drift = monitor.config.drift
        if not drift.enabled or drift.train_data is None or monitor.config.input_data_type != "tabular":
            return None
        repository = self._catalogue.get(RepositoryKind.DATASET, monitor.owner, drift.train_data.dataset)
        version = self._catalogue.version(repository, drift.train_data.version)
        manifest = self._catalogue.manifest(repository, version)
        name = f"{drift.train_data.dataset!r} {version.label}"
        return read_training_table(manifest, self._catalogue.blobs, name, _takes(said))

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


def _with_images(
    baseline: Baseline, monitor: Monitor, images: NamedImages, progress: Callable[[str], None]
) -> Baseline:
    fitted = fit_baseline(
        images,
        _tolerances(monitor.config.evidence.tolerances),
        progress=lambda done, total: progress(f"{done} of {total} images, variants included"),
    )
    custom = monitor.config.drift.algorithm == "custom"
    sample = images[spread(len(images), _MOST_SAMPLED)] if custom else None
    return replace(baseline, image=fitted, paths=tuple(images.paths), sample=sample)


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


def _takes(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns that a model says it takes; none where it does not say."""
    named = said.get("features", ())
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise InvalidInputError("features in model.json must be a list with the names of columns.")
    if len(set(named)) < len(named):
        raise InvalidInputError("features in model.json names a column twice.")
    return tuple(named)


def _answers(monitor: Monitor, said: Mapping[str, Any]) -> set[str]:
    """Return the columns of a training table that are no inputs: the truth, and what the model answered."""
    named, columns = said.get("target"), monitor.config.performance
    target = [named] if isinstance(named, str) else []
    return {columns.groundtruth_column, columns.prediction_column, *target}


def _numbers(outputs: pl.Series) -> Numbers:
    try:
        return Numbers.of(outputs.cast(pl.Float64).to_numpy())
    except pl.exceptions.PolarsError as error:
        raise InvalidInputError(
            "The reference predictions are no numbers, but model_type is regression."
        ) from error
