"""Wiring: builds every part once and passes it on; nothing happens at import."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from tidegauge import __version__, charts
from tidegauge.api import audit as audit_api
from tidegauge.api import catalogue as catalogue_api
from tidegauge.api import channels as channels_api
from tidegauge.api import clusters as clusters_api
from tidegauge.api import collector as collector_api
from tidegauge.api import deployments as deployments_api
from tidegauge.api import errors as api_errors
from tidegauge.api import ides as ides_api
from tidegauge.api import link as link_api
from tidegauge.api import metrics as metrics_api
from tidegauge.api import monitors as monitors_api
from tidegauge.api import openapi, proxy, retrainings, schemas, sharing, system, watching
from tidegauge.api import people as people_api
from tidegauge.api import pipelines as pipelines_api
from tidegauge.collecting import build_collector, listen
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.cluster import ALL_PARTS, PARTS, Part, check
from tidegauge.errors import InvalidInputError
from tidegauge.links.processes import free_port
from tidegauge.services.acceptance import Acceptance
from tidegauge.services.accounts import Accounts
from tidegauge.services.advice import Advice
from tidegauge.services.alerting import Alerting
from tidegauge.services.auditing import Auditing
from tidegauge.services.baselines import Baselines
from tidegauge.services.bundle import Services
from tidegauge.services.captures import Captures
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.channels import Channels
from tidegauge.services.cluster import Cluster
from tidegauge.services.deployments import Deployments
from tidegauge.services.evidence import Evidences
from tidegauge.services.example import Examples
from tidegauge.services.explaining import Explaining
from tidegauge.services.findings import Findings
from tidegauge.services.fitting import Fitting
from tidegauge.services.gates import Gates
from tidegauge.services.health import Health
from tidegauge.services.history import History
from tidegauge.services.ides import Ides
from tidegauge.services.kserve import KServe
from tidegauge.services.labels import Labels
from tidegauge.services.letters import Letters
from tidegauge.services.linking.clusters import Clusters
from tidegauge.services.linking.exporting import Exporting
from tidegauge.services.linking.following import Following
from tidegauge.services.linking.importing import Importing
from tidegauge.services.monitors import Monitors
from tidegauge.services.notifications import Notifications
from tidegauge.services.noting import Noting
from tidegauge.services.observing import Observing
from tidegauge.services.passwords import Passwords
from tidegauge.services.people import People
from tidegauge.services.pictures import Pictures
from tidegauge.services.pipelines import Pipelines
from tidegauge.services.playground import Playground
from tidegauge.services.privacy.erasing import Erasures
from tidegauge.services.privacy.redacting import Redacting
from tidegauge.services.reports import Reports
from tidegauge.services.retraining import Retrainings
from tidegauge.services.retraining.collecting import Collecting
from tidegauge.services.retraining.comparing import Comparing
from tidegauge.services.retraining.planning import Planning
from tidegauge.services.retraining.promoting import Promoting
from tidegauge.services.runs import Runs
from tidegauge.services.schedule import Schedule
from tidegauge.services.senders import Senders
from tidegauge.services.servers import Servers
from tidegauge.services.showing import Showing
from tidegauge.services.sign_ins import SignIns
from tidegauge.services.single_sign_on import build_single_sign_on
from tidegauge.services.sources.bundle import Sources
from tidegauge.services.sources.custom import CustomFunctions
from tidegauge.services.sources.drift import CustomDrift
from tidegauge.services.sources.files import Datasets
from tidegauge.services.sources.foreign import ForeignLogs
from tidegauge.services.sources.logs import Logs
from tidegauge.services.sources.performance import CustomPerformance, LateFiles
from tidegauge.services.sources.places import Places
from tidegauge.services.supervisor import Supervisor
from tidegauge.services.traffic import Traffic
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.services.upkeep.keeper import Keeper
from tidegauge.services.upkeep.retention import Retention
from tidegauge.services.worker import Worker
from tidegauge.settings import Settings
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import ObservationStore
from tidegauge.ui import pages
from tidegauge.ui import reports as report_pages
from tidegauge.web.access import sender
from tidegauge.web.auditing import Audited
from tidegauge.web.bodies import Bounding
from tidegauge.web.compressing import Compressing
from tidegauge.web.forwarding import open_upstream
from tidegauge.web.headers import Guarding
from tidegauge.web.routing import add_routes

_GRACE_SECONDS = 2.0  # for events that are under way to the collector when a window ends


def utc_now() -> datetime:
    return datetime.now(UTC)


def open_database(settings: Settings) -> Database:
    """Open the database, bring its schema up to date, and seal secrets that are not.

    Raises InvalidInputError where the key of its secrets is missing.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.database, settings.key_file)
    database.migrate()
    database.vault.start()
    if database.vault.seal_plain():
        database.forget()
    return database


