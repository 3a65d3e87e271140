"""A reverse proxy before a model server that cannot log: it passes everything on, and logs what was inferred.

A client's answer never waits for the log and never fails because of it: bodies pass as they come, a copy goes
to the queue that model servers use, and what does not fit there is counted.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tidegauge.domain.identity import new_id
from tidegauge.domain.packing import unpack
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.serving.bodies import EVENT_ID, EventMark, encoding_of, event_mark, header_length
from tidegauge.serving.eventlog import EventLog
from tidegauge.serving.exchange import Exchange, Origin, RawBody
from tidegauge.serving.metrics import CONTENT_TYPE, Metrics
from tidegauge.serving.posting import Collector
from tidegauge.serving.sampling import Sampling

#: Paths of inferences: of TensorFlow Serving, the Open Inference Protocol, MLflow and others.
PREDICTIONS = r"(:predict|/infer|/invocations|/predict|/predictions)$"
HEALTH, METRICS = "/tidegauge/healthz", "/tidegauge/metrics"

_JSON = "application/json"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_HOP = frozenset(b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade".split())
_FLUSH_SECONDS = 10.0
_logger = logging.getLogger(__name__)

_Said = Callable[[], RawBody]  # a body, made where an error in it does no harm


@dataclass(frozen=True)
class RecordOptions:
    """Options of a recorder.

    ``upstream`` is the model server's address, ``log_url`` the collector's ``/v1/deployments/<id>/events``.
    ``predictions`` is a regular expression of the paths that are logged where they are posted to. A body past
    ``max_logged_bytes`` passes like any other, and is logged without its content. ``sampling`` is the share
    of inferences that is logged.
    """

    upstream: str
    log_url: str
    log_token: str = ""
    name: str = "recorded"
    version: str = "1"
    namespace: str = "default"
    predictions: str = PREDICTIONS
    max_logged_bytes: int = 16 << 20
    timeout_seconds: float = 60.0
    sampling: float = 1.0


class _Copy:
    """What passed of a body, unless it is too much to be logged."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._chunks: list[bytes] = []

    async def of(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass chunks on, keeping them."""
        async for chunk in chunks:
            self._size += len(chunk)
            if self._size <= self._limit:
                self._chunks.append(chunk)
            else:
                self._chunks.clear()
            yield chunk

    def body(self, headers: Headers) -> RawBody:
        """Return it as it is logged: unpacked, where that can be."""
        data = b"".join(self._chunks)
        try:
            data = unpack(data, encoding_of(headers), self._limit)
        except TidegaugeError:
            _logger.debug("a body could not be unpacked; it is logged as it came")
        kind = headers.get("content-type", _JSON)
        return RawBody(kind, data, _length_of_head(headers))


class Recorder:
    """Passes requests on to one server and logs the inferences among them."""

    def __init__(self, options: RecordOptions, log: EventLog, clock: Callable[[], datetime]) -> None:
        self._options = options
        self._upstream = _address(options.upstream)
        self._is_prediction = _pattern(options.predictions).search
        self._sampling = Sampling(options.sampling)
        self._log = log
        self._clock = clock
        self._metrics = Metrics(lambda: log.counts)
        self._client: httpx.AsyncClient

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Keep connections to the server while this one runs; at the end the log has time for the rest."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        seconds = self._options.timeout_seconds
        async with httpx.AsyncClient(timeout=seconds, limits=limits, trust_env=False) as self._client:
            self._log.start()
            yield
        await asyncio.to_thread(self._log.close, _FLUSH_SECONDS)

    def routes(self) -> list[Route]:
        """Return the two pages of its own, and the way through."""
        return [
            Route(HEALTH, self.health),
            Route(METRICS, self.metrics),
            Route("/{path:path}", self.forward, methods=_METHODS),
        ]

    async def health(self, _: Request) -> Response:
        """Tell what was recorded, and what became of it."""
        state = {"status": "ok", "upstream": self._upstream, "sender": self._log.sender}
        counts = {"served": self._metrics.served, **asdict(self._log.counts)}
        return Response(orjson.dumps(state | counts), media_type=_JSON)

    async def metrics(self, _: Request) -> Response:
        """Answer Prometheus."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def forward(self, request: Request) -> Response:
        """Pass a request on and its answer back; log both where it is an inference."""
        started = time.perf_counter()
        limit = self._options.max_logged_bytes
        asked, answered = _Copy(limit), _Copy(limit)
        logged = request.method == "POST" and self._is_prediction(request.url.path) is not None
        mark = self._mark(request.headers)
        body = asked.of(request.stream()) if logged else request.stream()
        try:
            answer = await self._client.send(self._upstream_request(request, body), stream=True)
        except (httpx.HTTPError, ClientDisconnect) as error:
            message = f"The model server at {self._upstream} does not answer: {_reason(error)}."
            response = Response(orjson.dumps({"error": message}), 502, media_type=_JSON)
            if logged:
                response.headers[EVENT_ID] = mark.id
                said = RawBody(_JSON, bytes(response.body))
                self._put(mark, 502, started, lambda: asked.body(request.headers), lambda: said)
            return response

        async def passed() -> AsyncIterator[bytes]:
            chunks = answer.aiter_raw()
            try:
                async for chunk in answered.of(chunks) if logged else chunks:
                    yield chunk
            finally:
                if logged:
                    given = Headers(dict(answer.headers))
                    self._put(
                        mark,
                        answer.status_code,
                        started,
                        lambda: asked.body(request.headers),
                        lambda: answered.body(given),
                    )
                await answer.aclose()

        response = StreamingResponse(passed(), answer.status_code)
        kept = _without_hops(answer.headers.raw)
        if logged and EVENT_ID.encode() not in {name.lower() for name, _ in kept}:
            kept.append((EVENT_ID.encode(), mark.id.encode()))
        response.raw_headers = kept
        return response

    def _upstream_request(self, request: Request, body: AsyncIterator[bytes]) -> httpx.Request:
        url = httpx.URL(f"{self._upstream}{request.scope['raw_path'].decode('ascii')}")
        headers = _without_hops(request.headers.raw, b"host")
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        # Not made by the client, which would ask for encodings that the caller may not know.
        return httpx.Request(
            request.method,
            url.copy_with(query=request.scope["query_string"] or None),
            headers=headers,
            content=body if has_body else None,
            extensions={"timeout": self._client.timeout.as_dict()},
        )

    def _mark(self, headers: Headers) -> EventMark:
        try:
            return event_mark(headers, self._clock)
        except InvalidInputError:  # what is wrong with a mark is no reason to refuse an inference
            return EventMark(new_id(), self._clock())

    def _put(self, mark: EventMark, status: int, started: float, asked: _Said, answered: _Said) -> None:
        seconds = time.perf_counter() - started
        self._metrics.count("recorded", status, seconds)
        took = int(seconds * 1e6)
        try:
            exchange = Exchange(mark.id, mark.time, took, status, asked(), answered(), mark.attributes)
            if kept := self._sampling.take(exchange):
                self._log.put(kept)
        except Exception:
            # The client still waits for the end of its answer, which must not depend on the log.
            _logger.exception("An inference could not be logged.")


def create_app(
    options: RecordOptions, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Starlette:
    """Return the ASGI app of a recorder; InvalidInputError for an address or an expression that is none."""
    deployment_id = _deployment(options.log_url)
    origin = Origin(deployment_id, options.name, options.version, options.namespace)
    log = EventLog(Collector(options.log_url, options.log_token), origin)
    recorder = Recorder(options, log, clock)
    return Starlette(routes=recorder.routes(), lifespan=recorder.lifespan)


def _length_of_head(headers: Headers) -> int | None:
    try:
        return header_length(headers)
    except InvalidInputError:  # what to say of it is the server's
        return None


def _without_hops(headers: Iterable[tuple[bytes, bytes]], *more: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _HOP and name.lower() not in more]


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidInputError.of(
            "upstream", f"upstream is {url!r}; give the http(s) address of the model server."
        )
    return url.rstrip("/")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidInputError.of(
            "predictions", f"predictions is {text!r}, which is no regular expression: {error}."
        ) from error


def _deployment(url: str) -> str:
    found = re.search(r"/v1/deployments/([^/]+)/events/?$", urlsplit(url).path)
    if not found:
        raise InvalidInputError.of(
            "log_url", f"log_url is {url!r}; it must end in /v1/deployments/<deployment id>/events."
        )
    return found[1]


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")
