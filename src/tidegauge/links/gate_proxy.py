"""A proxy within this process, for libraries that connect by themselves: it goes where a gate lets it, alone.

A library that is given its URL resolves no name and follows no redirect past the gate. It serves this process
only: whoever asks without the password of the URL is sent away.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import selectors
import socket
import socketserver
import threading
from functools import lru_cache
from urllib.parse import urlsplit

from tidegauge.errors import TidegaugeError
from tidegauge.links.addresses import Gate

_MOST_HEAD = 64 << 10
_CONNECT_SECONDS, _IDLE_SECONDS = 5.0, 60.0
_CHUNK = 256 << 10
_PORT = 80
_AUTHORIZATION = "proxy-authorization:"
_DROPPED = ("proxy-", "connection:", "keep-alive:")  # of a request's head


@lru_cache(maxsize=16)
def proxy_of(gate: Gate) -> str:
    """Return the URL of a proxy that goes where ``gate`` lets it; it lives as long as the process."""
    password = secrets.token_urlsafe(24)
    server = _Server(gate, base64.b64encode(f"gate:{password}".encode()).decode())
    threading.Thread(target=server.serve_forever, name="gate-proxy", daemon=True).start()
    return f"http://gate:{password}@127.0.0.1:{server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, gate: Gate, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gate = gate
        self.password = password

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who asked sees that the connection ends."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(_CONNECT_SECONDS)
        head, rest = _read_head(self.request)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        shown = [
            line[len(_AUTHORIZATION) :].strip() for line in lines if line.lower().startswith(_AUTHORIZATION)
        ]
        if len(shown) != 1 or not secrets.compare_digest(shown[0], f"Basic {self.server.password}"):
            self._refuse(
                "407 Proxy Authentication Required",
                "This proxy serves its own process, and follows no redirect.",
            )
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        try:
            there = self.server.gate.connect(str(parts.hostname), parts.port or _PORT, _CONNECT_SECONDS)
        except TidegaugeError as error:
            self._refuse("403 Forbidden", error.message)
            return
        except OSError as error:
            self._refuse("502 Bad Gateway", f"{parts.hostname} does not answer: {error.strerror or error}.")
            return
        with there:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                path = parts._replace(scheme="", netloc="").geturl() or "/"
                kept = [line for line in lines if not line.lower().startswith(_DROPPED)]
                # One request a connection: the next may be for another host, which the gate has to see.
                asked = "\r\n".join([f"{method} {path} {version}", "Connection: close", *kept, "", ""])
                there.sendall(asked.encode("latin-1"))
            there.sendall(rest)
            _pass_on(self.request, there)

    def _refuse(self, status: str, message: str) -> None:
        body = f"<Error><Message>{message}</Message></Error>".encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.request.sendall(head.encode() + body)


def _read_head(here: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = here.recv(_CHUNK)
        if not more or len(data) > _MOST_HEAD:
            raise ConnectionError
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    """Copy both ways until both have ended, or nothing comes any more."""
    for end in (here, there):
        end.settimeout(_IDLE_SECONDS)
    with selectors.DefaultSelector() as selector:
        selector.register(here, selectors.EVENT_READ, there)
        selector.register(there, selectors.EVENT_READ, here)
        while selector.get_map():
            ready = selector.select(_IDLE_SECONDS)
            if not ready:
                return
            for key, _ in ready:
                source, target = key.fileobj, key.data
                data = source.recv(_CHUNK)  # type: ignore[union-attr]
                if data:
                    target.sendall(data)
                    continue
                selector.unregister(source)
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
