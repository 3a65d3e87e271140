"""Reading request bodies without letting anybody fill the memory."""

from __future__ import annotations

from starlette.requests import Request

from tidegauge.errors import TooLargeError


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body, or raise TooLargeError past ``limit`` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError.of("body", f"The body is larger than {limit} bytes; send less at a time.")
    return bytes(body)
