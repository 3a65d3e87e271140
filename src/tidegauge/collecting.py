"""The collector's wiring, for a server that has one and for a process that is nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import FrameType

import pyarrow as pa
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from tidegauge import __version__
from tidegauge.api import collector as door
from tidegauge.api import collector_metrics, errors
from tidegauge.domain.users import Principal
from tidegauge.errors import UnavailableError
from tidegauge.services.captures import Captures
from tidegauge.services.collector import Collector, Directory, Hooks, Limits
from tidegauge.services.noting import Noting
from tidegauge.services.people import People
from tidegauge.services.privacy.tombstones import Tombstones
from tidegauge.services.senders import Senders
from tidegauge.settings import Settings
from tidegauge.storage.arrivals import Arrivals
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Journal, Segments
from tidegauge.web.bodies import Bounding
from tidegauge.web.credentials import address_of, secret_of

#: Of malloc.h, in bytes but for the last: M_MMAP_THRESHOLD (what is mapped costs a fault a page each time),
#: M_TRIM_THRESHOLD (and so does what is given back), M_ARENA_MAX (each thread's own would keep as much).
_MALLOC = {-3: 32 << 20, -1: 64 << 20, -8: 1}
_GARBAGE = 10_000  # objects: events come by the thousand, and none is part of a cycle
_SWITCH_SECONDS = (
    0.001  # the loop asks for the interpreter's lock at each chunk of a body, and would wait longer
)


def build_collector(
    settings: Settings,
    database: Database,
    store: ObjectStore,
    senders: Senders,
    now: Callable[[], datetime],
    folder: str = "",
    *,
    fleet: bool = False,
) -> Collector:
    """Build a collector whose segments are in a folder of the home, for this process alone.

    In a ``fleet`` events are safe in the store, since the disk of a pod can vanish.
    """
    log = InferenceLog(store)
    noting = Noting(database, now)
    journal: Journal
    if fleet:
        journal = Arrivals(store, max_waiting_bytes=settings.collector_waiting_bytes)
    else:
        root = settings.home.absolute() / "collector"
        journal = Segments(
            root / folder,
            max_age=settings.flush_seconds,
            max_waiting_bytes=settings.collector_waiting_bytes,
            neighbours=[root, *root.glob("*/")],
        )
    return Collector(
        journal,
        log,
        Directory(senders.deployment, senders.serving, lambda id_: database.deployments.count(id=id_) > 0),
        settings.flush_seconds,
        hooks=Hooks(
            wrote=noting.note,
            known=noting.known,
            noted=Captures(database, now).note,
            kept=Tombstones(database).kept,
            recent=lambda: noting.recent(log),
        ),
        limits=Limits(rate=settings.collector_rate),
    )


def create_app(collector: Collector, senders: Senders) -> FastAPI:
    """Build the ASGI app of a collector by itself."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(collector.start)
        yield
        await run_in_threadpool(collector.close)

    app = FastAPI(
        title="Tidegauge collector", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    errors.install(app)

    async def sender(request: Request) -> Principal:
        return await senders.recognise(secret_of(request), address_of(request))

    app.include_router(door.build_router(collector, sender))

    @app.get("/healthz")
    async def healthz(_: Request) -> JSONResponse:
        """Tell whether this process takes events, for probes."""
        refusal = collector.refusal()
        return JSONResponse({"status": refusal or "ok"}, 503 if refusal else 200)

    @app.get("/metrics")
    async def metrics(_: Request) -> PlainTextResponse:
        """Tell Prometheus what this process has taken."""
        return PlainTextResponse(collector_metrics.text(collector.counts()))

    app.add_middleware(Bounding)
    return app


class _Server(uvicorn.Server):
    """Ends in order, with exit code 0."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        self.force_exit, self.should_exit = self.should_exit, True


def run(settings: Settings, announce: Callable[[], None], *, fleet: bool) -> None:
    """Collect until SIGTERM or SIGINT, beside a server that shares the database and the store.

    Raises UnavailableError where the database is not ready or the port is taken.
    """
    database = Database(settings.database, settings.key_file)
    if not database.is_migrated():
        raise UnavailableError("The database is of another version; start the server of this version first.")
    senders = Senders(database, People(database, _now))
    store = ObjectStore(settings.store)
    # By port, so that a server and its collectors may share a home, and each finds its own after a crash.
    folder = str(settings.port)
    collector = build_collector(settings, database, store, senders, _now, folder, fleet=fleet)
    config = uvicorn.Config(
        create_app(collector, senders),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)
    sock = listen(config)
    announce()
    _keep_memory()
    signal.signal(signal.SIGHUP, server.handle_exit)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    sys.setswitchinterval(_SWITCH_SECONDS)
    server.run(sockets=[sock])
    database.close()


def listen(config: uvicorn.Config) -> socket.socket:
    """Take the port; UnavailableError where another has it."""
    try:
        return config.bind_socket()
    except SystemExit as error:
        raise UnavailableError(
            f"port is {config.port}, which is taken on {config.host}; choose another with --port."
        ) from error


def _keep_memory() -> None:
    """Keep what bodies of many sizes leave free, up to a bound: it is soon needed again.

    glibc would give each large block back at once, and leave holes in the memory of each thread.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        libc = ctypes.CDLL(None)
        for name, value in _MALLOC.items():
            libc.mallopt(name, value)


def _now() -> datetime:
    return datetime.now(UTC)
