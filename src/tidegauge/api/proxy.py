"""``/serve/{deployment id}/...``: the model servers through the main address, with its tokens."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.users import Principal
from tidegauge.errors import ConflictError, UnavailableError
from tidegauge.services.bundle import Services
from tidegauge.serving.bodies import PROBE
from tidegauge.web.access import CLOSED, Caller, Everything
from tidegauge.web.bodies import read_body
from tidegauge.web.forwarding import NOT_FORWARDED, ask, passed_back, without

_BODY_LIMIT = 64 * 2**20  # as the model server's own

_PLAIN = "/:@!$&'()*+,;=~"  # in a path, beside letters and digits

_ANSWERS: dict[int | str, dict[str, Any]] = {
    statuses: {
        "description": "What the model server answers, or why it was not asked.",
        "content": {"*/*": {}},
    }
    for statuses in ("2XX", "4XX", "5XX")
}

router = APIRouter(prefix="/serve", tags=["serve"], responses=_ANSWERS, dependencies=CLOSED)

_NOT_FORWARDED = NOT_FORWARDED | {PROBE.encode()}


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
    # Quoted again, as it came: a path may have characters that no URL has as they are.
    url = httpx.URL(
        f"http://127.0.0.1:{deployment.port}/{quote(path, safe=_PLAIN)}", query=request.url.query.encode()
    )
    answer = await ask(
        request,
        url,
        without(request.headers.raw, _NOT_FORWARDED),
        body,
        f"The model server of {deployment.name!r} does not answer ({deployment.state.value}); try soon.",
    )
    return passed_back(answer, without(answer.headers.raw, _NOT_FORWARDED - {b"content-length"}))
