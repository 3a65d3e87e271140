"""Passing requests on to the processes that the server runs, and their answers back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse

from tidegauge.errors import UnavailableError

Headers = list[tuple[bytes, bytes]]

#: Hop-by-hop headers, and those that speak of this hop's caller.
NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade host "
    b"authorization cookie content-length".split()
)


@asynccontextmanager
async def open_upstream(app: FastAPI) -> AsyncIterator[None]:
    """Keep one pool of connections to the processes of the server while the app lives."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=60.0, limits=limits, trust_env=False) as client:
        app.state.upstream = client
        yield


def without(headers: Iterable[tuple[bytes, bytes]], left_out: frozenset[bytes]) -> Headers:
    """Return headers but for those with these names; names are lower case, as ASGI has them."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in left_out]


async def ask(
    request: Request,
    url: httpx.URL,
    headers: Headers,
    content: bytes | AsyncIterator[bytes] | None,
    silence: str,
    patience: httpx.Timeout | None = None,
) -> httpx.Response:
    """Send a request to a process; its answer is to be streamed, and closed.

    Raises UnavailableError, which says ``silence``, where there is none.
    """
    client: httpx.AsyncClient = request.app.state.upstream
    upstream = client.build_request(request.method, url, headers=headers, content=content)
    if patience is not None:
        upstream.extensions["timeout"] = patience.as_dict()
    try:
        return await client.send(upstream, stream=True)
    except httpx.HTTPError as error:
        raise UnavailableError(silence) from error


def passed_back(answer: httpx.Response, headers: Headers) -> StreamingResponse:
    """Return an answer as it comes, with these headers, which close it at its end."""
    response = StreamingResponse(
        answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose)
    )
    response.raw_headers = headers
    return response
