"""Pages that follow what happens: a stream of server-sent events that says when something has changed.

Only that something has: the page fetches itself anew, so that what is shown is made in one place.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from threading import Event

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from tidegauge.errors import NotFoundError, NotSignedInError, UnavailableError
from tidegauge.storage.database import Database
from tidegauge.ui.site import Pages
from tidegauge.web.access import Caller, Everything, signed_in

_LOOK_SECONDS = 1.0  # between looks for a change
_ALIVE_LOOKS = 15  # after which a stream whose token holds says that it lives, so that no proxy ends it
_MOST = 100  # streams of one person: each looks once a second
#: What a list shows of each noun that changes by itself, and the nouns of each list.
_COLUMNS = {
    "repositories": ("id",),
    "versions": ("id", "state", "done", "total"),
    "pipeline_runs": ("id", "state", "message", "steps"),
    "deployments": ("id", "state", "wanted", "message", "model_version"),
    "ides": ("id", "state", "wanted", "message"),
    "monitors": ("id", "state", "status", "progress", "message", "last_run_at", "config_version"),
    "retrainings": ("id", "state", "progress", "message"),
    "channels": ("id", "name", "failing_since", "message"),
}
_LISTS = {
    "repositories": ("repositories", "versions"),
    "pipeline-runs": ("pipeline_runs",),
    "deployments": ("deployments", "monitors"),
    "ides": ("ides",),
    "monitors": ("monitors", "retrainings"),
    "channels": ("channels",),
}
_OWNED = frozenset(_COLUMNS) - {"versions", "retrainings"}
_SHARED = _OWNED - {"channels", "ides"}

router = Pages()


@router.get("/live")
async def live(request: Request, caller: Caller, services: Everything, of: str) -> StreamingResponse:
    """Send ``changed`` whenever what the caller's pages show of ``of`` has."""
    if of not in _LISTS:
        raise NotFoundError(f"There is nothing to follow of {of!r}; use one of {', '.join(_LISTS)}.")
    streams: Counter[str] = request.app.state.streams
    if streams[caller.name] >= _MOST:
        raise UnavailableError(f"{_MOST} pages of yours follow what happens already; close some of them.")
    stream = _changes(request, services.database, of, caller.name)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _changes(request: Request, database: Database, of: str, owner: str) -> AsyncIterator[str]:
    ending: Event = request.app.state.ending
    streams: Counter[str] = request.app.state.streams
    if streams[owner] >= _MOST:
        return  # many began at once
    streams[owner] += 1
    try:
        known = await run_in_threadpool(_fingerprint, database, of, owner)
        yield "retry: 2000\n\n"
        looks = 0
        while not ending.is_set() and not await request.is_disconnected():
            await asyncio.sleep(_LOOK_SECONDS)
            now = await run_in_threadpool(_fingerprint, database, of, owner)
            looks += 1
            if now != known:
                known = now
                yield "event: changed\ndata:\n\n"
            if looks % _ALIVE_LOOKS == 0:
                await run_in_threadpool(signed_in, request)
                yield ": alive\n\n"
    except NotSignedInError:
        return  # the token was revoked meanwhile
    finally:
        streams[owner] -= 1


def _fingerprint(database: Database, of: str, owner: str) -> str:
    """Return a digest of what changes by itself."""
    digest = hashlib.blake2b(digest_size=16)
    for noun in _LISTS[of]:
        seen: list[dict[str, object]] = [{"owner": owner}] if noun in _OWNED else [{}]
        seen += [{"shared": True}] if noun in _SHARED else []
        for where in seen:
            for row in getattr(database, noun).columns(*_COLUMNS[noun], **where):
                digest.update(repr(row).encode())
    return digest.hexdigest()
