"""Images that came as numbers in JSON, as the bytes they are: a sixth of the size, and decoded once.

What a request held is kept bit for bit: ``decode_event`` returns the same tensors of either form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import simdjson

from tidegauge.domain.events import HEADER_LENGTH, REQUEST_TYPE, Event
from tidegauge.domain.inference import UNNAMED, UNNAMED_SENT, InferenceRequest, fast_v1
from tidegauge.domain.nested import FastDocument
from tidegauge.domain.tensors import Array, encode_binary
from tidegauge.errors import InvalidInputError

CONTENT_TYPE = "application/octet-stream"
FORM = "form"  # in the header of what was compacted: how the request worded its tensors
_FROM_BYTES = 2048
_IMAGE = 3  # dimensions, at least
_TENSORS = ("instances", "inputs")


def compact(event: Event) -> Event:
    """Return a request of images in the Open Inference Protocol's binary form; any other event as it is."""
    if event.type != REQUEST_TYPE or HEADER_LENGTH in event.extensions or len(event.data) < _FROM_BYTES:
        return event
    if event.data[:64].lstrip()[:1] != b"{":
        return event  # a picture: a parser for each would cost more than all else
    try:
        document = FastDocument(event.data)
    except (ValueError, RuntimeError):
        return event
    found = compact_body(document)
    if found is None:
        return event
    data, length = found
    return replace(
        event, content_type=CONTENT_TYPE, data=data, extensions={**event.extensions, HEADER_LENGTH: length}
    )


def compact_body(document: FastDocument) -> tuple[bytes, int] | None:
    """Return the binary body of TensorFlow Serving's JSON, and the length of its header.

    None where it has anything but images of whole numbers from 0 to 255.
    """
    root = document.root
    if not isinstance(root, simdjson.Object) or max(map(_depth, map(root.get, _TENSORS))) < _IMAGE:
        return None  # before anything is made of its numbers
    try:
        request = fast_v1(document)
    except InvalidInputError:
        return None  # what is wrong with a payload is told by those who read it
    if request is None or UNNAMED_SENT in request.inputs:
        return None
    arrays = request.inputs.values()
    if any(array.ndim < _IMAGE for array in arrays):
        return None
    data, length = encode_binary(_named(request), "inputs", compact=True, header={FORM: request.form})
    is_whole = len(data) - length == sum(array.size for array in arrays)  # a byte for each number
    return (data, length) if is_whole else None


def _depth(value: Any) -> int:
    """Return how many lists lie in each other, by the first value of each."""
    depth = 0
    while True:
        if isinstance(value, simdjson.Array) and len(value):
            value, depth = value[0], depth + 1
        elif isinstance(value, simdjson.Object) and len(value):
            value = value[next(iter(value))]
        else:
            return depth


def _named(request: InferenceRequest) -> Mapping[str, Array]:
    return {UNNAMED_SENT if name == UNNAMED else name: array for name, array in request.inputs.items()}
