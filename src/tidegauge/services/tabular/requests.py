"""Rows that a model was asked about, and what it answered, from logged events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.events import Event
from tidegauge.domain.inference import UNNAMED, decode_event, read_event, request_of
from tidegauge.domain.labels import label_text
from tidegauge.domain.schema import TableColumn
from tidegauge.errors import InvalidInputError
from tidegauge.services.payloads import described, scores_of
from tidegauge.services.tabular.values import as_array, column_values

Array = npt.NDArray[Any]
_POSITIVE = 2  # classes for which one probability says all


@dataclass(frozen=True)
class Reading:
    """What is read of events that are not images with scores.

    ``columns`` are those of requests that are tables (none: requests are not looked at); answers are numbers
    where ``numbers`` says so, else scores of ``classes``, or one of these classes.
    """

    columns: tuple[TableColumn, ...]
    numbers: bool
    classes: tuple[str, ...]

    def rows(self, request: Event) -> dict[str, Array] | None:
        """Return the columns of a request; InvalidInputError where it has none of them."""
        return decode_rows(request, self.columns) if self.columns else None

    def scores(self, response: Event) -> npt.NDArray[np.floating]:
        """Return the answers ``[n, 1]``, or their scores ``[n, classes]``; InvalidInputError without any."""
        tensors = decode_event(response)
        if self.numbers:
            return _numbers(tensors)
        found = scores_of(tensors, len(self.classes))
        return _classes(tensors, self.classes) if found is None else found


def decode_rows(request: Event, columns: Sequence[TableColumn]) -> dict[str, Array]:
    """Return the columns ``[n]`` of a request by name; InvalidInputError where it has none of them.

    An input (or a field of a row) with the name of a column is that column; a column that has none, beside
    others that have, is missing. Else the inputs, in their order, are the columns in theirs: as many numbers
    (or texts) in a row as there are columns.
    """
    tensors = _tensors(request, {column.name for column in columns})
    named = {column.name: tensors[column.name] for column in columns if column.name in tensors}
    found = _named(named, columns) if named else _in_order(tensors, columns)
    return {column.name: column_values(column, found[column.name]) for column in columns}


def decode_numbers(response: Event) -> npt.NDArray[np.float64]:
    """Return the predicted numbers ``[n, 1]`` of a response; InvalidInputError where it has none."""
    return _numbers(decode_event(response))


def _numbers(tensors: Mapping[str, Array]) -> npt.NDArray[np.float64]:
    for tensor in tensors.values():
        if tensor.dtype.kind in "iuf" and _is_flat(tensor):
            return tensor.reshape(-1, 1).astype(np.float64)
    raise InvalidInputError(f"No output has one number for each row; it has {described(tensors)}.")


def _classes(tensors: Mapping[str, Array], classes: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return scores ``[n, classes]`` of outputs that name classes, or are the probability of the second.

    Raises InvalidInputError where it does neither.
    """
    place = {name: number for number, name in enumerate(classes)}
    for tensor in tensors.values():
        if not _is_flat(tensor):
            continue
        values = [_text(value) for value in tensor.ravel().tolist()]
        if values and all(value in place for value in values):
            found = np.zeros((len(values), len(classes)), np.float32)
            found[np.arange(len(values)), [place[value] for value in values]] = 1
            return found
        share = tensor.ravel() if tensor.dtype.kind == "f" and len(classes) == _POSITIVE else None
        if share is not None and ((share >= 0) & (share <= 1)).all():
            return np.column_stack([1 - share, share]).astype(np.float32)
    raise InvalidInputError(
        f"No output has a class, or a score for each of {len(classes)} classes; it has {described(tensors)}."
    )


def _tensors(request: Event, wanted: Collection[str]) -> Mapping[str, Array]:
    """Return what a request has by name; rows of JSON may mix numbers, text and nulls.

    Of rows with names only those ``wanted`` are returned, as long as there is one.
    """
    body = read_event(request)
    rows = body.document.get("instances") if body.raw is None else None
    if not isinstance(rows, list) or not rows:
        return request_of(body).inputs
    if all(isinstance(row, dict) and set(row) != {"b64"} for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        known = [name for name in names if name in wanted] or names
        return {name: _column(name, [row.get(name) for row in rows]) for name in known}
    width = len(rows[0]) if isinstance(rows[0], list) else 0
    if width and all(isinstance(row, list) and len(row) == width for row in rows):
        flat = as_array(value for row in rows for value in row)
        if not any(isinstance(value, list | dict) for value in flat):
            return {UNNAMED: flat.reshape(len(rows), width)}
    return request_of(body).inputs


def _column(name: str, values: Sequence[Any]) -> Array:
    single = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
    if any(isinstance(value, list | dict) for value in single):
        raise InvalidInputError.of(name, f"{name} has several values in a row; a column has one.")
    return as_array(single)


def _named(named: Mapping[str, Array], columns: Sequence[TableColumn]) -> dict[str, Array]:
    sizes = {len(values) for values in named.values() if values.ndim}
    wrong = [name for name, values in named.items() if not _is_flat(values)]
    if wrong or len(sizes) != 1:
        raise InvalidInputError(
            f"The columns of a request must have one value for each row; it has {described(named)}."
        )
    (n,) = sizes
    nothing = np.full(n, None, object)
    return {column.name: named.get(column.name, nothing).reshape(n) for column in columns}


def _in_order(tensors: Mapping[str, Array], columns: Sequence[TableColumn]) -> dict[str, Array]:
    blocks = [v if v.ndim == 2 else v[:, np.newaxis] for v in tensors.values() if v.ndim in (1, 2)]
    sizes = {len(block) for block in blocks}
    width = sum(block.shape[1] for block in blocks)
    if len(sizes) != 1 or width != len(columns) or len(blocks) < len(tensors):
        shown = ", ".join(column.name for column in columns[:10])
        more = ", ..." if len(columns) > 10 else ""
        raise InvalidInputError(
            f"The request has {described(tensors)}, which are neither inputs named after the {len(columns)} "
            f"input features ({shown}{more}) nor as many values in a row."
        )
    parts = [part for block in blocks for part in block.T]
    return {column.name: part for column, part in zip(columns, parts, strict=True)}


def _is_flat(values: Array) -> bool:
    return values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)


def _text(value: Any) -> str:
    return label_text(value.decode(errors="replace") if isinstance(value, bytes) else value)
