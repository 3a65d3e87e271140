"""One inference as it goes to the log: what was asked, what was answered, when and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tidegauge.domain.cloudevents import encode_batch
from tidegauge.domain.events import (
    HEADER_LENGTH,
    LATENCY_US,
    REQUEST_TYPE,
    RESPONSE_TYPE,
    SENDER,
    SEQUENCE,
    SERVED_TYPE,
    STATUS,
    Event,
)
from tidegauge.domain.identity import new_id
from tidegauge.domain.tensors import Array, encode_binary
from tidegauge.serving.served import Number

_OVERHEAD = 2048  # bytes of objects and attributes around the payloads of one exchange


@dataclass(frozen=True)
class RawBody:
    """A body that is logged as it came: of a refused request, or of an error."""

    content_type: str
    data: bytes
    header_length: int | None = None


Payload = Mapping[str, Array] | RawBody


@dataclass(frozen=True)
class Exchange:
    """A request and its response; both events carry ``time``, so that both fall into one window."""

    id: str
    time: datetime
    latency_us: int
    status: int
    request: Payload
    response: Payload
    attributes: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, roughly."""
        return _OVERHEAD + _size(self.request) + _size(self.response)


@dataclass(frozen=True)
class Origin:
    """Where exchanges come from: the attributes that all their events share."""

    deployment_id: str
    model: str
    version: str
    namespace: str

    @property
    def source(self) -> str:
        return f"/deployments/{self.deployment_id}"


def encode_exchange(exchange: Exchange, number: Number, origin: Origin) -> bytes:
    """Return both CloudEvents as JSON, the request first, each after a comma: a part of a batch."""
    shared: dict[str, str | int] = {
        **exchange.attributes,
        "inferenceservicename": origin.model,
        "namespace": origin.namespace,
        "endpoint": origin.version,
        SENDER: number.sender,
        SEQUENCE: number.sequence,
    }
    answered: dict[str, str | int] = {
        **shared,
        STATUS: exchange.status,
        LATENCY_US: min(exchange.latency_us, 2**31 - 1),
    }
    return _part(
        _event(exchange, REQUEST_TYPE, origin.source, exchange.request, shared),
        _event(exchange, RESPONSE_TYPE, origin.source, exchange.response, answered),
    )


def encode_report(data: bytes, now: datetime, origin: Origin) -> bytes:
    """Return a report of what was served as a CloudEvent after a comma."""
    return _part(Event(new_id(), origin.source, SERVED_TYPE, now, "application/json", data))


def _part(*events: Event) -> bytes:
    return b"," + memoryview(encode_batch(events))[1:-1]


def _event(
    exchange: Exchange, type_: str, source: str, payload: Payload, extensions: Mapping[str, str | int]
) -> Event:
    if isinstance(payload, RawBody):
        content_type, data, length = payload.content_type, payload.data, payload.header_length
    else:
        content_type = "application/octet-stream"
        data, length = encode_binary(payload, "inputs" if type_ == REQUEST_TYPE else "outputs", compact=True)
    if length is not None and length <= len(data):  # else it says nothing, and may be too large to be sent
        extensions = {**extensions, HEADER_LENGTH: length}
    return Event(exchange.id, source, type_, exchange.time, content_type, data, extensions)


def _size(payload: Payload) -> int:
    if isinstance(payload, RawBody):
        return len(payload.data)
    return sum(array.nbytes for array in payload.values())
