"""Values of a column, the same whether they come from the training data or from a request."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.labels import label_text
from tidegauge.domain.schema import TableColumn
from tidegauge.errors import InvalidInputError

Array = npt.NDArray[Any]


def column_values(column: TableColumn, values: Array) -> Array:
    """Return the values ``[n]`` of a column: float64 with NaN for what is missing, or text with None.

    Raises InvalidInputError that names the column where text stands for a number.
    """
    if column.kind == "number":
        return _numbers(column.name, values)
    text = _boolean if column.kind == "boolean" else _category
    known: dict[Any, str | None] = {}
    found = np.empty(len(values), object)
    for place, value in enumerate(values.tolist()):
        key = (type(value), value)
        if key not in known:
            known[key] = text(value)
        found[place] = known[key]
    return found


def _numbers(name: str, values: Array) -> npt.NDArray[np.float64]:
    if values.dtype.kind in "iufb":
        return values.astype(np.float64)
    return np.array([_number(name, value) for value in values.tolist()], np.float64)


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    if isinstance(text, str) and not text.strip():
        return math.nan
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        shown = repr(text)[:60]
        raise InvalidInputError.of(
            name,
            f"{name} is {shown}, but it is continuous in the schema; make it categorical, or send numbers.",
        ) from error


def _category(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return label_text(value.decode(errors="replace") if isinstance(value, bytes) else value) or None


def _boolean(value: Any) -> str | None:
    """Read a boolean however it is encoded: a model may take it as 0 and 1.

    >>> [_boolean(value) for value in (True, 1.0, 0, "True", "yes", None)]
    ['true', 'true', 'false', 'true', 'yes', None]
    """
    text = _category(value)
    return {"1": "true", "0": "false"}.get(text, text.lower()) if text else None


def as_array(values: Iterable[Any]) -> Array:
    """Return values as objects, one by one: numpy would make text of numbers beside text."""
    items = list(values)
    found = np.empty(len(items), object)
    found[:] = items
    return found
