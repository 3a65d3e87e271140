"""Tensors of the Open Inference Protocol: data types, checks, and the binary body.

A binary body is a JSON header followed by the raw little-endian bytes of its tensors; its length travels
beside it (HTTP header ``Inference-Header-Content-Length``, event extension ``headerlength``).
Source: https://github.com/kserve/open-inference-protocol, "Binary Tensor Data Extension".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from tidegauge.errors import InvalidInputError

Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MAX_DIMENSIONS = 32
_COMPACT_FROM = 32  # values; below this the note costs more than it saves
_BINARY_SIZE = "binary_data_size"
_ORIGINAL = "original_datatype"


def datatype_of(array: Array) -> str:
    """Return the protocol's name of an array's type; strings and bytes are ``BYTES``.

    >>> datatype_of(np.zeros(2, np.float32))
    'FP32'
    """
    if array.dtype.kind in "OSU":
        return "BYTES"
    return _NAMES[array.dtype.newbyteorder("<")]


def check_datatype(name: str, datatype: object) -> str:
    """Return ``datatype`` if this server knows it; otherwise raise InvalidInputError naming the tensor."""
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidInputError.of(
            name, f"Tensor {name!r} has datatype {shown(datatype)}; expected one of {', '.join(DTYPES)}."
        )
    return datatype


def check_shape(name: str, shape: object) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of whole numbers >= 0; otherwise raise InvalidInputError."""
    if (
        not isinstance(shape, list)
        or len(shape) > _MAX_DIMENSIONS
        or not all(type(size) is int and 0 <= size < 2**40 for size in shape)
    ):
        raise InvalidInputError.of(
            name,
            f"Tensor {name!r} has shape {shown(shape)}; expected a list of at most {_MAX_DIMENSIONS} "
            "whole numbers that are not negative.",
        )
    return tuple(shape)


