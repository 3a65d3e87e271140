"""The tables. A row has the fields of its noun; nested values stand as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC time; SQLite keeps no zone of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Names for constraints, so that later migrations can drop them on every database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _json(name: str) -> Column[object]:
    return Column(name, JSON, nullable=False)


def _time(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, UtcDateTime, nullable=nullable)


def _id() -> Column[str]:
    return Column("id", Text, primary_key=True)


def _parent(name: str, target: str) -> Column[str]:
    return Column(name, Text, ForeignKey(f"{target}.id", ondelete="CASCADE"), nullable=False)


users = Table(
    "users",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("role"),
    _time("created_at"),
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    _parent("user_id", "users"),
    _text("name"),
    _text("scope"),
    _text("subject"),
    Column("hash", Text, nullable=False, unique=True),
    _time("created_at"),
)

repositories = Table(
    "repositories",
    metadata,
    _id(),
    _text("kind"),
    _text("name"),
    _text("owner"),
    _json("source"),
    Column("form", Text),
    _time("created_at"),
    UniqueConstraint("owner", "kind", "name"),
)

versions = Table(
    "versions",
    metadata,
    _id(),
    _parent("repository_id", "repositories"),
    Column("number", Integer, nullable=False),
    _text("state"),
    _time("created_at"),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("form", Text),
    _json("classes"),
    Column("files", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _text("digest"),
    _json("problems"),
    _json("meta"),
    _text("error"),
    UniqueConstraint("repository_id", "number"),
)

deployments = Table(
    "deployments",
    metadata,
    _id(),
    _text("name"),
    _text("owner"),
    _text("model_id"),
    _text("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("logging", Boolean, nullable=False),
    _text("origin"),
    _text("wanted"),
    _text("state"),
    _time("created_at"),
    _text("predict_path"),
    Column("port", Integer, nullable=False),
    Column("restarts", Integer, nullable=False),
    _text("message"),
    UniqueConstraint("owner", "name"),
)

pipeline_runs = Table(
    "pipeline_runs",
    metadata,
    _id(),
    _text("owner"),
    _text("file"),
    _text("code"),
    Column("code_version", Integer, nullable=False),
    _text("dataset"),
    Column("dataset_version", Integer, nullable=False),
    _text("model"),
    _text("deployment"),
    _text("state"),
    _time("created_at"),
    _json("parameters"),
    _json("steps"),
    _time("ended_at", nullable=True),
    _text("message"),
)

monitors = Table(
    "monitors",
    metadata,
    _id(),
    Column(
        "deployment_id", Text, ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False, unique=True
    ),
    _text("name"),
    _text("owner"),
    _text("state"),
    _text("status"),
    _json("config"),
    Column("config_version", Integer, nullable=False),
    _time("created_at"),
    _json("schema"),
    _json("thresholds"),
    _text("baseline"),
    _text("progress"),
    _text("message"),
    _time("last_run_at", nullable=True),
)

transitions = Table(
    "transitions",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _text("before"),
    _text("after"),
    _text("by"),
    _text("why"),
    _time("at"),
    Index(None, "monitor_id"),
)

monitor_runs = Table(
    "monitor_runs",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    Column("config_version", Integer, nullable=False),
    _time("start"),
    _time("end"),
    Column("revision", Integer, nullable=False),
    _time("created_at"),
    _text("status"),
    _text("health"),
    _text("drift"),
    _text("performance"),
    _json("metrics"),
    _json("images"),
    _json("problems"),
    # Whatever a scheduler does, a window has one result per revision.
    UniqueConstraint("monitor_id", "config_version", "start", "end", "revision"),
    Index(None, "monitor_id", "start"),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _text("name"),
    _text("type"),
    _text("metric"),
    _text("operator"),
    Column("bound", Float, nullable=False),
    _time("created_at"),
    UniqueConstraint("monitor_id", "name"),
)

alert_events = Table(
    "alert_events",
    metadata,
    _id(),
    _parent("alert_id", "alerts"),
    _parent("monitor_id", "monitors"),
    _parent("run_id", "monitor_runs"),
    _text("name"),
    _text("rule"),
    Column("value", Float, nullable=False),
    _time("at"),
    Index(None, "monitor_id", "at"),
    UniqueConstraint("alert_id", "run_id"),
)
