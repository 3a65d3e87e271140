"""The database: SQLite (WAL) by default, PostgreSQL by URL; one Rows per noun."""

from __future__ import annotations

import json
import logging
import time
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, bindparam, create_engine, event, select, text, union
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError

from tidegauge.domain.alert import Alert, AlertEvent
from tidegauge.domain.capture import Capture
from tidegauge.domain.catalogue import Repository, Version
from tidegauge.domain.channel import Channel, Delivery
from tidegauge.domain.cluster_link import ClusterLink, Import
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.erasure import Erasure
from tidegauge.domain.ide import Ide
from tidegauge.domain.monitor import (
    Acknowledgement,
    ConfigVersion,
    DueWindow,
    Monitor,
    MonitorRun,
    Tally,
    Transition,
)
from tidegauge.domain.observation import (
    DeadLetter,
    HealthSample,
    Label,
    LabelFile,
    LogFile,
    Maintenance,
    ObservationFile,
    Reader,
)
from tidegauge.domain.pipeline import PipelineRun
from tidegauge.domain.retraining import Retraining
from tidegauge.domain.series import WindowResult
from tidegauge.domain.single_sign_on import Identity, SignInRequest
from tidegauge.domain.users import FormerUser, Password, Session, Token, User
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.settings import KEY_FILE
from tidegauge.storage import limits, tables
from tidegauge.storage.attempts import Attempts
from tidegauge.storage.audit import AuditLog
from tidegauge.storage.connections import Connections
from tidegauge.storage.due import DueWindows, WatchedMonitors
from tidegauge.storage.history import WindowResults
from tidegauge.storage.rows import Rows
from tidegauge.storage.sealing import Keys
from tidegauge.storage.vault import Vault

_TOUCHED = union(
    *(
        select(table.c.start, table.c.end).where(
            table.c.monitor_id == bindparam("monitor"),
            table.c.start <= bindparam("last"),
            table.c.end > bindparam("first"),
        )
        for table in (tables.monitor_runs, tables.due_windows)
    )
)
_log = logging.getLogger(__name__)

# Each of the 40 threads that answer may need one, and the background some. All are kept: a PostgreSQL that is
# asked by many spent most of its time on connections that were opened for one statement.
_CONNECTIONS = 45
_FRESH_SECONDS = 1.0  # since its last use that a connection is taken to be whole
_FORGET_SECONDS, _FORGET_PAUSE = 60.0, 0.02  # of tries to empty the log of a database that is busy
_REMEDY = "Look at database_url and at the database's own log."


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInputError.of(
            "database_url",
            f"database_url {url!r} is not a URL; use sqlite:///path or postgresql://user:password@host/name.",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed, connect_args={"timeout": 30}, hide_parameters=True, json_deserializer=_from_json
        )
        event.listen(engine, "connect", _prepare_sqlite)
        limits.guard(engine)
        return engine
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            parsed,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_use_lifo=True,
            hide_parameters=True,
            json_deserializer=_from_json,
        )
    except ModuleNotFoundError as error:
        raise InvalidInputError.of(
            "database_url", f"The driver {error.name!r} is missing; pip install 'tidegauge[postgres]'."
        ) from error
    _look_before_use(engine)
    limits.guard(engine)
    return engine


