"""The collector's door: CloudEvents over HTTP, answered 202 only when they are safe on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tidegauge.domain.cloudevents import STRUCTURED_CONTENT_TYPE, Decoded, decode_http
from tidegauge.domain.events import BATCH_CONTENT_TYPE
from tidegauge.domain.packing import IDENTITY, unpack
from tidegauge.domain.users import Principal
from tidegauge.errors import InvalidInputError
from tidegauge.services.collector import Collector, Taken
from tidegauge.serving.bodies import encoding_of
from tidegauge.web.bodies import BodyTooLargeError, allow

MAX_BODY = 32 << 20  # bytes of one request: 500 images of 200 x 200 in base64
_MOST_DEFLATED = 1032  # bytes that one byte can stand for
_DIGITS = 20  # of a length that somebody means
_AT_ONCE = 320 << 10  # bytes that are decoded so fast that nobody else has to wait for it
_BODY_SECONDS = 60.0
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
    202: {
        "description": "What was accepted is durable; `repeated` events were so before. Of a batch, "
        "`refused` names the events that are wrong; they are not logged."
    },
    408: {"description": "The body did not come whole within a minute."},
    403: {"description": "The token is for another deployment, or the deployment's log is switched off."},
    413: {"description": "The body is larger than the limit."},
    415: {
        "description": "The body is no CloudEvent that this door reads, or packed in a way it does not know."
    },
    422: {"description": "The event is wrong, or every event of the batch is; nothing was accepted."},
    429: {"description": "The deployment sends more events a second than it may; nothing was accepted."},
    503: {"description": "The disk refuses, or too much waits for it; nothing was accepted."},
}


class _Straight(APIRoute):
    """A route that is documented as any other, and called without FastAPI's solving of parameters.

    That takes as long as all else that is done for a small event.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def build_router(
    collector: Collector, recognise: Callable[[Request], Awaitable[Principal]], max_body: int = MAX_BODY
) -> APIRouter:
    """Return the routes of the collector; ``recognise`` says who sends, or raises what keeps them out."""
    # One thread: parsers keep what they need for the largest body, and two would only wait for each other.
    aside = ThreadPoolExecutor(1, "collector-decode")
    # The dependency stands in the documents, and for those who look which routes are open.
    router = APIRouter(tags=["collector"], dependencies=[Depends(recognise)], route_class=_Straight)

    async def answer(request: Request, deployment_id: str | None) -> Response:
        sender = await recognise(request)
        with collector.room() as hold:
            with _counted(collector):
                encoding = encoding_of(request.headers)
                body, size = await _read(request, hold, max_body)
                now = datetime.now(UTC)
                if encoding != IDENTITY:
                    hold(2 * min(max_body, _MOST_DEFLATED * size))
                if encoding == IDENTITY and size <= _AT_ONCE:
                    decoded = decode_http(dict(request.headers), b"".join(body), now)
                else:
                    loop = asyncio.get_running_loop()
                    decoded = await loop.run_in_executor(
                        aside, _decode, request, body, encoding, max_body, now
                    )
            taken = await collector.take(sender, deployment_id, decoded, now)
        return Response(orjson.dumps(_shown(taken)), 202, media_type="application/json")

    @router.post("/v1/events", status_code=202, responses=_ANSWERS, openapi_extra=_BODY)
    async def collect_events(request: Request) -> Response:
        """Log events; each names its deployment by source ``/deployments/<id>`` or by its KServe service."""
        return await answer(request, None)

    @router.post(
        "/v1/deployments/{deployment_id}/events",  # noqa: FAST003 - it is taken from the request
        status_code=202,
        responses=_ANSWERS,
        openapi_extra=_BODY,
    )
    async def collect_deployment_events(request: Request) -> Response:
        """Log events of one deployment, whatever their source says."""
        return await answer(request, request.path_params["deployment_id"])

    return router


@contextmanager
def _counted(collector: Collector) -> Iterator[None]:
    """Count what is refused here; what the collector refuses it counts itself."""
    try:
        yield
    except InvalidInputError:
        collector.refuse()
        raise


def _decode(request: Request, chunks: list[bytes], encoding: str, max_body: int, now: datetime) -> Decoded:
    body = b"".join(chunks)
    chunks.clear()
    return decode_http(dict(request.headers), unpack(body, encoding, max_body), now)


async def _read(request: Request, hold: Callable[[int], None], max_body: int) -> tuple[list[bytes], int]:
    """Return the body in chunks and its size.

    It holds room for the body and for its events: at once where the length is announced. Whoever joins
    large chunks may wait for other threads, as the loop must not.
    """
    allow(request, max_body, _REMEDY)
    length = request.headers.get("content-length", "")
    is_announced = length.isdecimal() and len(length) < _DIGITS
    if is_announced and int(length) > max_body:
        raise BodyTooLargeError(max_body, _REMEDY)
    hold(2 * int(length) if is_announced else 0)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(_BODY_SECONDS):  # nobody else has the room that it holds
            async for chunk in request.stream():
                if not is_announced:
                    hold(2 * len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise HTTPException(
            408, f"The body did not come within {_BODY_SECONDS:.0f} seconds; send fewer events in a request"
        ) from None
    return chunks, sum(map(len, chunks))


def _shown(taken: Taken) -> dict[str, Any]:
    """Return the answer; ``refused`` stands only where something was."""
    refused = [{"field": error.field, "message": error.message} for error in taken.refused]
    shown: dict[str, Any] = {"accepted": taken.accepted, "repeated": taken.repeated}
    return {**shown, "refused": refused} if refused else shown
