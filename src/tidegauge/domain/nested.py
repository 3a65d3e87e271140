"""Nested JSON lists to arrays: exact for any JSON, and fast for large lists of numbers.

The fast way lets simdjson flatten the numbers and proves the nesting regular by comparing the document's
brackets and commas with those of the shape; where it cannot prove it, the exact way decides.
"""

from __future__ import annotations

import base64
import binascii
import copy
import threading
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson
import simdjson

from tidegauge.domain.tensors import Array
from tidegauge.errors import InvalidInputError

_EXACT = 2**53  # whole numbers up to here are exact as float64
_NUMBER_BYTES = b"0123456789+-.eE \t\r\n"
_MAX_DIMENSIONS = 32
_LARGE = 4 << 20  # bytes of a body
_local = threading.local()


def load_object(body: bytes | memoryview) -> dict[str, Any]:
    """Parse a JSON object; raise InvalidInputError if the body is anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError.of("body", f"The body is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise InvalidInputError.of("body", "The body must be a JSON object.")
    return document


def to_array(value: Any, name: str) -> Array:
    """Return a JSON value as an array: numbers, booleans, or an object array of str and (from b64) bytes.

    Numbers come as float64, or as int64/uint64 where a whole number is too large for that to be exact.
    Raises InvalidInputError if lists of one level differ in length or the kinds of values are mixed.
    """
    shape, leaves = _flatten(value, name)
    kinds = {type(leaf) for leaf in leaves}
    if kinds <= {int, float}:
        array = _number_array(leaves, kinds)
    elif kinds == {bool}:
        array = np.array(leaves, dtype=np.bool_)
    elif kinds <= {str, dict}:
        array = np.empty(len(leaves), dtype=object)
        array[:] = [leaf if isinstance(leaf, str) else _from_b64(leaf, name) for leaf in leaves]
    else:
        raise InvalidInputError.of(
            name,
            f"Input {name!r} must hold values of one kind: numbers, booleans, strings or "
            '{"b64": ...} objects, in lists of equal length.',
        )
    return array.reshape(shape)


def _flatten(value: Any, name: str) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape and the leaves, checking at every level that all lists have one length."""
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        size = len(level[0])
        if any(not isinstance(item, list) or len(item) != size for item in level):
            raise InvalidInputError.of(
                name,
                f"Input {name!r} is ragged: the lists at depth {len(shape) + 1} must all have {size} values.",
            )
        shape.append(size)
        if len(shape) > _MAX_DIMENSIONS:
            raise InvalidInputError.of(name, f"Input {name!r} is nested deeper than {_MAX_DIMENSIONS} lists.")
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def _number_array(leaves: list[Any], kinds: set[type]) -> Array:
    # Any list below a list of none is unknown, so an empty array keeps the default type.
    if (
        int in kinds
        and any(type(leaf) is int and abs(leaf) > _EXACT for leaf in leaves)
        and float not in kinds
    ):
        return np.array(
            leaves, dtype=np.int64 if max(leaves) < 2**63 else np.uint64 if min(leaves) >= 0 else float
        )
    return np.array(leaves, dtype=np.float64)


def _from_b64(value: Mapping[str, Any], name: str) -> bytes:
    text = value.get("b64")
    if len(value) != 1 or not isinstance(text, str):
        raise InvalidInputError.of(
            name, f'Input {name!r} holds an object; expected {{"b64": "<base64 text>"}}.'
        )
    return decode_b64(text, name)


def decode_b64(text: str, name: str) -> bytes:
    """Return the bytes of base64 text (standard alphabet); raise InvalidInputError naming the input."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError.of(name, f"Input {name!r} holds text that is not valid base64.") from None


class FastDocument:
    """A parsed document whose lists of numbers can be taken as arrays, in the order in which they stand.

    Every method that cannot prove its answer returns None; the caller then takes the exact way.
    """

    def __init__(self, body: bytes) -> None:
        self.root: Any = _parse(body)
        self._body = body
        self._skeleton: bytes | None = None
        self._at = 0
        self._lost = False  # fewer brackets than lists: what was taken was not what it seemed

    def within(self, key: str) -> FastDocument:
        """Return one value of the document as if it were all of it; no list may stand before that value."""
        part = copy.copy(self)
        part.root = self.root[key]
        return part

    def enter(self) -> None:
        """Step over the next opening bracket."""
        found = self._brackets().find(b"[", self._at)
        self._lost |= found < 0
        self._at = found + 1

    def nested(self, value: Any) -> Array | None:
        """Return the next value as an array if it is a number, or a regular list that holds only numbers."""
        if type(value) in (int, float) and -_EXACT < value < _EXACT:
            return np.array(value, np.float64)
        flat = _flat_numbers(value)
        if flat is None:
            return None
        shape: list[int] = []
        while isinstance(value, simdjson.Array):
            shape.append(len(value))
            if len(shape) > _MAX_DIMENSIONS or not shape[-1]:
                return None
            value = value[0]
        pattern = _pattern(tuple(shape)) if flat.size == np.prod(shape) else b""
        at = self._brackets().find(b"[", self._at)
        if not pattern or at < 0 or not self._brackets().startswith(pattern, at):
            return None
        self._at = at + len(pattern)
        return flat.reshape(shape)

    def skip(self, value: Any) -> Any:
        """Return the next value as Python has it, and step over its lists."""
        found = plain(value)
        for _ in range(_count_lists(found)):
            self.enter()
        return found

    def finished(self) -> bool:
        """Return whether no list is left: each bracket belonged to what was taken."""
        return not self._lost and self._brackets().find(b"[", self._at) < 0

    def _brackets(self) -> bytes:
        if self._skeleton is None:
            self._skeleton = self._body.translate(None, _NUMBER_BYTES)
        return self._skeleton


def _flat_numbers(value: Any) -> Array | None:
    """Return all numbers below a simdjson list as one float64 row, or None if that would not be exact."""
    try:
        flat = np.frombuffer(value.as_buffer(of_type="d"), dtype=np.float64)
    except (TypeError, ValueError, AttributeError):
        return None
    if not flat.size or flat.max() >= _EXACT or flat.min() <= -_EXACT:
        return None
    return flat


def plain(value: Any) -> Any:
    """Return a value of simdjson as Python has it."""
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def _count_lists(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(_count_lists(item) for item in value)
    if isinstance(value, dict):
        return sum(_count_lists(item) for item in value.values())
    return 0


def _parse(body: bytes) -> Any:
    if len(body) > _LARGE:
        return simdjson.Parser().parse(body)  # one that is kept would keep several times as much
    parser = getattr(_local, "parser", None)
    if parser is not None:
        try:
            return parser.parse(body)
        except RuntimeError:
            # Somebody still holds a value of the last document, so the buffers cannot be used again.
            parser = None
    parser = _local.parser = simdjson.Parser()
    return parser.parse(body)


@lru_cache(maxsize=16)
def _pattern(shape: tuple[int, ...]) -> bytes:
    """Return the brackets and commas of a list of this shape, numbers left out."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text