def _look_before_use(engine: Engine) -> None:
    """Ask a connection that has rested whether it is whole; the pool replaces it if not."""

    def rested(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def look(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used_at", time.monotonic()) < _FRESH_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.dbapi.Error as error:  # type: ignore[union-attr]
            raise DisconnectionError from error

    event.listen(engine, "checkin", rested)
    event.listen(engine, "checkout", look)


def _from_json(text: str) -> Any:
    """Read JSON, three times as fast as by default; what it is strict about, such as NaN, as before."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # of what is deleted nothing stays in the file


def migrations() -> Config:
    """Return the settings of Alembic, with the migrations of this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _reason(error: SQLAlchemyError) -> str:
    """Return what the driver says, in one line and without SQLAlchemy's hints for programmers."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (str(cause).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class Database:
    """All rows. ``migrate`` brings the schema up to date before the first use."""

    def __init__(self, url: str, key_file: Path | None = None) -> None:
        """``key_file`` has what seals secrets; by default it stands beside a database that is a file."""
        self.engine = _engine(url)
        file = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        self.keys = Keys(key_file or (Path(file).with_name(KEY_FILE) if file else None))
        connections = self._connections = Connections(self.engine, self.keys)
        self.transaction = connections.transaction
        self.users = Rows(connections, tables.users, User, "user")
        self.former_users = Rows(connections, tables.former_users, FormerUser, "former user")
        self.passwords = Rows(connections, tables.passwords, Password, "password")
        self.tokens = Rows(connections, tables.tokens, Token, "token")
        self.sessions = Rows(connections, tables.sessions, Session, "session")
        self.identities = Rows(connections, tables.identities, Identity, "identity")
        self.sign_in_requests = Rows(connections, tables.sign_in_requests, SignInRequest, "sign-in")
        self.attempts = Attempts(connections)
        self.audit = AuditLog(connections)
        self.repositories = Rows(connections, tables.repositories, Repository, "repository")
        self.versions = Rows(connections, tables.versions, Version, "version")
        self.deployments = Rows(connections, tables.deployments, Deployment, "deployment")
        self.ides = Rows(connections, tables.ides, Ide, "IDE")
        self.cluster_links = Rows(connections, tables.cluster_links, ClusterLink, "cluster link")
        self.imports = Rows(connections, tables.imports, Import, "imported deployment")
        self.pipeline_runs = Rows(connections, tables.pipeline_runs, PipelineRun, "pipeline run")
        self.monitors = WatchedMonitors(connections, tables.monitors, Monitor, "monitor")
        self.transitions = Rows(connections, tables.transitions, Transition, "transition")
        self.monitor_runs = Rows(connections, tables.monitor_runs, MonitorRun, "monitor run")
        self.window_results = WindowResults(
            connections, tables.window_results, WindowResult, "result of a window"
        )
        self.alerts = Rows(connections, tables.alerts, Alert, "alert")
        self.alert_events = Rows(connections, tables.alert_events, AlertEvent, "alert event")
        self.config_versions = Rows(connections, tables.config_versions, ConfigVersion, "config version")
        self.acknowledgements = Rows(connections, tables.acknowledgements, Acknowledgement, "acknowledgement")
        self.maintenances = Rows(connections, tables.maintenances, Maintenance, "maintenance window")
        self.tallies = Rows(connections, tables.tallies, Tally, "tally")
        self.due_windows = DueWindows(connections, tables.due_windows, DueWindow, "due window")
        self.channels = Rows(connections, tables.channels, Channel, "channel")
        self.deliveries = Rows(connections, tables.deliveries, Delivery, "delivery")
        self.log_files = Rows(connections, tables.log_files, LogFile, "log file")
        self.readers = Rows(connections, tables.readers, Reader, "reader")
        self.observation_files = Rows(
            connections, tables.observation_files, ObservationFile, "file of observations"
        )
        self.dead_letters = Rows(connections, tables.dead_letters, DeadLetter, "dead letter")
        self.labels = Rows(connections, tables.labels, Label, "label")
        self.label_files = Rows(connections, tables.label_files, LabelFile, "label file")
        self.health_samples = Rows(connections, tables.health_samples, HealthSample, "health sample")
        self.captures = Rows(connections, tables.captures, Capture, "capture")
        self.erasures = Rows(connections, tables.erasures, Erasure, "erasure")
        self.retrainings = Rows(connections, tables.retrainings, Retraining, "retraining")

    @property
    def writes(self) -> int:
        """How often this process has written: what it remembered before may have changed since."""
        return self._connections.writes

    def windows_touched(
        self, monitor_id: str, moments: Sequence[datetime]
    ) -> list[tuple[datetime, datetime]]:
        """Return the windows of a monitor that have a run, or wait for one, and hold one of the moments."""
        values = {"monitor": monitor_id, "first": moments[0], "last": moments[-1]}
        with self._connections.connect() as connection:
            found = connection.execute(_TOUCHED, values).all()
        return sorted(
            (start, end) for start, end in found if bisect_left(moments, start) < bisect_left(moments, end)
        )

    @property
    def vault(self) -> Vault:
        """All that is sealed."""
        return Vault(self.engine, self.keys)

    def forget(self) -> bool:
        """Let nothing of what was deleted stay beside the database, where it is a file; tell whether it does.

        Others may be reading or writing it down themselves: then it is tried again, for a minute.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        deadline = time.monotonic() + _FORGET_SECONDS
        with self.engine.connect() as connection:
            while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                if time.monotonic() > deadline:
                    _log.warning("The database is busy; what was deleted is in its log still.")
                    return False
                time.sleep(_FORGET_PAUSE)
        return True

    def migrate(self) -> None:
        """Apply every migration that this database does not have yet."""
        config = migrations()
        try:
            with self.engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise UnavailableError(
                f"The database cannot be opened or migrated: {_reason(error)}. {_REMEDY}"
            ) from error

    def is_migrated(self) -> bool:
        """Tell whether every migration has been applied; UnavailableError as in ``check``."""
        try:
            with self.engine.connect() as connection:
                applied = MigrationContext.configure(connection).get_current_heads()
        except SQLAlchemyError as error:
            raise UnavailableError(f"The database does not answer: {_reason(error)}. {_REMEDY}") from error
        return set(applied) == set(ScriptDirectory.from_config(migrations()).get_heads())

    def check(self) -> None:
        """Raise UnavailableError where the database does not answer."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            raise UnavailableError(f"The database does not answer: {_reason(error)}. {_REMEDY}") from error

    def close(self) -> None:
        self.engine.dispose()
