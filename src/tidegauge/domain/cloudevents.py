"""CloudEvents 1.0 over HTTP: structured, batched and binary mode, to and from ``Event``.

Sources: CloudEvents 1.0.2, its JSON event format and its HTTP protocol binding. The ``cloudevents``
package (2.2) is not used to read: it fills in a missing id or specversion, accepts times that are not
RFC 3339 and base64 with stray characters, has no batches, and turns data into objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import orjson
import pybase64
import simdjson

from tidegauge.domain.compacting import CONTENT_TYPE as COMPACT_TYPE
from tidegauge.domain.compacting import compact, compact_body
from tidegauge.domain.events import (
    BATCH_CONTENT_TYPE,
    HEADER_LENGTH,
    LATENCY_US,
    REQUEST_TYPE,
    SAMPLED_RATE,
    STATUS,
    Event,
)
from tidegauge.domain.nested import FastDocument
from tidegauge.errors import FieldError, InvalidInputError, UnsupportedMediaError

STRUCTURED_CONTENT_TYPE = "application/cloudevents+json"
MAX_ERRORS = 1000  # of one batch; past that it is no batch of events
#: Of a time that can be one of an event; Go's zero time, the year 1, is what a sender leaves unset.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 2048  # characters of an attribute
_MOST_EXTENSIONS = 64
_AHEAD = timedelta(days=1)  # that a clock may be: time makes the folders of the log

_REQUIRED = ("id", "source", "type")
CORE = frozenset({*_REQUIRED, "specversion", "time", "datacontenttype", "data", "data_base64"})
# Strings in binary mode, integers inside.
_INTEGERS = frozenset({HEADER_LENGTH, STATUS, LATENCY_US, SAMPLED_RATE})
_NAME = re.compile(r"[a-z0-9]+")
_INTEGER = re.compile(r"-?[0-9]{1,10}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_FORBIDDEN = re.compile(  # CloudEvents 1.0.2, type system, String
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_QUOTED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Decoded:
    """The events of one request, their places in a batch, and what is wrong with its other events."""

    events: list[Event]
    places: list[int]
    errors: list[FieldError] = field(default_factory=list)


def decode_http(headers: Mapping[str, str], body: bytes, now: datetime) -> Decoded:
    """Return the events of one HTTP request in any of the three modes; ``headers`` in lower case.

    ``now`` is the time of events that have none. Images in JSON become bytes (``compacting``). Raises
    UnsupportedMediaError for a body that is no CloudEvent, and InvalidInputError for a single event that is
    wrong; a batch tells with a field error (``events[index].attribute``) which of its events are.
    """
    content_type = headers.get("content-type", "")
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    if media in (STRUCTURED_CONTENT_TYPE, BATCH_CONTENT_TYPE):
        charset = re.search(r'charset\s*=\s*"?([^\s;"]+)', parameters, re.IGNORECASE)
        if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaError.of(
                "content-type", f"The charset is {charset[1]!r}; send JSON events in UTF-8."
            )
        return decode_json(body, batch=media == BATCH_CONTENT_TYPE, now=now)
    if "ce-specversion" in headers and not media.startswith("application/cloudevents"):
        return Decoded([compact(_decode_binary(headers, body, now))], [0])
    raise UnsupportedMediaError.of(
        "content-type",
        f"The content type is {content_type!r}; send {STRUCTURED_CONTENT_TYPE}, {BATCH_CONTENT_TYPE}, "
        "or the attributes as ce- headers (ce-specversion, ce-id, ce-source, ce-type).",
    )


def decode_json(body: bytes, *, batch: bool, now: datetime) -> Decoded:
    """Return the events of a JSON body: an array of events if ``batch``, else a single event."""
    document: FastDocument | None = None
    try:
        document = FastDocument(body)
        parsed = document.root
    except (ValueError, RuntimeError):
        # What simdjson refuses may still be right: integers past 64 bits, deep nesting.
        parsed = _parse(body)
    if not batch:
        return Decoded([_decode_one(parsed, 0, now, document)], [0])
    if not isinstance(parsed, list | simdjson.Array):
        raise InvalidInputError.of("events", "The body is not a JSON array; a batch is an array of events.")
    decoded = Decoded([], [])
    for index, item in enumerate(parsed):
        try:
            decoded.events.append(compact(_decode_one(item, index, now)))
            decoded.places.append(index)
        except InvalidInputError as error:
            decoded.errors.extend(error.errors)
            if len(decoded.errors) > MAX_ERRORS:
                raise too_many_wrong(decoded.errors[0]) from error
    return decoded


def too_many_wrong(first: FieldError) -> InvalidInputError:
    """Return the error for a batch that is none."""
    return InvalidInputError.of(
        "events", f"More than {MAX_ERRORS} events are wrong; the first: {first.message}"
    )


def encode_batch(events: Iterable[Event]) -> bytes:
    """Return the events as one ``application/cloudevents-batch+json`` body; data go as base64."""
    return orjson.dumps(
        [
            {
                "specversion": "1.0",
                "id": event.id,
                "source": event.source,
                "type": event.type,
                "time": event.time.astimezone(UTC).isoformat(),
                "datacontenttype": event.content_type,
                **event.extensions,
                "data_base64": pybase64.b64encode_as_string(event.data),
            }
            for event in events
        ]
    )


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.of("events", f"The body is not JSON that can be read: {error}.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _decode_one(item: Any, index: int, now: datetime, document: FastDocument | None = None) -> Event:
    """Return an event of a JSON body; ``document`` is that body where it is all of it."""
    if not isinstance(item, dict | simdjson.Object):
        raise _wrong(index, "", "is not a JSON object")
    values = _attributes(item, index)
    if None in values.values():
        values = {name: value for name, value in values.items() if value is not None or name == "data"}
    if "specversion" not in values:
        raise _wrong(index, "specversion", "is missing; send '1.0'")
    small = _compact_data(document, values) if document is not None else None
    if small is not None:
        return _event({**values, HEADER_LENGTH: small[1]}, COMPACT_TYPE, small[0], index, now)
    content_type = values.get("datacontenttype", "application/json")
    return _event(values, content_type, _json_data(values, content_type, index), index, now)


def _attributes(item: Any, index: int) -> dict[str, Any]:
    """Return an event's attributes, with a payload of JSON as it was parsed."""
    names = list(item.keys())
    for name in names:
        _named(name, index)
    if isinstance(item, simdjson.Object) and "data" not in names:
        whole: dict[str, Any] = item.as_dict()
        if len(whole) == len(names):  # of a name that stands twice the first counts
            return whole
    return {name: item[name] for name in names}  # not as_dict(): it makes Python objects of all the payload


