"""Counts of categories: the exact, mergeable summary that categorical statistics compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_FEW = 64  # categories that are counted one by one
_PEEK = 1000
_WORDS = {4: np.uint32, 8: np.uint64}  # by bytes


@dataclass(frozen=True)
class Categories:
    """How often each category came, and how many values were ``missing`` (None or NaN).

    >>> Categories.of(["a", "b", "a", None])
    Categories(counts={'a': 2, 'b': 1}, missing=1)
    """

    counts: Mapping[str, int]
    missing: int = 0

    def __post_init__(self) -> None:
        if self.missing < 0 or any(count < 0 for count in self.counts.values()):
            raise ValueError(f"counts are {dict(self.counts)}; none can be negative")

    @classmethod
    def of(cls, values: Iterable[Any] | Mapping[str, int] | Categories) -> Categories:
        """Count values, by their text; a mapping is taken for counts."""
        if isinstance(values, Categories):
            return values
        if isinstance(values, Mapping):
            return cls({str(name): int(count) for name, count in sorted(values.items()) if count})
        array = values if isinstance(values, np.ndarray) else None
        if array is not None and array.dtype.kind in "USbiu":
            return cls(dict(sorted(_count(array.ravel()).items())))
        found = Counter(values if array is None else array.ravel().tolist())
        missing = 0
        texts: Counter[str] = Counter()
        for value, count in found.items():
            if is_missing(value):
                missing += count
            else:
                texts[str(value)] += count
        return cls(dict(sorted(texts.items())), missing)

    @property
    def n(self) -> int:
        """How many values were not missing."""
        return sum(self.counts.values())

    def merge(self, other: Categories) -> Categories:
        """Return the counts of both samples together."""
        both = Counter(self.counts) + Counter(other.counts)
        return Categories(dict(sorted(both.items())), self.missing + other.missing)

    def beside(self, window: Categories) -> tuple[Counts, Counts]:
        """Return the counts of both over the categories of either, in their order."""
        names = sorted(self.counts.keys() | window.counts.keys())
        left, right = (np.array([side.counts.get(name, 0) for name in names]) for side in (self, window))
        return left.astype(np.int64), right.astype(np.int64)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {
            "names": np.array(list(self.counts), np.str_),
            "counts": np.array(list(self.counts.values()), np.int64),
            "missing": np.array(self.missing),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build the counts from what ``to_arrays`` gave."""
        pairs = zip(arrays["names"].tolist(), arrays["counts"].tolist(), strict=True)
        return cls(dict(pairs), int(arrays["missing"]))


def is_missing(value: object) -> bool:
    """Say whether a value is None or NaN."""
    return value is None or (isinstance(value, float) and isnan(value))


def _count(array: npt.NDArray[Any]) -> dict[str, int]:
    """Count by comparing with each category that the first values have, which beats sorting them all."""
    found: dict[str, int] = {}
    seen = 0
    words = _words(array)
    _, firsts = np.unique(array[:_PEEK], return_index=True)
    if len(firsts) <= _FEW:
        for first in firsts:
            count = int(np.count_nonzero(words == words[first]))
            found[_text(array[first])] = count
            seen += count
    if seen == len(array):
        return found
    names, counts = np.unique(array, return_counts=True)
    return {_text(name): int(count) for name, count in zip(names, counts, strict=True)}


def _words(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return text of one machine word as whole numbers, which compare faster."""
    word = _WORDS.get(array.dtype.itemsize) if array.dtype.kind in "US" else None
    return array.view(word) if word is not None and array.flags.c_contiguous else array


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