@dataclass(frozen=True)
class Monitoring:
    """What looks at windows: a server has it, and every worker beside it."""

    logs: Logs
    files: ObservationStore
    observing: Observing
    baselines: Baselines
    evidences: Evidences
    runs: Runs
    schedule: Schedule
    health: Health
    history: History
    labels: Labels
    retention: Retention
    keeper: Keeper


def build_monitoring(
    settings: Settings,
    database: Database,
    store: ObjectStore,
    catalogue: Catalogue,
    notifications: Notifications,
    flush: Callable[[], None],
    now: Callable[[], datetime],
) -> Monitoring:
    """Build what looks at windows; ``flush`` writes what a collector of this process holds to the log."""
    log = InferenceLog(store)
    files = ObservationStore(database, store)
    datasets, places = Datasets(catalogue), Places(database, now)
    functions = CustomFunctions(catalogue, settings.home.absolute())
    logs = Logs(database, log, datasets, now)
    observing = Observing(database, logs, files, now)
    baselines = Baselines(store)
    evidences = Evidences(store, files)
    health = Health(database, now)
    labels = Labels(database, now)
    sources = Sources(
        LateFiles(places, labels, store, datasets),
        ForeignLogs(places, logs, Noting(database, now)),
        CustomPerformance(functions),
        CustomDrift(functions, logs),
    )
    history = History(database, now)
    runs = Runs(
        database,
        observing,
        files,
        labels,
        sources,
        baselines,
        evidences,
        Findings(labels, Letters(database), sources, health, Captures(database, now)),
        Redacting(database, log, files),
        Alerting(database, notifications, now),
        history,
        flush,
        now,
    )
    grace = timedelta(seconds=settings.flush_seconds + _GRACE_SECONDS)
    schedule = Schedule(database, runs, now, grace=grace, threads=settings.workers)
    retention = Retention(database, log, baselines, settings.keep_days, settings.keep_bytes)
    keeper = Keeper(database, store, Compaction(database, log), retention, now)
    return Monitoring(
        logs,
        files,
        observing,
        baselines,
        evidences,
        runs,
        schedule,
        health,
        history,
        labels,
        retention,
        keeper,
    )


