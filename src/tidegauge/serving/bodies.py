"""HTTP's side of a request: body within the limit, encoding, header length, event attributes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.datastructures import Headers
from starlette.requests import Request

from tidegauge.domain.cloudevents import parse_time
from tidegauge.domain.identity import new_id
from tidegauge.errors import InvalidInputError, TooLargeError, UnsupportedMediaError

HEADER_LENGTH = "inference-header-content-length"
EVENT_ID = "ce-id"
EVENT_TIME = "ce-time"

_LONGEST_ID = 200
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


@dataclass(frozen=True)
class EventMark:
    """The id and time under which an inference is logged."""

    id: str
    time: datetime


def event_mark(headers: Headers, clock: Callable[[], datetime]) -> EventMark:
    """Return what ``ce-id`` and ``ce-time`` say, or a new id and now; InvalidInputError if malformed."""
    event_id = headers.get(EVENT_ID)
    if event_id is None:
        event_id = new_id()
    elif not (0 < len(event_id) <= _LONGEST_ID and event_id.isascii() and event_id.isprintable()):
        raise InvalidInputError.of(
            EVENT_ID, f"The header ce-id must be 1 to {_LONGEST_ID} printable ASCII characters."
        )
    stated = headers.get(EVENT_TIME)
    if stated is None:
        return EventMark(event_id, clock())
    try:
        return EventMark(event_id, parse_time(stated))
    except ValueError:
        raise InvalidInputError.of(
            EVENT_TIME, f"The header ce-time is {stated!r}; send RFC 3339 such as '2026-01-31T12:00:00Z'."
        ) from None


def header_length(headers: Headers) -> int | None:
    """Return Inference-Header-Content-Length, or None without it; InvalidInputError if it is no number."""
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise InvalidInputError.of(
            HEADER_LENGTH, f"Inference-Header-Content-Length is {text!r}; it must be a number of bytes."
        )
    return int(text)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, unpacked if it is gzip or deflate.

    Raises TooLargeError past ``limit`` bytes, packed or not, before it holds more than that in memory.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise UnsupportedMediaError.of(
            "content-encoding", f"The content encoding is {encoding!r}; send identity, gzip or deflate."
        )
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
    body = b"".join(chunks)
    return body if encoding == "identity" else _unpack(body, encoding, limit)


def _unpack(body: bytes, encoding: str, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInputError.of("body", f"The body is not valid {encoding}: {error}.") from None
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise InvalidInputError.of("body", f"The body is not valid {encoding}: it ends too early.")
    return unpacked


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError.of(
        "body", f"The body is larger than {limit} bytes, the limit; send smaller batches."
    )
