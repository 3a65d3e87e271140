"""The database: SQLite (WAL) by default, PostgreSQL by URL; one Rows per noun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from tidegauge.domain.alert import Alert, AlertEvent
from tidegauge.domain.catalogue import Repository, Version
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.monitor import Monitor, MonitorRun, Transition
from tidegauge.domain.pipeline import PipelineRun
from tidegauge.domain.users import Token, User
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.storage import tables
from tidegauge.storage.rows import Rows

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
        engine = create_engine(parsed, connect_args={"timeout": 30})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        return create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise InvalidInputError.of(
            "database_url", f"The driver {error.name!r} is missing; pip install 'tidegauge[postgres]'."
        ) from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _reason(error: SQLAlchemyError) -> str:
    """Return what the driver says, in one line and without SQLAlchemy's hints for programmers."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (str(cause).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class Database:
    """All rows. ``migrate`` brings the schema up to date before the first use."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.users = Rows(self.engine, tables.users, User, "user")
        self.tokens = Rows(self.engine, tables.tokens, Token, "token")
        self.repositories = Rows(self.engine, tables.repositories, Repository, "repository")
        self.versions = Rows(self.engine, tables.versions, Version, "version")
        self.deployments = Rows(self.engine, tables.deployments, Deployment, "deployment")
        self.pipeline_runs = Rows(self.engine, tables.pipeline_runs, PipelineRun, "pipeline run")
        self.monitors = Rows(self.engine, tables.monitors, Monitor, "monitor")
        self.transitions = Rows(self.engine, tables.transitions, Transition, "transition")
        self.monitor_runs = Rows(self.engine, tables.monitor_runs, MonitorRun, "monitor run")
        self.alerts = Rows(self.engine, tables.alerts, Alert, "alert")
        self.alert_events = Rows(self.engine, tables.alert_events, AlertEvent, "alert event")

    def migrate(self) -> None:
        """Apply every migration that this database does not have yet."""
        config = _migrations()
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
        return set(applied) == set(ScriptDirectory.from_config(_migrations()).get_heads())

    def check(self) -> None:
        """Raise UnavailableError where the database does not answer."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            raise UnavailableError(f"The database does not answer: {_reason(error)}. {_REMEDY}") from error

    def close(self) -> None:
        self.engine.dispose()