def _compact_data(document: FastDocument, values: Mapping[str, Any]) -> tuple[bytes, int] | None:
    """Return the images of a request as bytes; None where the payload is something else."""
    if values.get("type") != REQUEST_TYPE or HEADER_LENGTH in values or "data_base64" in values:
        return None
    # Lists are told by their brackets, so there may be none before the payload.
    others = (text for name, value in values.items() if name != "data" for text in (name, str(value)))
    if not isinstance(values.get("data"), simdjson.Object) or any("[" in text for text in others):
        return None
    return compact_body(document.within("data"))


def _named(name: str, index: int) -> str:
    """Return a name of an attribute, if it is one: simdjson finds nothing by a name with a NUL."""
    if name not in CORE and not _NAME.fullmatch(name):
        raise _wrong(index, name, "is no attribute name; use only a-z and 0-9")
    return name


def _json_data(values: Mapping[str, Any], content_type: Any, index: int) -> bytes:
    """Return the payload: base64 decoded, text of a non-JSON type as it is, all else as compact JSON."""
    encoded = values.get("data_base64")
    if encoded is not None:
        if "data" in values:
            raise _wrong(index, "data_base64", "stands beside data; send only one of them")
        if not isinstance(encoded, str):
            raise _wrong(index, "data_base64", "is not a string; send the payload in base64")
        try:
            return pybase64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise _wrong(index, "data_base64", f"is not base64 ({error})") from error
    if "data" not in values:
        return b""
    data = values["data"]
    if isinstance(data, simdjson.Object | simdjson.Array):
        compact: Any = data.mini  # bytes, though its stub says str
        return bytes(compact)
    try:
        if isinstance(data, str) and isinstance(content_type, str) and not _is_json(content_type):
            return data.encode()
        return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError) as error:  # half a surrogate pair, or a number past the doubles
        raise _wrong(index, "data", f"cannot be written as text ({error})") from error


