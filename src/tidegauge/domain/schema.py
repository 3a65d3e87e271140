"""The schema of a monitor, as far as the training data and the model tell it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tidegauge.domain.monitor import PREDICTION, Feature, FeatureKind, ValueType

_TARGETS = ("label", "target")
_TIMES = ("timestamp", "time", "datetime", "date", "event_time", "created_at")
_ROW_IDS = ("id", "index", "row", "row_id", "rowid", "uuid", "guid", "unnamed: 0", "")
_FEW = 5  # distinct whole numbers that are rather codes than amounts
_ENOUGH = 50  # rows to tell either by
_FREE_TEXT = 0.5  # of the rows: with more distinct texts than that a column is no category


class Content(StrEnum):
    """What a column of the training data holds."""

    NUMBERS = "numbers"
    WHOLE_NUMBERS = "whole numbers"
    TEXT = "text"
    BOOLEANS = "booleans"
    TIMES = "times"
    NOTHING = "nothing"
    OTHER = "other"  # lists, bytes: no feature


@dataclass(frozen=True)
class ColumnSketch:
    """A column of the training data, with how many ``distinct`` values it has in ``rows``."""

    name: str
    content: Content
    distinct: int
    rows: int


@dataclass(frozen=True)
class TableColumn:
    """A column as requests are read; booleans are categories that may come as 0 and 1."""

    name: str
    kind: Literal["number", "category", "boolean"]


def infer_table(
    columns: Iterable[ColumnSketch], takes: Sequence[str] = (), targets: Collection[str] = ()
) -> tuple[Feature, ...]:
    """Return the features that columns of the training data are.

    ``takes`` are the columns that the model says it takes: no others are inputs then. ``targets`` are columns
    with the truth, which is no feature; ``label`` and ``target`` are taken for it as well.

    >>> columns = ColumnSketch("age", Content.NUMBERS, 60, 99), ColumnSketch("label", Content.TEXT, 2, 99)
    >>> [(feature.name, feature.value_type.value) for feature in infer_table(columns)]
    [('age', 'continuous')]
    """
    found = []
    for column in columns:
        feature = _feature(column, takes)
        truth = column.name not in takes and column.name in {*targets, *_TARGETS}
        if feature and not truth:
            found.append(feature)
    return tuple(found)


def infer_prediction(model_type: str) -> Feature:
    """Return the feature that the answers of a model are."""
    value_type = ValueType.CONTINUOUS if model_type == "regression" else ValueType.CATEGORICAL
    return Feature(PREDICTION, FeatureKind.PREDICTION, value_type)


def complete(schema: tuple[Feature, ...], inferred: Iterable[Feature], *, first: bool) -> tuple[Feature, ...]:
    """Add what was inferred to what a person has given, which counts.

    At the ``first`` baseline every column is added that the schema does not name; later only where the schema
    has no input feature at all, so that what a person has removed does not come back.
    """
    names = {feature.name for feature in schema}
    kinds = {feature.kind for feature in schema}
    adds_columns = first or FeatureKind.INPUT not in kinds
    added = (
        feature
        for feature in inferred
        if feature.name not in names
        and (FeatureKind.PREDICTION not in kinds if feature.kind is FeatureKind.PREDICTION else adds_columns)
    )
    return (*schema, *added)


def _feature(column: ColumnSketch, takes: Sequence[str]) -> Feature | None:
    content, name = column.content, column.name.lower()
    if content is Content.OTHER or name == PREDICTION or not name.strip():
        return None
    if column.name in takes:
        return Feature(column.name, FeatureKind.INPUT, _value_type(column))
    if content is Content.TIMES or (name in _TIMES and content is not Content.NOTHING):
        return Feature(column.name, FeatureKind.TIMESTAMP, ValueType.CONTINUOUS)
    whole = content in (Content.WHOLE_NUMBERS, Content.TEXT)
    if whole and column.distinct == column.rows and (name in _ROW_IDS or name.endswith("_id")):
        return Feature(column.name, FeatureKind.ROW_ID, ValueType.CATEGORICAL)
    if takes:
        return None
    free = content is Content.TEXT and column.rows >= _ENOUGH
    is_feature = content is not Content.NOTHING and not (free and column.distinct > _FREE_TEXT * column.rows)
    return Feature(column.name, FeatureKind.INPUT, _value_type(column), is_feature)


def _value_type(column: ColumnSketch) -> ValueType:
    codes = column.content is Content.WHOLE_NUMBERS and column.rows >= _ENOUGH and column.distinct <= _FEW
    is_number = column.content in (Content.NUMBERS, Content.WHOLE_NUMBERS) and not codes
    return ValueType.CONTINUOUS if is_number else ValueType.CATEGORICAL
