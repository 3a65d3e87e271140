"""The training table of a monitor: what its columns are, and the baseline that they give."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from tidegauge.domain.content import ContentForm, Manifest
from tidegauge.domain.monitor import Feature, ValueType
from tidegauge.domain.schema import ColumnSketch, Content, TableColumn, infer_table
from tidegauge.domain.tables import read_table
from tidegauge.errors import InvalidInputError
from tidegauge.services.tabular.values import Array, as_array, column_values
from tidegauge.stats.tables import TableBaseline, fit_baseline
from tidegauge.storage.objects import Blobs

_LEAST = 5  # rows; with fewer there is nothing to compare with


@dataclass(frozen=True, eq=False)
class TrainingTable:
    """A training table; ``takes`` are the columns that the model says it takes, in its order."""

    frame: pl.DataFrame
    takes: tuple[str, ...]

    def features(self, targets: Collection[str]) -> tuple[Feature, ...]:
        """Return the features that its columns are; ``targets`` are columns with the truth."""
        return infer_table((_sketch(column) for column in self.frame.iter_columns()), self.takes, targets)

    def answers(self, name: str) -> pl.DataFrame | None:
        """Return what the model answered, where a column that is no input says so, as ``output``."""
        if name in self.takes or name not in self.frame.columns:
            return None
        return self.frame.select(pl.col(name).alias("output")).drop_nulls()

    def columns(self, inputs: Iterable[Feature]) -> tuple[TableColumn, ...]:
        """Return the input features that it has, in the model's order or else in its own."""
        known = {feature.name: feature for feature in inputs}
        order = [*self.takes, *(name for name in self.frame.columns if name not in self.takes)]
        return tuple(
            _read_as(known[name], self.frame[name])
            for name in order
            if name in known and name in self.frame.columns
        )

    def baseline(self, columns: Sequence[TableColumn], selected: Collection[str]) -> TableBaseline | None:
        """Return the baseline of the selected columns; None where there are none."""
        table = {
            column.name: column_values(column, _values(self.frame[column.name]))
            for column in columns
            if column.name in selected
        }
        return fit_baseline(table) if table else None


def read_training_table(manifest: Manifest, blobs: Blobs, name: str, takes: Sequence[str]) -> TrainingTable:
    """Read the CSV or Parquet files of a Dataset version; InvalidInputError where they give no table."""
    if manifest.form is not ContentForm.TABLE:
        raise InvalidInputError.of(
            "drift.train_data",
            f"{name} is {manifest.form.value}; a tabular monitor needs CSV or Parquet files with a row for "
            "each example.",
        )
    frames = [read_table(blobs.get(file.sha256), file.path) for file in manifest.files]
    try:
        frame = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InvalidInputError.of(
            "drift.train_data", f"The files of {name} hold different types in one column ({error})."
        ) from error
    if frame.height < _LEAST:
        raise InvalidInputError.of(
            "drift.train_data", f"{name} has {frame.height} rows; give {_LEAST} or more for a baseline."
        )
    absent = [column for column in takes if column not in frame.columns]
    if absent:
        raise InvalidInputError.of(
            "drift.train_data",
            f"The model takes {', '.join(absent)} (features in model.json), but {name} has no such column.",
        )
    return TrainingTable(frame, tuple(takes))


def _sketch(column: pl.Series) -> ColumnSketch:
    content = _content(column)
    distinct = 0 if content in (Content.OTHER, Content.NOTHING) else column.n_unique()
    return ColumnSketch(column.name, content, distinct, len(column))


def _content(column: pl.Series) -> Content:
    kind = column.dtype
    if column.null_count() == len(column):
        return Content.NOTHING
    if kind.is_integer():
        return Content.WHOLE_NUMBERS
    if kind.is_numeric():
        return Content.NUMBERS
    if kind == pl.Boolean:
        return Content.BOOLEANS
    if isinstance(kind, pl.String | pl.Categorical | pl.Enum):
        return Content.TEXT
    return Content.TIMES if isinstance(kind, pl.Date | pl.Datetime) else Content.OTHER


def _read_as(feature: Feature, column: pl.Series) -> TableColumn:
    if column.dtype == pl.Boolean:
        return TableColumn(feature.name, "boolean")
    return TableColumn(feature.name, "number" if feature.value_type is ValueType.CONTINUOUS else "category")


def _values(column: pl.Series) -> Array:
    return column.cast(pl.Float64).to_numpy() if column.dtype.is_numeric() else as_array(column.to_list())
