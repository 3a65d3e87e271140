"""A serving cluster behind https, which can be shut and opened again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import uvicorn

from tidegauge.app import create_app
from tidegauge.links.authority import Authority
from tidegauge.links.processes import free_port
from tidegauge.services.bundle import Services


class Door:
    """The address of services that can be shut, as when their process is stopped, and opened again."""

    def __init__(self, services: Services, tls: Authority | None) -> None:
        self._services = services
        self._tls = tls
        self._port = free_port()
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def open(self) -> None:
        keys = (
            {"ssl_certfile": str(self._tls.certificate), "ssl_keyfile": str(self._tls.key)}
            if self._tls
            else {}
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(self._services),
                host="127.0.0.1",
                port=self._port,
                log_level="error",
                lifespan="off",  # nothing runs by itself: tests have a clock of their own
                **keys,  # type: ignore[arg-type]
            )
        )
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)

    def shut(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join()
            self._server = None


@contextlib.contextmanager
def door(services: Services, tls: Authority | None = None) -> Iterator[Door]:
    """Let services be asked over HTTP, or https, while none of their background work runs."""
    made = Door(services, tls)
    made.open()
    try:
        yield made
    finally:
        made.shut()
