"""``/serve/{deployment id}/...``: the model servers through the main address, with its tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.users import Principal
from tidegauge.errors import ConflictError, UnavailableError
from tidegauge.services.bundle import Services
from tidegauge.serving.bodies import PROBE
from tidegauge.web.access import Caller, Everything
from tidegauge.web.bodies import read_body

_BODY_LIMIT = 64 * 2**20  # as the model server's own

_PLAIN = "/:@!$&'()*+,;=~"  # in a path, beside letters and digits

_ANSWERS: dict[int | str, dict[str, Any]] = {
    statuses: {
        "description": "What the model server answers, or why it was not asked.",
        "content": {"*/*": {}},
    }
    for statuses in ("2XX", "4XX", "5XX")
}

router = APIRouter(prefix="/serve", tags=["serve"], responses=_ANSWERS)

# Hop-by-hop headers, and those that speak of this hop's caller.
_NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade host "
    b"authorization cookie content-length".split()
) | {PROBE.encode()}


@asynccontextmanager
async def open_upstream(app: FastAPI) -> AsyncIterator[None]:
    """Keep one pool of connections to the model servers while the app lives."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=60.0, limits=limits, trust_env=False) as client:
        app.state.upstream = client
        yield


def _target(services: Services, caller: Principal, deployment_id: str) -> Deployment:
    deployment = services.deployments.get(caller, deployment_id)
    if deployment.elsewhere:
        raise ConflictError(deployment.elsewhere)
    if deployment.wanted.value == "stopped":
        raise ConflictError(f"The deployment {deployment.name!r} is stopped; start it first.")
    if not deployment.port:
        raise UnavailableError(
            f"The deployment {deployment.name!r} is {deployment.state.value}; try again soon."
        )
    return deployment


@router.get("/{deployment_id}/{path:path}", response_class=StreamingResponse, name="forward GET")
@router.post("/{deployment_id}/{path:path}", response_class=StreamingResponse, name="forward POST")
async def forward(
    caller: Caller, services: Everything, deployment_id: str, path: str, request: Request
) -> StreamingResponse:
    """Pass a request on to the deployment's model server and its answer back, unchanged."""
    deployment = await run_in_threadpool(_target, services, caller, deployment_id)
    body = await read_body(request, _BODY_LIMIT)
    client: httpx.AsyncClient = request.app.state.upstream
    headers = [(k, v) for k, v in request.headers.raw if k.lower() not in _NOT_FORWARDED]
    # Quoted again, as it came: a path may have characters that no URL has as they are.
    url = httpx.URL(
        f"http://127.0.0.1:{deployment.port}/{quote(path, safe=_PLAIN)}", query=request.url.query.encode()
    )
    upstream = client.build_request(request.method, url, headers=headers, content=body)
    try:
        answer = await client.send(upstream, stream=True)
    except httpx.HTTPError as error:
        raise UnavailableError(
            f"The model server of {deployment.name!r} does not answer ({deployment.state.value}); try soon."
        ) from error
    kept = {
        k: v
        for k, v in answer.headers.items()
        if k.lower().encode() not in _NOT_FORWARDED - {b"content-length"}
    }
    return StreamingResponse(
        answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose)
    )
