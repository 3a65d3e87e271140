"""HTTP's side of a request: body within the limit, encoding, header length, event attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import Request

from tidegauge.domain.cloudevents import CORE, parse_time
from tidegauge.domain.events import HEADER_LENGTH as HEADER_BYTES
from tidegauge.domain.events import KSERVE_ATTRIBUTES, LATENCY_US, SAMPLED_RATE, SENDER, SEQUENCE, STATUS
from tidegauge.domain.identity import new_id
from tidegauge.domain.packing import ENCODINGS, IDENTITY, too_large, unpack
from tidegauge.errors import InvalidInputError, UnsupportedMediaError

HEADER_LENGTH = "inference-header-content-length"
EVENT_ID = "ce-id"
EVENT_TIME = "ce-time"
#: Marks a request of Tidegauge itself, which is answered but is no traffic: it is neither logged nor counted.
PROBE = "tidegauge-probe"

_LONGEST_ID = 200
_ATTRIBUTE = re.compile(r"ce-([a-z0-9]{1,20})")
_MOST_ATTRIBUTES = 20
_LONGEST_VALUE = 200
#: Headers that say nothing of their own: CloudEvents' core attributes, and those that this server sets.
_OURS = (HEADER_BYTES, STATUS, LATENCY_US, SAMPLED_RATE, SENDER, SEQUENCE, *KSERVE_ATTRIBUTES)
_SETTLED = frozenset(f"ce-{name}" for name in (*CORE, "dataschema", "subject", *_OURS))


@dataclass(frozen=True)
class EventMark:
    """The id and time under which an inference is logged, and further attributes of its events."""

    id: str
    time: datetime
    attributes: Mapping[str, str] = field(default_factory=dict)


def event_mark(headers: Headers, clock: Callable[[], datetime]) -> EventMark:
    """Return what ``ce-id`` and ``ce-time`` say, or a new id and now, with any other ``ce-`` header.

    Those that the server sets itself are passed over. InvalidInputError if one is malformed.
    """
    event_id = headers.get(EVENT_ID)
    if event_id is None:
        event_id = new_id()
    elif not (0 < len(event_id) <= _LONGEST_ID and event_id.isascii() and event_id.isprintable()):
        raise InvalidInputError.of(
            EVENT_ID, f"The header ce-id must be 1 to {_LONGEST_ID} printable ASCII characters."
        )
    attributes = _attributes(headers)
    stated = headers.get(EVENT_TIME)
    if stated is None:
        return EventMark(event_id, clock(), attributes)
    try:
        return EventMark(event_id, parse_time(stated), attributes)
    except ValueError as error:
        raise InvalidInputError.of(EVENT_TIME, f"The header ce-time is {stated!r}; {error}.") from None


def _attributes(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for header, value in headers.items():
        if not header.startswith("ce-") or header in _SETTLED:
            continue
        named = _ATTRIBUTE.fullmatch(header)
        if named is None:
            raise InvalidInputError.of(
                header, f"The header {header} names no attribute; use 1 to 20 of a-z and 0-9 after ce-."
            )
        if not 0 < len(value) <= _LONGEST_VALUE or not (value.isascii() and value.isprintable()):
            raise InvalidInputError.of(
                header, f"The header {header} must be 1 to {_LONGEST_VALUE} printable ASCII characters."
            )
        found[named[1]] = unquote(value)
    if len(found) > _MOST_ATTRIBUTES:
        raise InvalidInputError.of(
            "headers", f"The request has {len(found)} ce- headers; send {_MOST_ATTRIBUTES} at most."
        )
    return found


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
    encoding = encoding_of(request.headers)
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
    body = b"".join(chunks)
    return unpack(body, encoding, limit)


def encoding_of(headers: Headers) -> str:
    """Return the content encoding: identity, gzip or deflate; UnsupportedMediaError for another one."""
    encoding = headers.get("content-encoding", IDENTITY).lower()
    if encoding not in ENCODINGS:
        raise UnsupportedMediaError.of(
            "content-encoding", f"The content encoding is {encoding!r}; send identity, gzip or deflate."
        )
    return encoding
