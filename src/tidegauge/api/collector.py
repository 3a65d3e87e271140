"""The collector's door: CloudEvents over HTTP, answered 202 only when they are safe on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from tidegauge.domain.cloudevents import STRUCTURED_CONTENT_TYPE, decode_http
from tidegauge.domain.events import BATCH_CONTENT_TYPE
from tidegauge.domain.packing import unpack
from tidegauge.errors import InvalidInputError
from tidegauge.services.collector import Collector
from tidegauge.serving.bodies import encoding_of
from tidegauge.web.bodies import BodyTooLargeError, read_body

MAX_BODY = 32 << 20  # bytes of one request: 500 images of 200 x 200 in base64
_MOST_DEFLATED = 1032  # bytes that one byte can stand for
_REMEDY = "send fewer events in a request"
_BODY = {
    "requestBody": {
        "required": True,
        "description": "CloudEvents 1.0: structured, batched, or binary (attributes as ce- headers).",
        "content": {
            STRUCTURED_CONTENT_TYPE: {"schema": {"type": "object"}},
            BATCH_CONTENT_TYPE: {"schema": {"type": "array", "items": {"type": "object"}}},
            "*/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"description": "All events are durable."},
    413: {"description": "The body is larger than the limit."},
    415: {
        "description": "The body is no CloudEvent that this door reads, or packed in a way it does not know."
    },
    422: {"description": "At least one event is wrong; none was accepted."},
    503: {"description": "The disk refuses, or too much waits for it; nothing was accepted."},
}


def build_router(collector: Collector, require: Callable[..., Any], max_body: int = MAX_BODY) -> APIRouter:
    """Return the routes of the collector; ``require`` is the dependency that lets a sender in."""
    router = APIRouter(tags=["collector"], dependencies=[Depends(require)])

    async def take(request: Request, deployment_id: str | None) -> dict[str, int]:
        with _counted(collector):
            encoding = encoding_of(request.headers)
            size = _room(request, encoding, max_body)

        def accept() -> int:
            with _counted(collector):
                now = datetime.now(UTC)
                events = decode_http(dict(request.headers), unpack(body, encoding, max_body), now)
            return collector.accept(deployment_id, events, now)

        with collector.room(size):
            with _counted(collector):
                body = await read_body(request, max_body, _REMEDY)
            accepted = await run_in_threadpool(accept)
        return {"accepted": accepted}

    @router.post("/v1/events", status_code=202, responses=_ANSWERS, openapi_extra=_BODY)
    async def collect_events(request: Request) -> dict[str, int]:
        """Log events; each names its deployment by source ``/deployments/<id>`` or by its KServe service."""
        return await take(request, None)

    @router.post(
        "/v1/deployments/{deployment_id}/events", status_code=202, responses=_ANSWERS, openapi_extra=_BODY
    )
    async def collect_deployment_events(deployment_id: str, request: Request) -> dict[str, int]:
        """Log events of one deployment, whatever their source says."""
        return await take(request, deployment_id)

    return router


@contextmanager
def _counted(collector: Collector) -> Iterator[None]:
    """Count what is refused here; what the collector refuses it counts itself."""
    try:
        yield
    except InvalidInputError:
        collector.refuse()
        raise


def _room(request: Request, encoding: str, max_body: int) -> int:
    """Return the bytes to hold room for: the announced length, or the limit, and what it may be unpacked."""
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else max_body
    if size > max_body:
        raise BodyTooLargeError(max_body, _REMEDY)
    return size if encoding == "identity" else size + min(max_body, _MOST_DEFLATED * size)
