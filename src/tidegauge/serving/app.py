"""The HTTP door of a model server: routes, errors as HTTP, metrics and the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tidegauge import __version__
from tidegauge.domain.identity import new_id
from tidegauge.errors import (
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    TooLargeError,
    UnsupportedMediaError,
)
from tidegauge.serving import protocols
from tidegauge.serving.bodies import (
    EVENT_ID,
    HEADER_LENGTH,
    PROBE,
    EventMark,
    event_mark,
    header_length,
    read_body,
)
from tidegauge.serving.eventlog import EventLog, LogCounts
from tidegauge.serving.exchange import Exchange, Payload, RawBody
from tidegauge.serving.metrics import CONTENT_TYPE, Metrics
from tidegauge.serving.model import Model
from tidegauge.serving.protocols import JSON, Answer
from tidegauge.serving.sampling import Sampling

_logger = logging.getLogger(__name__)

_STATUS = ((TooLargeError, 413), (UnsupportedMediaError, 415), (InvalidInputError, 400), (NotFoundError, 404))
_LOGGED_RAW_BYTES = 64 << 10  # a refused request is logged with its body up to this size
_INLINE_SECONDS = 0.01  # longer requests leave the event loop, so that health checks are answered
_FLUSH_SECONDS = 10.0


class ModelServer:
    """Answers the requests for one model. Short requests run in the event loop: a thread costs more."""

    def __init__(
        self,
        model: Model,
        log: EventLog | None,
        *,
        max_body_bytes: int,
        clock: Callable[[], datetime],
        flush_seconds: Callable[[], float],
        probes: bool,
        sampling: float,
    ) -> None:
        self.model = model
        self._log = log
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._probes = probes
        self._sampling = Sampling(sampling)
        self._metrics = Metrics(self._log_counts)
        self._pool = ThreadPoolExecutor(1, "inference")
        self._seconds_per_byte = {"v1": 0.0, "v2": 0.0}

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Run the log's sender while the server runs, and give it time for the rest at the end."""
        if self._log:
            self._log.start()
        yield
        self._pool.shutdown()
        if self._log:
            await asyncio.to_thread(self._log.close, self._flush_seconds())

    def routes(self) -> list[Route]:
        """Return all routes, the busy ones first."""
        v1, v2 = "/v1/models/{name}", "/v2/models/{name}"
        version = "/versions/{version}"
        return [
            Route(v2 + "/infer", self.infer, methods=["POST"]),
            Route(v1 + ":predict", self.predict, methods=["POST"]),
            Route(v2 + version + "/infer", self.infer, methods=["POST"]),
            Route(v1 + version + ":predict", self.predict, methods=["POST"]),
            *self._about(v1, protocols.v1_status),
            *self._about(v1 + version, protocols.v1_status),
            *self._about(v1 + "/metadata", protocols.v1_metadata),
            *self._about(v1 + version + "/metadata", protocols.v1_metadata),
            *self._about(v2, protocols.v2_metadata),
            *self._about(v2 + version, protocols.v2_metadata),
            *self._about(v2 + "/ready", _ready),
            *self._about(v2 + version + "/ready", _ready),
            Route("/v2", self.server_metadata),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/healthz", self.healthz),
        ]

    async def predict(self, request: Request) -> Response:
        """Answer TensorFlow Serving's predict."""
        return await self._serve(request, "v1", lambda body, _: protocols.predict(self.model, body))

    async def infer(self, request: Request) -> Response:
        """Answer the Open Inference Protocol's infer."""
        return await self._serve(
            request, "v2", lambda body, length: protocols.infer(self.model, body, length)
        )

    async def server_metadata(self, _: Request) -> Response:
        """Answer v2's server metadata."""
        return _json({"name": "tidegauge", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, _: Request) -> Response:
        """Answer v2's liveness."""
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        """Answer v2's readiness; the model is loaded before the port is opened."""
        return _json({"ready": True})

    async def metrics(self, _: Request) -> Response:
        """Answer Prometheus."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def healthz(self, _: Request) -> Response:
        """Tell what was served and what became of the log."""
        state = {"status": "ok", "model": self.model.name, "version": self.model.version}
        counts = {
            "served": self._metrics.served,
            "logging": self._log is not None,
            "sender": self._log.sender if self._log else "",
            **asdict(self._log_counts()),
        }
        return _json({**state, **counts})

    def _about(self, path: str, describe: Callable[[Model], dict[str, Any]]) -> list[Route]:
        async def endpoint(request: Request) -> Response:
            self._check_path(request)
            return _json(describe(self.model))

        return [Route(path, endpoint)]

    def _log_counts(self) -> LogCounts:
        return self._log.counts if self._log else LogCounts()

    def _check_path(self, request: Request) -> None:
        name = request.path_params["name"]
        if name != self.model.name:
            raise NotFoundError(f"There is no model {name!r} here; this server has {self.model.name!r}.")
        version = request.path_params.get("version", self.model.version)
        if version.removeprefix("v") != self.model.version.removeprefix("v"):
            raise NotFoundError(
                f"Model {name!r} has no version {version!r} here; this server has {self.model.version!r}."
            )

    async def _serve(
        self, request: Request, protocol: str, answer: Callable[[bytes, int | None], Answer]
    ) -> Response:
        """Read, answer, count and log one inference request."""
        started = time.perf_counter()
        body: bytes | None = None
        length: int | None = None
        mark: EventMark | None = None
        try:
            mark = event_mark(request.headers, self._clock)
            body = await read_body(request, self._max_body_bytes)
            started = time.perf_counter()
            self._check_path(request)
            length = header_length(request.headers)
            result = await self._compute(protocol, len(body), lambda: answer(body, length))
        except ClientDisconnect:
            raise
        except Exception as error:
            response = _failure(error)
            status = response.status_code
            content_type = request.headers.get("content-type", JSON)
            asked: Payload = RawBody(content_type, *_if_small(body, length))
            answered: Payload = RawBody(JSON, bytes(response.body))
        else:
            status, response = 200, _response(result)
            asked, answered = result.inputs, result.outputs
        if self._probes and PROBE in request.headers:
            return response
        seconds = time.perf_counter() - started
        self._metrics.count(protocol, status, seconds)
        mark = mark or EventMark(new_id(), self._clock())
        response.headers[EVENT_ID] = mark.id
        if self._log:
            microseconds = int(seconds * 1e6)
            exchange = Exchange(mark.id, mark.time, microseconds, status, asked, answered, mark.attributes)
            if kept := self._sampling.take(exchange):
                self._log.put(kept)
        return response

    async def _compute(self, protocol: str, size: int, answer: Callable[[], Answer]) -> Answer:
        """Compute in the event loop if the last requests say that it is short, else in the thread."""
        inline = size * self._seconds_per_byte[protocol] < _INLINE_SECONDS
        started = time.perf_counter()
        if inline:
            result = answer()
        else:
            result = await asyncio.get_running_loop().run_in_executor(self._pool, answer)
        rate = (time.perf_counter() - started) / max(1, size)
        self._seconds_per_byte[protocol] += 0.2 * (rate - self._seconds_per_byte[protocol])
        return result


def create_app(
    model: Model,
    log: EventLog | None = None,
    *,
    max_body_bytes: int = 64 << 20,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    flush_seconds: Callable[[], float] = lambda: _FLUSH_SECONDS,
    probes: bool = False,
    sampling: float = 1.0,
) -> Starlette:
    """Return the ASGI app of one model; ``log`` is started and closed with it.

    ``clock`` gives the time of events that bring none; ``flush_seconds`` says, at the end, how long the
    log may take for what is queued. ``probes``: requests that say that they are no traffic are not logged.
    ``sampling`` is the share of requests that is.
    """
    server = ModelServer(
        model,
        log,
        max_body_bytes=max_body_bytes,
        clock=clock,
        flush_seconds=flush_seconds,
        probes=probes,
        sampling=sampling,
    )
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        TidegaugeError: _on_error,
        HTTPException: _on_http_error,
        ClientDisconnect: _on_disconnect,
        Exception: _on_error,
    }
    return Starlette(routes=server.routes(), lifespan=server.lifespan, exception_handlers=handlers)


def _ready(model: Model) -> dict[str, Any]:
    return {"name": model.name, "ready": True}


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, headers={"content-type": JSON})


def _response(answer: Answer) -> Response:
    headers = {"content-type": answer.content_type}
    if answer.header_length is not None:
        headers[HEADER_LENGTH] = str(answer.header_length)
    return Response(answer.body, headers=headers)


def _error(message: str, status: int) -> Response:
    return _json({"error": message}, status)


def _status_of(error: TidegaugeError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _failure(error: Exception) -> Response:
    """Return the response to an error: what it says if it is meant for people, else that it is our fault."""
    if isinstance(error, TidegaugeError):
        return _error(error.message, _status_of(error))
    _logger.error("a request failed", exc_info=error)
    return _error("The server failed; its log says why.", 500)


def _if_small(body: bytes | None, length: int | None) -> tuple[bytes, int | None]:
    return (body, length) if body and len(body) <= _LOGGED_RAW_BYTES else (b"", None)


async def _on_error(_: Request, error: Exception) -> Response:
    return _failure(error)


async def _on_http_error(_: Request, error: HTTPException) -> Response:
    return _error(str(error.detail).rstrip(".") + ".", error.status_code)


async def _on_disconnect(_: Request, __: ClientDisconnect) -> Response:
    return _error("The client went away before its request was read.", 400)
