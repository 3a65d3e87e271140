"""What a model takes, by what its server says of it, and requests in that form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson

from tidegauge.domain.images import Image
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.domain.schema import TableColumn
from tidegauge.errors import ConflictError, FieldError, InvalidInputError
from tidegauge.services.baselines import Baseline
from tidegauge.services.tabular.values import as_array, column_values
from tidegauge.stats.two_sample.numbers import Numbers

_CHANNELS = (1, 3)
_MOST_FIELDS = 500
_OPTIONS = 50  # categories that a field offers
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


@dataclass(frozen=True)
class Tensor:
    """An input of a model; a size of -1 stands for any."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    inputs: tuple[Tensor, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """A column that a person fills in; ``example`` is a usual value, ``options`` are common categories."""

    name: str
    kind: Literal["number", "category", "boolean"]
    example: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """Where a value lies in the baseline.

    ``share`` of the baseline's numbers are smaller, or of its values are this category; None where the value
    is missing, or is no number.
    """

    name: str
    value: str
    is_number: bool
    share: float | None


def described(data: bytes) -> Model:
    """Read what a model server says of its model (Open Inference Protocol v2)."""
    found = orjson.loads(data)
    inputs = tuple(Tensor(one["name"], one["datatype"], tuple(one["shape"])) for one in found["inputs"])
    return Model(inputs, tuple(map(str, found.get("parameters", {}).get("classes", ()))))


def image_shape(model: Model, known: ImageShape | None) -> ImageShape | None:
    """Return the shape that a model takes images in; None where it takes none.

    ``known`` is what a monitor says, for a model that takes any size.
    """
    if len(model.inputs) != 1 or model.inputs[0].datatype == "BYTES":
        return None
    sizes = model.inputs[0].shape[1:]
    if len(sizes) == 2 and known is not None and (known.height, known.width) == sizes:
        sizes = (*sizes, 1)
    if len(sizes) != 3:
        return None
    first = sizes[2] not in _CHANNELS and sizes[0] in _CHANNELS
    height, width, channels = (*sizes[1:], sizes[0]) if first else sizes
    if channels not in _CHANNELS:
        return None
    if height < 1 or width < 1:
        if known is None:
            raise ConflictError(
                "The model takes images of any size, and no monitor says which; add one with their shape."
            )
        height, width = known.height, known.width
    return ImageShape(height, width, channels, "channels_first" if first else "channels_last")


def image_body(model: Model, shape: ImageShape, pixels: Image, *, unit: bool) -> bytes:
    """Return a request for one image ``[h, w, c]``, in TensorFlow Serving's words."""
    array = pixels.transpose(2, 0, 1) if shape.channel_order == "channels_first" else pixels
    if len(model.inputs[0].shape) == 3:
        array = pixels[:, :, 0]
    values = array / np.float32(255) if unit else array
    instances = np.ascontiguousarray(values)[np.newaxis]
    return orjson.dumps({"instances": instances}, option=orjson.OPT_SERIALIZE_NUMPY)


