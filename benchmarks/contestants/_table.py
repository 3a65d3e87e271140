"""The large table, column by column."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_table(folder: Path, part: str) -> dict[str, np.ndarray]:
    """Read the columns of the ``baseline`` or the ``window``: numbers, and categories as strings."""
    with np.load(folder / "table.npz") as data:
        numbers, codes = data[f"{part} numbers"], data[f"{part} codes"]
    numeric = {f"number {i}": column for i, column in enumerate(numbers)}
    names = np.array([str(code) for code in range(codes.max() + 1)])
    return numeric | {f"category {i}": names[column] for i, column in enumerate(codes)}
