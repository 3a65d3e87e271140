"""A bucket over HTTP for tests: moto's S3, and a gate before it that can be shut."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret"}  # moto takes any
BUCKET = "hospital"


@contextlib.contextmanager
def s3() -> Iterator[str]:
    """Serve the bucket ``hospital`` to this process and those it starts; yield the endpoint's URL."""
    dispatch = DomainDispatcherApplication(create_backend_app)
    writing = threading.Lock()

    def serve(environ, start_response):  # type: ignore[no-untyped-def]
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return dispatch(environ, start_response)
        with writing:  # S3 looks at conditions and writes in one; moto looks first, then writes
            return dispatch(environ, start_response)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                environment.delenv(name)
            for name, value in CREDENTIALS.items():
                environment.setenv(name, value)
            httpx.put(f"{endpoint}/{BUCKET}").raise_for_status()
            yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def prefix(endpoint: str) -> str:
    """Return the URL of a prefix of the bucket that nobody has used."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}?endpoint={endpoint}&region=eu-central-1"


class Gate:
    """A TCP proxy that can be shut: it ends connections, and refuses new ones or never answers them."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._behind = (host, int(port))
        self._listener: socket.socket | None = None
        self._port = 0
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.answer()
        self.endpoint = f"http://127.0.0.1:{self._port}"

    def answer(self) -> None:
        """Let everything through."""
        self._listen(mute=False)

    def be_mute(self) -> None:
        """Take connections and say nothing."""
        self._listen(mute=True)

    def refuse(self) -> None:
        """End connections, and take none."""
        if self._listener is None:
            return
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for connections
        self._threads[0].join()
        self._listener.close()
        self._listener = None
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()
        self._ends, self._threads = [], []

    def _listen(self, *, mute: bool) -> None:
        self.refuse()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._run(self._take, self._listener, mute)

    def _take(self, listener: socket.socket, mute: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                front, _ = listener.accept()
                self._ends.append(front)
                if not mute:
                    back = socket.create_connection(self._behind)
                    self._ends.append(back)
                    self._run(_pump, front, back)
                    self._run(_pump, back, front)

    def _run(self, work: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=work, args=args))
        self._threads[-1].start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