def _is_json(content_type: str) -> bool:
    subtype = content_type.partition(";")[0].strip().lower().rpartition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def _decode_binary(headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
    values: dict[str, Any] = {}
    for header, value in headers.items():
        name = header.lower()
        if not name.startswith("ce-"):
            continue
        attribute = name.removeprefix("ce-")
        if attribute in ("data", "data_base64", "datacontenttype"):
            raise _wrong(0, attribute, "is no header; the payload is the body and its type Content-Type")
        values[_named(attribute, 0)] = _header_value(attribute, value)
    return _event(values, headers.get("content-type", "application/octet-stream"), body, 0, now)


def _header_value(attribute: str, value: str) -> str:
    """Undo the double quotes and then one round of percent-encoding, as the HTTP binding asks (3.1.3.2)."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = _QUOTED.sub(r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise _wrong(0, attribute, f"has percent-encoded bytes that are not UTF-8: {value!r}") from error


def _event(values: Mapping[str, Any], content_type: Any, data: bytes, index: int, now: datetime) -> Event:
    """Check the attributes that all modes share."""
    if values.get("specversion") != "1.0":
        raise _wrong(index, "specversion", f"is {values.get('specversion')!r}; send '1.0'")
    extensions = values.keys() - CORE
    if len(extensions) > _MOST_EXTENSIONS:
        raise _wrong(index, "", f"has {len(extensions)} extensions; send {_MOST_EXTENSIONS} at most")
    for name in _REQUIRED:
        if not _text(values.get(name, ""), index, name):
            raise _wrong(index, name, "is missing or empty; every event needs one")
    if not _text(content_type, index, "datacontenttype"):
        raise _wrong(index, "datacontenttype", "is empty; leave it out or name a media type")
    return Event(
        id=values["id"],
        source=values["source"],
        type=values["type"],
        time=_time(values["time"], index, now) if "time" in values else now.astimezone(UTC),
        content_type=content_type,
        data=data,
        extensions={
            name: _extension(name, value, index) for name, value in values.items() if name in extensions
        }
        if extensions
        else {},
    )


def _text(value: Any, index: int, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(index, name, f"is {_shown(value)}; send a string")
    if len(value) > _LONGEST:
        raise _wrong(index, name, f"has {len(value)} characters; send {_LONGEST} at most")
    if not (value.isascii() and value.isprintable()) and _FORBIDDEN.search(value):
        raise _wrong(index, name, "holds a control character or a code point that is no character")
    return value


def parse_time(text: str) -> datetime:
    """Return an RFC 3339 time from 1970 on as UTC; for any other text ValueError, which says what to send."""
    upper = text.upper()
    try:
        time = datetime.fromisoformat(upper).astimezone(UTC) if _RFC3339.fullmatch(upper) else None
    except (ValueError, OverflowError):
        time = None
    if time is None:
        raise ValueError("send RFC 3339 such as '2026-01-31T12:00:00.5Z'")
    if time < EARLIEST:
        raise ValueError("send a time from 1970 on, or none where it is not known")
    return time


def _time(value: Any, index: int, now: datetime) -> datetime:
    try:
        time = parse_time(_text(value, index, "time"))
    except ValueError as error:
        raise _wrong(index, "time", f"is {value!r}; {error}") from error
    if time - now > _AHEAD:
        raise _wrong(index, "time", f"is {value!r}, more than a day ahead; set the sender's clock right")
    return time


def _extension(name: str, value: Any, index: int) -> str | int | bool:
    if isinstance(value, str):
        text = _text(value, index, name)
        if name not in _INTEGERS:
            return text
        value = int(text) if _INTEGER.fullmatch(text) else text
    elif isinstance(value, bool) and name not in _INTEGERS:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        wanted = "" if name in _INTEGERS else "a string, a boolean or "
        raise _wrong(index, name, f"is {_shown(value)}; send {wanted}an integer of 32 bits")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, Sequence | simdjson.Array) and not isinstance(value, str):
        return "an array"
    if isinstance(value, Mapping | simdjson.Object):
        return "an object"
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _wrong(index: int, attribute: str, fault: str) -> InvalidInputError:
    shown = attribute.encode("ascii", "backslashreplace").decode()
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    field = f"events[{index}].{shown}" if shown else f"events[{index}]"
    subject = f"{shown} of event {index}" if shown else f"Event {index}"
    return InvalidInputError.of(field, f"{subject} {fault}.")
