"""The rows that a model is asked about at its export, as tables or as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.errors import InvalidInputError

Array = npt.NDArray[Any]


def columns_of(rows: Any) -> list[str]:
    """Return the names of the columns of a table (pandas, polars); none of an array."""
    return [str(name) for name in rows.columns] if hasattr(rows, "columns") else []


def is_mixed(rows: Any) -> bool:
    """Tell whether a table has a column that is not of numbers."""
    return any(_column(rows, name).dtype.kind not in "iufb" for name in columns_of(rows))


def tensor_of(rows: Any, name: str = "held_out") -> Array:
    """Return rows as one float32 tensor ``[n, ...]``; InvalidInputError where they are none."""
    if hasattr(rows, "detach"):  # a tensor of PyTorch
        rows = rows.detach().cpu().numpy()
    elif hasattr(rows, "toarray"):  # sparse
        rows = rows.toarray()
    elif columns_of(rows):
        rows = np.column_stack([_column(rows, column) for column in columns_of(rows)])
    try:
        found = np.ascontiguousarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError.of(
            name, f"{name} holds what is no number; give numbers, or a table with named columns."
        ) from error
    if found.ndim < 2 or not len(found):
        raise InvalidInputError.of(
            name, f"{name} has the shape {list(found.shape)}; give at least one row, [n, ...]."
        )
    return found


def inputs_of(rows: Any) -> dict[str, Array]:
    """Return the columns of a table ``[n, 1]``: numbers as float32, all else as text."""
    found: dict[str, Array] = {}
    for name in columns_of(rows):
        values = _column(rows, name)
        numeric = values.dtype.kind in "iufb"
        made = values.astype(np.float32) if numeric else np.array([str(value) for value in values], object)
        found[name] = made.reshape(-1, 1)
    return found


def batched(inputs: Mapping[str, Array], size: int) -> list[dict[str, Array]]:
    """Return the inputs in parts of so many rows."""
    n = len(next(iter(inputs.values())))
    return [
        {name: array[start : start + size] for name, array in inputs.items()} for start in range(0, n, size)
    ]


def shares(scores: Array, *, activated: bool = False) -> Array:
    """Return what ``graph.as_shares`` makes of scores ``[n, width]``.

    >>> shares(np.array([[0.25]]), activated=True).tolist(), shares(np.array([[1.0, 1.0]])).tolist()
    ([[0.75, 0.25]], [[0.5, 0.5]])
    """
    if scores.shape[1] == 1:
        share = scores if activated else 1 / (1 + np.exp(-scores))
        return np.hstack([1 - share, share])
    grown = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(grown / grown.sum(1, keepdims=True))


def texts(names: Sequence[Any]) -> list[str]:
    """Return names of classes as text: what numpy counts in is no part of them.

    >>> texts(np.array([0, 1])), texts(["sick", "well"])
    (['0', '1'], ['sick', 'well'])
    """
    # Scalars of numpy and tensors of PyTorch have an item.
    return [str(name.item() if hasattr(name, "item") else name) for name in names]


def _column(rows: Any, name: str) -> Array:
    column = rows[name]
    return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
