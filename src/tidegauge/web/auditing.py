"""Every change, and every failure to sign in, goes into the audit log by itself: no route can forget it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegauge.domain.ide import JUPYTER
from tidegauge.domain.users import Principal, Session
from tidegauge.services.auditing import Auditing, Deed
from tidegauge.web.credentials import COLLECTOR, address_of

_NOTED = "tidegauge.audited"  # in the scope of a request
_READING = ("GET", "HEAD", "OPTIONS")
#: Of each request to a model and each event to the log there is a log already. What somebody does within an
#: IDE is code that runs: its start is an entry, and so is what it changes through the API.
_EVENTS = "/events"
_PASSED_ON = ("/serve/", f"{JUPYTER}/")
#: The id of an event is what a patient has deleted: a log that keeps it for ever would bring it back.
_HIDDEN = frozenset({"event_id"})
_MOST = 1 << 16  # bytes of an answer that are looked at for what was made


@dataclass
class Noted:
    """What is known of who asks; ``means`` where somebody is signing in, and ``name`` as whom."""

    caller: Principal | None = None
    means: str = ""
    name: str = ""
    session: Session | None = None
    facts: str = ""


def audited_of(connection: HTTPConnection) -> Noted:
    """Return what the audit log will say of who asks, to be filled in."""
    found: Noted = connection.scope.setdefault(_NOTED, Noted())
    return found


def signing_in(connection: HTTPConnection, means: str, name: str = "") -> None:
    """Say that somebody is trying to sign in, and as whom."""
    noted = audited_of(connection)
    noted.means, noted.name = means, name


def signed_in_as(connection: HTTPConnection, session: Session) -> None:
    """Say whose session has begun."""
    audited_of(connection).session = session


def also(connection: HTTPConnection, **facts: str) -> None:
    """Say what the address and the answer do not tell of a change; never what is secret."""
    noted = audited_of(connection)
    noted.facts = " ".join([noted.facts, *(f"{name}={value}" for name, value in facts.items())]).strip()


class Audited:
    """Writes an entry before the caller has the answer, so that nobody knows of a change that has none."""

    def __init__(self, app: ASGIApp, auditing: Auditing) -> None:
        self._app = app
        self._auditing = auditing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_left_out(scope["path"]):
            await self._app(scope, receive, send)
            return
        noted = scope[_NOTED] = Noted()
        held: Message | None = None

        async def watch(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _counts(scope, noted, message["status"]):
                held = message  # until it is known what the answer says of what was made
                return
            if held is not None:
                start, held = held, None
                subject = _subject(scope, noted, start, message)
                await run_in_threadpool(self._note, scope, noted, start["status"], subject)
                await send(start)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if _counts(scope, noted, 500):
                await run_in_threadpool(self._note, scope, noted, 500, _parameters(scope))
            raise

    def _note(self, scope: Scope, noted: Noted, status: int, subject: str) -> None:
        route = str(getattr(scope.get("route"), "path", scope["path"]))
        deed = Deed(address_of(HTTPConnection(scope)), scope["method"], route, subject, status)
        self._auditing.note(deed, noted.caller, noted.means, noted.name, noted.session)


def _is_left_out(path: str) -> bool:
    return path.startswith(_PASSED_ON) or (path.startswith(COLLECTOR) and path.endswith(_EVENTS))


def _counts(scope: Scope, noted: Noted, status: int) -> bool:
    """Tell whether an answer is one to write down.

    Who shows nothing of who they are changes nothing, and could fill the log; so could who is told to wait.
    """
    if status == 429:
        return False
    if status == 401 and "authorization" in Headers(scope=scope):
        return True
    return bool(noted.means) or (scope["method"] not in _READING and noted.caller is not None)


def _subject(scope: Scope, noted: Noted, start: Message, body: Message) -> str:
    """Return what was done something to: the parameters of the route, and what was made."""
    made = _made(Headers(raw=start["headers"]), start["status"], body)
    parts = (_parameters(scope), noted.facts, made)
    return " ".join(part for part in parts if part)


def _parameters(scope: Scope) -> str:
    parameters: Mapping[str, Any] = scope.get("path_params", {})
    return " ".join(f"{name}={value}" for name, value in parameters.items() if name not in _HIDDEN)


def _made(headers: Headers, status: int, body: Message) -> str:
    """Return name and id of what an answer shows, or where it leads; nothing else that it says."""
    if status >= 400:
        return ""
    if led := headers.get("location") or headers.get("hx-redirect"):
        return f"-> {led.partition('?')[0]}"
    content = body.get("body", b"")
    if body.get("more_body") or len(content) > _MOST or headers.get("content-type") != "application/json":
        return ""
    value = orjson.loads(content) if content else None
    if not isinstance(value, dict):
        return ""
    shown = value if "id" in value else next((part for part in value.values() if isinstance(part, dict)), {})
    return " ".join(f"{key}={shown[key]}" for key in ("name", "id") if isinstance(shown.get(key), str))