def build_services(settings: Settings, now: Callable[[], datetime] = utc_now) -> Services:
    """Build the services of one server; ``start`` and ``stop`` bring them to life and end them."""
    database = open_database(settings)
    store = ObjectStore(settings.store)
    home = settings.home.absolute()
    worker = Worker()
    gates = Gates(database, allow_private=settings.allow_private_urls)
    catalogue = Catalogue(database, store, worker, home, now, gates)
    people = People(database, now, timedelta(hours=settings.session_idle_hours))
    sign_ins = SignIns(database, people, Passwords(), timedelta(hours=settings.session_hours), now)
    accounts = Accounts(database, sign_ins, now)
    traffic = Traffic(database, InferenceLog(store), now)
    supervisor = Supervisor(
        database,
        catalogue,
        people,
        traffic,
        home,
        settings.inner_address,
        serves=Part.SERVING in PARTS[settings.role],
    )

    def flush() -> None:
        collector.flush()  # the collector is made last

    def follow() -> None:
        following.kick()  # and what follows after what imports

    kserve = KServe(settings, database, store, catalogue, people, now)
    deployments = Deployments(
        database, store, catalogue, supervisor, gates, kserve, flush, now, settings.role
    )
    draw = Pictures(database, charts.of_alert).draw
    notifications = Notifications(database, settings.address, now, draw, gates=gates)
    monitoring = build_monitoring(settings, database, store, catalogue, notifications, flush, now)
    senders = Senders(database, people)
    collector = build_collector(settings, database, store, senders, now)
    baselines, evidences = monitoring.baselines, monitoring.evidences
    fitting = Fitting(database, catalogue, baselines)
    pipelines = Pipelines(
        database,
        catalogue,
        people,
        worker,
        home,
        settings.inner_address,
        now,
        gates,
        settings.pipeline_image,
    )
    idle = timedelta(minutes=settings.ide_idle_minutes) if settings.ide_idle_minutes else None
    ides = Ides(database, catalogue, people, home, settings.inner_address, idle, now)
    monitors = Monitors(database, store, catalogue, fitting, worker, now)
    collecting = Collecting(database, store, monitoring.logs, monitoring.files, catalogue, baselines)
    retrainings = Retrainings(
        database,
        Planning(database, catalogue, baselines, now),
        collecting,
        pipelines,
        Comparing(catalogue, baselines, collecting, home),
        Promoting(database, deployments, monitors, now),
        monitoring.runs,
        worker,
        flush,
        now,
    )
    erasures = Erasures(
        database, collector.log, monitoring.files, baselines, monitoring.runs, worker, flush, now
    )
    clusters = Clusters(database, gates, now)
    importing = Importing(database, catalogue, clusters, follow, now)
    following = Following(database, store, clusters, importing, erasures, now)
    showing = Showing(database, catalogue, monitoring.logs, collector.log, monitoring.files, baselines)
    return Services(
        settings=settings,
        database=database,
        store=store,
        worker=worker,
        people=people,
        gates=gates,
        sign_ins=sign_ins,
        accounts=accounts,
        single_sign_on=build_single_sign_on(settings, database, sign_ins, accounts, now),
        auditing=Auditing(database, now),
        health=monitoring.health,
        captures=Captures(database, now),
        catalogue=catalogue,
        cluster=Cluster(settings, database, collector, now),
        collector=collector,
        senders=senders,
        supervisor=supervisor,
        traffic=traffic,
        deployments=deployments,
        servers=Servers(database, store, deployments, gates, now),
        kserve=kserve,
        pipelines=pipelines,
        ides=ides,
        baselines=baselines,
        monitors=monitors,
        runs=monitoring.runs,
        showing=showing,
        explaining=Explaining(database, monitoring.labels, baselines, monitoring.files, showing),
        playground=Playground(database, catalogue, baselines, showing, monitoring.logs, now, settings.role),
        examples=Examples(home, settings.inner_address, people, now),
        retrainings=retrainings,
        erasures=erasures,
        reports=Reports(database, showing, now),
        acceptance=Acceptance(
            database, monitoring.logs, monitoring.files, baselines, fitting, evidences, worker, now
        ),
        channels=Channels(database, notifications, now),
        notifications=notifications,
        advice=Advice(database, baselines),
        observing=monitoring.observing,
        history=monitoring.history,
        schedule=monitoring.schedule,
        retention=monitoring.retention,
        keeper=monitoring.keeper,
        clusters=clusters,
        exporting=Exporting(database, store, catalogue, monitoring.logs, settings.address),
        importing=importing,
        following=following,
    )


def run_worker(settings: Settings, announce: Callable[[], None]) -> None:
    """Look at windows beside a server that shares the database and the store, until SIGTERM or SIGINT.

    Raises ConflictError where the role of the cluster is to serve alone.
    """
    check(settings.role, Part.MONITORING)
    database = open_database(settings)
    store = ObjectStore(settings.store)
    gates = Gates(database, allow_private=settings.allow_private_urls)
    catalogue = Catalogue(database, store, Worker(), settings.home.absolute(), utc_now, gates)
    draw = Pictures(database, charts.of_alert).draw
    notifications = Notifications(database, settings.address, utc_now, draw, gates=gates)
    monitoring = build_monitoring(settings, database, store, catalogue, notifications, lambda: None, utc_now)
    stopped = Event()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, lambda *_: stopped.set())
    notifications.start()
    monitoring.schedule.start()
    monitoring.keeper.start()
    announce()
    stopped.wait()
    monitoring.keeper.close()
    monitoring.schedule.close()
    notifications.close()
    database.close()


def start(services: Services) -> None:
    """Begin the background work of the parts that there are; what a crash interrupted goes on first."""
    parts = PARTS[services.settings.role]
    services.store.sweep()
    services.collector.start()
    services.catalogue.start()
    for begin, needed in (
        (services.monitors.start_up, {Part.MONITORING}),
        (services.observing.start_up, {Part.MONITORING}),
        (services.acceptance.start_up, {Part.MONITORING}),
        (services.erasures.start_up, set()),
        (services.pipelines.start, {Part.TRAINING}),
        (services.retrainings.start_up, {Part.TRAINING, Part.MONITORING}),
        (services.supervisor.start, set()),  # which says what rests where nothing is served
        (services.servers.start, set()),
        (services.kserve.start, {Part.SERVING}),
        (services.ides.start, {Part.IDE}),
        (services.examples.start_up, ALL_PARTS),
        (services.health.start, {Part.SERVING}),
        (services.notifications.start, {Part.MONITORING}),
        (services.following.start, {Part.MONITORING}),
        (services.schedule.start, {Part.MONITORING}),
        (services.keeper.start, set()),
    ):
        if needed <= parts:
            begin()


