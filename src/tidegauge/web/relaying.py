"""Passing the messages of a WebSocket on, in both directions, for as long as its caller may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from tidegauge.errors import TidegaugeError, UnavailableError

_MOST = 256 << 20  # bytes of a message to the browser: the output of a cell comes as one
_CHECK_SECONDS = 5.0
_REFUSED, _GONE = 1008, 1001


async def relay(
    socket: WebSocket,
    port: int,
    target: str,
    headers: Sequence[tuple[str, str]],
    check: Callable[[], Awaitable[Any]],
) -> None:
    """Connect a WebSocket that is not accepted yet to a process of this machine, until either side ends it.

    ``target`` is a ws URL, whose host is only told, not asked; ``check`` raises a TidegaugeError once the
    caller may no longer. Raises UnavailableError where the process does not take it.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    try:
        upstream = await connect(
            target,
            host="127.0.0.1",
            port=port,
            additional_headers=list(headers),
            subprotocols=socket.scope.get("subprotocols") or None,
            compression=None,
            max_size=_MOST,
            proxy=None,
            user_agent_header=None,
        )
    except (OSError, ValueError, WebSocketException) as error:
        raise UnavailableError(f"The process does not take the connection: {error}") from error
    await socket.accept(subprotocol=upstream.subprotocol)

    async def up() -> int:
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return _GONE
                text = message.get("text")
                await upstream.send(text if text is not None else message["bytes"])
        except WebSocketDisconnect:
            return _GONE

    async def down() -> int:
        async for message in upstream:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
        return upstream.close_code or _GONE

    async def watch() -> int:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await check()
            except TidegaugeError:
                return _REFUSED

    tasks = [asyncio.create_task(one()) for one in (up, down, watch)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await upstream.close()
    first = done.pop()
    code = _GONE if first.cancelled() or first.exception() else first.result()
    if socket.application_state is socket.client_state is WebSocketState.CONNECTED:
        # 1005 and 1006 say that no code came, and may not be sent.
        await socket.close(code if code not in (1005, 1006) else _GONE)
