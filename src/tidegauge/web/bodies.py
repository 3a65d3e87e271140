"""Reading request bodies without letting anybody fill the memory or a disk."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegauge.errors import FieldError, TooLargeError

_LIMIT = 2 << 20  # bytes; what no route has allowed more of
_BOUND = "tidegauge.bound"  # in the scope of a request


@dataclass
class _Bound:
    limit: int = _LIMIT
    remedy: str = "send less at a time"


class BodyTooLargeError(TooLargeError, HTTPException):
    """A body past its limit: FastAPI takes any error but an HTTPException for a body that it cannot parse."""

    def __init__(self, limit: int, remedy: str) -> None:
        message = f"The body is larger than {limit} bytes; {remedy}."
        TooLargeError.__init__(self, message, (FieldError("body", message),))
        self.status_code, self.detail, self.headers = 413, message, None


class Bounding:
    """Ends what is read of a body at its limit, which is small until a route allows more.

    Frameworks read bodies before they ask who is calling; a route that takes much allows it once it knows.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bound = scope[_BOUND] = _Bound()
        size, answering = 0, False

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > bound.limit and answering:
                return {**message, "body": b""}  # nobody reads it: servers look for the end of a connection
            if size > bound.limit:
                raise BodyTooLargeError(bound.limit, bound.remedy)
            return message

        async def answer(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        await self._app(scope, bounded, answer)


def allow(request: Request, limit: int, remedy: str) -> None:
    """Let the body of a request have this many bytes; ``remedy`` is what to do where it has more."""
    bound: _Bound = request.scope[_BOUND]
    bound.limit, bound.remedy = limit, remedy


async def read_body(request: Request, limit: int, remedy: str = _Bound.remedy) -> bytes:
    """Return the whole body, once, or raise TooLargeError past ``limit`` bytes."""
    allow(request, limit, remedy)
    # Not body(): the request would hold it for as long as it lives.
    return b"".join([chunk async for chunk in request.stream()])
