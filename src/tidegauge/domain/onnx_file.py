"""What an ONNX file is and where it says that its weights lie, read from its bytes and nothing else.

Only the frames of the Protocol Buffers are followed (https://protobuf.dev/programming-guides/encoding/,
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): nothing of the file is run, and tensors are skipped.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from tidegauge.errors import InvalidInputError

_GRAPH, _FUNCTIONS = 7, 25  # of a model
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 64  # graphs within graphs, as those of branches and loops
_KINDS = {b"\x80": "a pickle", b"PK": "a zip (a Keras or PyTorch file)", b"\x89HDF": "an HDF5 file (Keras)"}

#: Which fields of a message lead on, and to which message.
_WAYS: Mapping[str, Mapping[int, str]] = {
    "model": {_GRAPH: "graph", _FUNCTIONS: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}


def check_onnx(path: Path) -> None:
    """Raise InvalidInputError where a file is no ONNX model, or takes weights from outside its folder."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise _unfit(path, "it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            head = bytes(data[:4])
            kind = next((name for start, name in _KINDS.items() if head.startswith(start)), "")
            if kind:
                raise _unfit(path, f"it is {kind}, which is never opened here")
            try:
                locations = list(_locations(data, "model", 0, len(data), 0))
            except (ValueError, IndexError) as error:
                raise _unfit(path, f"it is no ONNX model ({error or 'it is cut off'})") from error
    for location in locations:
        parts = PurePosixPath(location.replace("\\", "/")).parts
        if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
            raise _unfit(path, f"it takes weights from {location[:100]!r}, outside its folder")


def _unfit(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError.of(
        path.name, f"{path.name} cannot be used: {why}. Export the model as ONNX, with its weights beside it."
    )


def _locations(data: mmap.mmap, message: str, start: int, end: int, depth: int) -> Iterator[str]:
    """Yield where tensors of other files are said to lie."""
    if not depth and _GRAPH not in {number for number, *_ in _fields(data, start, end)}:
        raise ValueError("it has no graph")
    if depth > _DEEPEST:
        raise ValueError("its graphs lie too deep in one another")
    ways = _WAYS[message]
    for number, wire, first, last in _fields(data, start, end):
        to = ways.get(number)
        if to is None or wire != _BYTES:
            continue
        if to == "external":
            entry = {name: data[a:b] for name, kind, a, b in _fields(data, first, last) if kind == _BYTES}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode(errors="replace")
        else:
            yield from _locations(data, to, first, last, depth + 1)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, and first and last byte of each field of a message."""
    place = start
    while place < end:
        tag, place = _varint(data, place)
        number, wire = tag >> 3, tag & 7
        first = place
        if wire == _VARINT:
            _, place = _varint(data, place)
        elif wire == _BYTES:
            size, first = _varint(data, place)
            place = first + size
        elif wire in (_FIXED64, _FIXED32):
            place += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("its frames cannot be read")
        if not number or place > end:
            raise ValueError("it is cut off")
        yield number, wire, first, place


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("its frames cannot be read")