def cast(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers as ``dtype``; raise InvalidInputError if one does not fit (1.5, 300, true as UINT8)."""
    if array.dtype == dtype:
        return array
    wanted = datatype_of(np.empty(0, dtype))
    if array.dtype.kind not in "iuf" or dtype.kind not in "iuf":
        raise InvalidInputError.of(
            name, f"Tensor {name!r} holds {kind_of(array)}; expected {_KINDS[dtype.kind]} ({wanted})."
        )
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        # 2**63 as a float is one past the largest int64, hence the strict upper bound on max + 1.
        fits = bool(
            np.all((array >= limits.min) & (array < float(limits.max) + 1) & (np.rint(array) == array))
        )
    else:
        fits = array.size == 0 or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)
    if not fits:
        raise InvalidInputError.of(
            name, f"Tensor {name!r} must hold whole numbers from {limits.min} to {limits.max} ({wanted})."
        )
    return array.astype(dtype)


_KINDS = {"b": "booleans", "O": "strings or bytes", "i": "numbers", "u": "numbers", "f": "numbers"}


def kind_of(array: Array) -> str:
    """Return in a word or two what an array holds, for error sentences."""
    return _KINDS.get(array.dtype.kind, "strings or bytes")


def encode_binary(
    tensors: Mapping[str, Array],
    field: Literal["inputs", "outputs"],
    *,
    compact: bool = False,
    header: Mapping[str, Any] | None = None,
    as_json: frozenset[str] = frozenset(),
) -> tuple[bytes, int]:
    """Return a binary body and the length in bytes of its JSON header.

    ``compact`` sends float tensors whose values are all whole numbers in 0..255 as UINT8 and notes
    ``original_datatype``, so that decode_binary restores them bit for bit. ``header`` adds fields to the
    JSON header; tensors named in ``as_json`` go into the header as numbers.
    """
    entries: list[dict[str, Any]] = []
    chunks: list[memoryview] = []
    for name, tensor in tensors.items():
        array = np.ascontiguousarray(tensor).reshape(tensor.shape)
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}
        entries.append(entry)
        if name in as_json:
            entry["data"] = json_values(array.reshape(-1))
            continue
        small = _as_bytes_if_whole(array) if compact else None
        if small is not None:
            entry["parameters"] = {_ORIGINAL: entry["datatype"]}
            entry["datatype"] = "UINT8"
            array = small
        raw = memoryview(_strings_to_bytes(array)) if entry["datatype"] == "BYTES" else array.data
        entry.setdefault("parameters", {})[_BINARY_SIZE] = raw.nbytes
        chunks.append(raw)
    head = orjson.dumps({**(header or {}), field: entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((head, *chunks)), len(head)


def _as_bytes_if_whole(array: Array) -> Array | None:
    """Return a float array as uint8 if that can be undone bit for bit (so not for NaN, 0.5 or -0.0)."""
    if array.dtype.kind != "f" or array.size < _COMPACT_FROM:
        return None
    with np.errstate(invalid="ignore"):
        small = array.astype(np.uint8)
    # Compared as bits: the floats' own equality takes -0.0 for 0.0.
    bits = f"u{array.dtype.itemsize}"
    return small if (small.astype(array.dtype).view(bits) == array.view(bits)).all() else None


def _strings_to_bytes(array: Array) -> bytes:
    chunks: list[bytes] = []
    for item in array.reshape(-1).tolist():
        raw = item.encode() if isinstance(item, str) else bytes(item)
        chunks += (len(raw).to_bytes(4, "little"), raw)
    return b"".join(chunks)


def json_values(array: Array) -> Any:
    """Return what orjson writes for an array: itself, or lists of text for strings and bytes."""
    if array.dtype.kind in "OSU":
        return [
            json_values(item) if isinstance(item, np.ndarray) else _text(item)
            for item in (array if array.ndim else array.reshape(1))
        ]
    return np.ascontiguousarray(array)


def _text(item: str | bytes) -> str:
    return item if isinstance(item, str) else bytes(item).decode(errors="replace")


class BinaryReader:
    """Takes the raw tensors that follow a JSON header, in order."""

    def __init__(self, raw: memoryview) -> None:
        self._raw = raw
        self._at = 0

    def take(self, name: str, entry: Mapping[str, Any]) -> Array:
        """Return the next tensor as its header entry describes it; shares memory with the body if it can."""
        parameters = entry.get("parameters") or {}
        datatype = check_datatype(name, entry.get("datatype"))
        shape = check_shape(name, entry.get("shape"))
        size = parameters.get(_BINARY_SIZE)
        left = len(self._raw) - self._at
        if type(size) is not int or size < 0 or size > left:
            raise InvalidInputError.of(
                name,
                f"Tensor {name!r} has {_BINARY_SIZE} {shown(size)}, but {left} bytes are left in the body.",
            )
        raw = self._raw[self._at : self._at + size]
        self._at += size
        if datatype == "BYTES":
            return _bytes_to_strings(name, raw, shape)
        array = _numbers(name, raw, DTYPES[datatype], shape)
        original = parameters.get(_ORIGINAL)
        return array if original is None else array.astype(DTYPES[check_datatype(name, original)])

    def finish(self) -> None:
        """Raise InvalidInputError if bytes are left that no tensor claims."""
        left = len(self._raw) - self._at
        if left:
            raise InvalidInputError.of(
                "body", f"The body has {left} bytes more than its tensors claim by {_BINARY_SIZE}."
            )


def is_binary(entry: Mapping[str, Any]) -> bool:
    """Return whether a tensor's header entry says that its data follow the header."""
    parameters = entry.get("parameters")
    return isinstance(parameters, dict) and _BINARY_SIZE in parameters


def binary_size(entry: Mapping[str, Any]) -> int:
    """Return how many bytes after the header a tensor's entry claims; 0 where it says no number of them."""
    size = entry["parameters"][_BINARY_SIZE] if is_binary(entry) else 0
    return size if type(size) is int and size > 0 else 0


def _numbers(name: str, raw: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    expected = math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise InvalidInputError.of(
            name,
            f"Tensor {name!r} comes with {len(raw)} bytes of data; its shape {list(shape)} of "
            f"{_NAMES[dtype]} needs {expected}.",
        )
    if dtype.kind == "b" and raw.nbytes and max(raw) > 1:
        raise InvalidInputError.of(name, f"Tensor {name!r} is BOOL and must hold only the bytes 0 and 1.")
    array = np.frombuffer(raw, dtype).reshape(shape)
    # A header has any length; the copy is cheap, and runtimes may assume aligned numbers.
    return array if array.flags.aligned else array.copy()


def _bytes_to_strings(name: str, raw: memoryview, shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    items: list[bytes] = []
    at = 0
    while at + 4 <= len(raw) and len(items) <= count:
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if end > len(raw):
            break
        items.append(bytes(raw[at + 4 : end]))
        at = end
    if at != len(raw) or len(items) != count:
        raise InvalidInputError.of(
            name,
            f"Tensor {name!r} must hold {count} strings, each after its length in 4 bytes (little-endian), "
            f"in exactly {len(raw)} bytes.",
        )
    array = np.empty(count, dtype=object)
    array[:] = items
    return array.reshape(shape)


def shown(value: object) -> str:
    """Return a value for an error sentence, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