def stop(services: Services) -> None:
    """End the background work; nothing acknowledged is lost."""
    services.examples.close()
    services.keeper.close()
    services.following.close()
    services.schedule.close()
    services.notifications.close()
    services.health.close()
    services.servers.close()
    services.kserve.close()
    services.ides.close()
    services.supervisor.close()
    services.playground.close()
    services.retrainings.close()
    services.pipelines.close()
    services.worker.close()
    services.collector.close()
    if services.single_sign_on is not None:
        services.single_sign_on.close()
    services.database.close()


def create_app(services: Services) -> FastAPI:
    """Build the ASGI app: the API, the collector, the model servers' proxy and the pages."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(start, services)
        async with open_upstream(app):
            yield
        await run_in_threadpool(stop, services)

    app = FastAPI(
        title="Tidegauge",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # its script would come from a CDN
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.streams = Counter()  # that pages of each person listen to
    app.state.ending = Event()  # ends the streams that pages listen to
    api_errors.install(app)
    add_routes(app, system.router)
    add_routes(app, people_api.router)
    add_routes(app, people_api.users)
    add_routes(app, audit_api.router)
    add_routes(app, schemas.router)
    add_routes(app, metrics_api.build_router())
    add_routes(app, link_api.router)
    add_routes(app, collector_api.build_router(services.collector, sender))
    for kind in RepositoryKind:
        add_routes(app, catalogue_api.build_router(kind))
    routers = (
        clusters_api.router,
        deployments_api.router,
        ides_api.router,
        pipelines_api.router,
        monitors_api.router,
        report_pages.router,
        channels_api.router,
        watching.router,
        retrainings.router,
        sharing.build_router(),
        proxy.router,
    )
    for router in routers:
        add_routes(app, router)
    pages.install(app)
    openapi.install(app)
    app.add_middleware(Audited, auditing=services.auditing)
    app.add_middleware(Bounding)
    app.add_middleware(Compressing)
    app.add_middleware(Guarding)
    return app


class _Server(uvicorn.Server):
    """Ends the model servers while the collector still listens, so that their last events arrive."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._app = app
        self._ending = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        settings = self._services.settings
        if settings.tls_certificate:
            loop = asyncio.get_running_loop()
            inner = await loop.create_server(
                lambda: self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn does itself
                    config=self.config,
                    server_state=self.server_state,
                    app_state=self.lifespan.state,
                    _loop=loop,
                ),
                "127.0.0.1",
                settings.inner_port,
            )
            self.servers.append(inner)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        # Not uvicorn's own, which raises the signal again at the end: an end in order is exit code 0.
        if self._ending:
            self.force_exit = True
            return
        self._ending = True
        self._app.state.ending.set()
        Thread(target=self._end, name="shutdown").start()

    def _end(self) -> None:
        self._services.examples.close()  # it would take the end of the model servers for a failure
        self._services.health.close()  # or its last looks would find nobody ready
        self._services.ides.close()  # whose open connections would be waited for
        self._services.supervisor.close()
        self.should_exit = True


def serve(settings: Settings, announce: Callable[[Services], None]) -> None:
    """Run the server until SIGTERM or SIGINT; ``announce`` is called before it listens."""
    if settings.tls_certificate:
        _check_pair(settings)
        settings = replace(settings, inner_port=settings.inner_port or free_port())
    services = build_services(settings)
    app = create_app(services)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=10,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
    )
    server = _Server(config, app, services)
    sock = listen(config)
    announce(services)
    signal.signal(signal.SIGHUP, server.handle_exit)
    # What is here for good need not be gone through again: that stopped every fifth page for 0.2 s.
    gc.collect()
    gc.freeze()
    server.run(sockets=[sock])


def _check_pair(settings: Settings) -> None:
    """Raise InvalidInputError where certificate and key cannot be used."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError.of(
            "tls_certificate",
            f"tls_certificate is {settings.tls_certificate!r} with the key {settings.tls_key!r}, which "
            f"cannot be used ({error.strerror or error}); give files of PEM text that belong together.",
        ) from error