def fields(model: Model, baseline: Baseline | None, meta: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return what a row has: by the baseline, by what the model says of itself, or by its inputs."""
    if baseline is not None and baseline.columns:
        return tuple(_field(column, baseline) for column in baseline.columns)
    named = meta.get("features", ())
    if isinstance(named, list | tuple) and named:
        return tuple(Field(str(name), "number") for name in named[:_MOST_FIELDS])
    if len(model.inputs) == 1 and len(model.inputs[0].shape) == 2:
        width = model.inputs[0].shape[1]
        if width > 1:
            return tuple(Field(f"value {place + 1}", "number") for place in range(min(width, _MOST_FIELDS)))
    if any(np.prod([size for size in one.shape[1:] if size > 0], initial=1) > 1 for one in model.inputs):
        shown = ", ".join(f"{one.name} {list(one.shape)}" for one in model.inputs)
        raise ConflictError(f"The playground takes images and rows; the model takes {shown}.")
    kinds: dict[str, Literal["category", "boolean"]] = {"BYTES": "category", "BOOL": "boolean"}
    return tuple(Field(one.name, kinds.get(one.datatype, "number")) for one in model.inputs)


def row_body(model: Model, wanted: Sequence[Field], values: Mapping[str, str]) -> bytes:
    """Return a request for one row, in TensorFlow Serving's words; errors name the fields."""
    inputs = {one.name: one for one in model.inputs}
    by_name = all(field.name in inputs for field in wanted)
    if not by_name and len(model.inputs) != 1:
        raise ConflictError(
            f"The model takes {', '.join(inputs)}, and the schema of the monitor has other columns; "
            "send it requests of your own."
        )
    errors: list[FieldError] = []
    row: dict[str, Any] = {}
    for field in wanted:
        tensor = inputs[field.name] if by_name else model.inputs[0]
        try:
            row[field.name] = _value(field.name, tensor, values.get(field.name, "").strip())
        except InvalidInputError as error:
            errors += error.errors
    if errors:
        raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))
    if not by_name:
        return orjson.dumps({"instances": [list(row.values())]})
    named = {name: [value] if len(inputs[name].shape) == 2 else value for name, value in row.items()}
    return orjson.dumps({"inputs": {name: [value] for name, value in named.items()}})


def placed(baseline: Baseline, values: Mapping[str, str]) -> tuple[Placed, ...]:
    """Return where each value of a row lies in the baseline, the oddest first."""
    if baseline.table is None:
        return ()
    found = [
        _placed(column, baseline, values.get(column.name, "").strip())
        for column in baseline.columns
        if column.name in baseline.table.summaries
    ]
    return tuple(sorted(found, key=_usualness))


def _usualness(one: Placed) -> float:
    if one.share is None:
        return 1.0
    return min(one.share, 1 - one.share) if one.is_number else one.share


def _placed(column: TableColumn, baseline: Baseline, text: str) -> Placed:
    summary = baseline.table.summaries[column.name] if baseline.table else None
    is_number = isinstance(summary, Numbers)
    try:
        value = column_values(column, as_array([text or None]))[0]
    except InvalidInputError:
        return Placed(column.name, text, is_number, None)
    if isinstance(summary, Numbers):
        known = len(summary) and not np.isnan(value)
        below = float(np.searchsorted(summary.values, value) / len(summary)) if known else None
        return Placed(column.name, text, is_number, below)
    counts: Mapping[str, int] = summary.counts if summary is not None else {}
    total = sum(counts.values())
    share = counts.get(value, 0) / total if total and value is not None else None
    return Placed(column.name, text, is_number, share)


def _field(column: TableColumn, baseline: Baseline) -> Field:
    summary = baseline.table.summaries.get(column.name) if baseline.table else None
    if summary is None:
        return Field(column.name, column.kind)
    if isinstance(summary, Numbers):
        middle = f"{summary.values[len(summary) // 2]:g}" if len(summary) else ""
        return Field(column.name, column.kind, middle)
    counts = dict(summary.counts)
    common = sorted(counts, key=lambda name: (-counts[name], str(name)))[:_OPTIONS]
    return Field(column.name, column.kind, str(common[0]) if common else "", tuple(map(str, common)))


def _value(name: str, tensor: Tensor, text: str) -> Any:
    """Read what was typed as the model takes it."""
    if not text:
        raise InvalidInputError.of(name, f"{name} is empty; give a value.")
    if tensor.datatype == "BYTES":
        return text
    if tensor.datatype == "BOOL":
        if text.lower() not in _TRUE | _FALSE:
            raise InvalidInputError.of(name, f"{name} is {text[:60]!r}; give true or false.")
        return text.lower() in _TRUE
    words = {"true": 1, "false": 0}
    if text.lower() in words:
        return words[text.lower()]
    read: Callable[[str], Any] = int if "INT" in tensor.datatype else float
    try:
        value = read(text)
    except ValueError as error:
        kind = "a whole number" if read is int else "a number"
        raise InvalidInputError.of(name, f"{name} is {text[:60]!r}; the model takes {kind}.") from error
    if not np.isfinite(value):
        raise InvalidInputError.of(name, f"{name} is {text[:60]!r}; give a finite number.")
    return value
