"""pydantic's readers and writers of our dataclasses, each built once."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}
_BUILDING = threading.Lock()


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """Return the adapter of a type.

    Two threads that build adapters at once trip over each other: pydantic completes the fields of dataclasses
    where they stand, and its parsing of docstrings keeps CPython's state for syntax trees.
    """
    found = _ADAPTERS.get(kind)
    if found is None:
        with _BUILDING:
            found = _ADAPTERS.get(kind)
            if found is None:
                found = _ADAPTERS[kind] = TypeAdapter(kind)
    return found
