"""Starts a model server: model, log, app and uvicorn, from one set of options."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette

from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.serving.app import create_app as build_app
from tidegauge.serving.eventlog import EventLog
from tidegauge.serving.exchange import Origin
from tidegauge.serving.model import Model, load_model
from tidegauge.serving.options import ServeOptions
from tidegauge.serving.parent import watch_parent
from tidegauge.serving.posting import Collector

if TYPE_CHECKING:
    from tidegauge.serving.recorder import RecordOptions

__all__ = ["ServeOptions", "create_app", "serve"]

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 8.0  # the supervisor kills after 15
_ORPHAN_FLUSH_SECONDS = 1.0  # the collector has most likely died with the supervisor
_CONNECTION_SECONDS = 3  # for requests under way at the end
_KEEP_ALIVE_SECONDS = 75
_SWITCH_SECONDS = 0.0005  # the log's threads must give the interpreter back quickly


class _End:
    """How the server came to its end, and thus how long its log may take."""

    orphaned = False

    def flush_seconds(self) -> float:
        return _ORPHAN_FLUSH_SECONDS if self.orphaned else _FLUSH_SECONDS


def create_app(options: ServeOptions) -> Starlette:
    """Load the model of the options and return its ASGI app, which logs if there is a log URL.

    Raises NotFoundError or InvalidInputError, each a sentence on what to mend.
    """
    return _build(
        options, load_model(options.model_dir, options.name, options.version, options.threads), _End()
    )


def serve(options: ServeOptions) -> None:
    """Serve the model of a folder until SIGTERM, SIGINT or the parent's death; logs to stderr.

    Call it from the main thread. Raises NotFoundError or InvalidInputError for a model that cannot be
    served, ConflictError for a port that is taken.
    """
    model = load_model(options.model_dir, options.name, options.version, options.threads)
    end = _End()
    app = _build(options, model, end)

    def started(port: int, server: uvicorn.Server) -> None:
        def orphaned() -> None:
            _log.warning(
                "process %s, which started this server, has ended; so does the server", options.parent_pid
            )
            end.orphaned = True
            server.should_exit = True

        if options.parent_pid is not None:
            watch_parent(options.parent_pid, orphaned)
        _log.info(
            "serving model %s, version %s, at http://%s:%d", model.name, model.version, options.host, port
        )

    run(app, options.host, options.port, started)
    _log.info("model server of %s ended", model.name)


def record(options: RecordOptions, host: str, port: int, announce: Callable[[int], None]) -> None:
    """Record the inferences of another server until SIGTERM or SIGINT; ``announce`` hears the port."""
    # What it needs of httpx would make every model server start later.
    from tidegauge.serving.recorder import create_app as build_recorder

    run(build_recorder(options), host, port, lambda opened, _: announce(opened))


def run(app: Starlette, host: str, port: int, started: Callable[[int, uvicorn.Server], None]) -> None:
    """Serve an app until SIGTERM or SIGINT; ``started`` hears the port once it is open."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    with _listen(host, port) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_CONNECTION_SECONDS,
        )
        server = uvicorn.Server(config)
        started(listener.getsockname()[1], server)
        # uvicorn raises the signal again when it is done; that must not end us with an error.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        server.run([listener])


def _ignore(_: int, __: FrameType | None) -> None:
    return


def _build(options: ServeOptions, model: Model, end: _End) -> Starlette:
    log = None
    if options.log_url:
        origin = Origin(options.deployment_id, model.name, model.version, options.namespace)
        log = EventLog(Collector(options.log_url, options.log_token), origin)
    return build_app(
        model,
        log,
        max_body_bytes=options.max_body_bytes,
        clock=lambda: datetime.now(UTC),
        flush_seconds=end.flush_seconds,
        # Only under a supervisor, whose proxy lets no caller say so: clients cannot stay out of the log.
        probes=options.parent_pid is not None,
        sampling=options.sampling,
    )


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InvalidInputError.of("port", f"port is {port}; it must be 0 to 65535 (0: any free one).")
    listener: socket.socket | None = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        if listener:
            listener.close()
        raise ConflictError(
            f"Port {port} of {host} cannot be opened ({error.strerror}); choose another one."
        ) from error
    listener.listen(2048)
    return listener
