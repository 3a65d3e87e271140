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
    LargeBinary,
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


class Sealed(Text):
    """A secret: rows are read and written in plain, the database has it sealed."""

    cache_ok = True


class SealedJson(JSON):
    """What may hold secrets, sealed as a whole: a JSON string in the database."""

    cache_ok = True


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


def _sealed(name: str) -> Column[str]:
    return Column(name, Sealed, nullable=False)


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
    _time("disabled_at", nullable=True),
)

former_users = Table(
    "former_users",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _time("deleted_at"),
)

passwords = Table(
    "passwords",
    metadata,
    Column("id", Text, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    _text("hash"),
    _time("changed_at"),
    Column("temporary", Boolean, nullable=False),
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
    _time("expires_at", nullable=True),
    _time("used_at", nullable=True),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    _parent("user_id", "users"),
    Column("hash", Text, nullable=False, unique=True),
    _text("means"),
    Column("token_id", Text, ForeignKey("tokens.id", ondelete="CASCADE")),
    _text("address"),
    _text("agent"),
    _time("created_at"),
    _time("seen_at"),
    _time("expires_at"),
    Index(None, "user_id"),
    Index(None, "token_id"),
)

attempts = Table(
    "attempts",
    metadata,
    _id(),
    Column("failures", Integer, nullable=False),
    _time("last_at"),
    _time("succeeded_at", nullable=True),
    Index(None, "last_at"),
)

identities = Table(
    "identities",
    metadata,
    _id(),
    _parent("user_id", "users"),
    _text("issuer"),
    _text("subject"),
    _time("created_at"),
    UniqueConstraint("issuer", "subject"),
)

sign_in_requests = Table(
    "sign_in_requests",
    metadata,
    _id(),
    _text("nonce"),
    _text("verifier"),
    _text("redirect_uri"),
    _text("next"),
    _time("expires_at"),
    Index(None, "expires_at"),
)

# Only ever added to: triggers of the migration refuse every change.
audit_entries = Table(
    "audit_entries",
    metadata,
    _id(),
    _time("at"),
    _text("who"),
    _text("means"),
    _text("credential"),
    _text("address"),
    _text("method"),
    _text("action"),
    _text("subject"),
    Column("status", Integer, nullable=False),
    _text("outcome"),
    Index(None, "at"),
    Index(None, "who", "id"),
)

repositories = Table(
    "repositories",
    metadata,
    _id(),
    _text("kind"),
    _text("name"),
    _text("owner"),
    Column("shared", Boolean, nullable=False),
    _json("source"),
    Column("form", Text),
    _time("created_at"),
    _sealed("secret"),
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
    Column("shared", Boolean, nullable=False),
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
    _text("service"),
    _text("namespace"),
    _json("classes"),
    _text("predict_url"),
    Column("sampling", Float, nullable=False),
    Column("keep_days", Integer),
    Column("keep_bytes", BigInteger),
    Column("served", JSON(none_as_null=True)),
    Column("kserve", JSON(none_as_null=True)),
    UniqueConstraint("owner", "name"),
    Index(None, "service", "namespace"),
)

ides = Table(
    "ides",
    metadata,
    _id(),
    _text("owner"),
    _text("name"),
    _text("code"),
    Column("code_version", Integer, nullable=False),
    _text("framework"),
    _text("framework_version"),
    _text("image"),
    _text("wanted"),
    _text("state"),
    _time("created_at"),
    _text("message"),
    _time("until", nullable=True),
    Column("token_id", Text),
    _time("used_at", nullable=True),
    Column("restarts", Integer, nullable=False),
    UniqueConstraint("owner", "name"),
)

cluster_links = Table(
    "cluster_links",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("url"),
    _sealed("token"),
    _text("ca"),
    _text("fingerprint"),
    _text("state"),
    _text("message"),
    _text("version"),
    _text("user"),
    _text("created_by"),
    _time("created_at"),
    _time("checked_at"),
    _time("answered_at", nullable=True),
)

imports = Table(
    "imports",
    metadata,
    Column("id", Text, ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True),
    Column("link_id", Text, ForeignKey("cluster_links.id"), nullable=False, index=True),
    _text("namespace"),
    _text("name"),
    _text("through"),
    Column("position", Integer, nullable=False),
    _text("last_file"),
    Column("files", Integer, nullable=False),
    _text("sample"),
    _text("message"),
    _text("model"),
    _time("looked_at", nullable=True),
    _time("known_until", nullable=True),
    _time("gone_at", nullable=True),
)

pipeline_runs = Table(
    "pipeline_runs",
    metadata,
    _id(),
    _text("owner"),
    Column("shared", Boolean, nullable=False),
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
    _text("backend"),
    _text("host"),
    _text("namespace"),
    _text("secret_name"),
    _sealed("token"),
    _text("remote_id"),
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
    Column("shared", Boolean, nullable=False),
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
    _time("due_from", nullable=True),
    _time("look_at", nullable=True),
    _time("look_until", nullable=True),
    Column("evidence", JSON(none_as_null=True)),
    _json("metric_names"),
    _text("realised"),
    _time("realised_at", nullable=True),
)

config_versions = Table(
    "config_versions",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    Column("number", Integer, nullable=False),
    _json("config"),
    _text("by"),
    _time("at"),
    UniqueConstraint("monitor_id", "number"),
)

acknowledgements = Table(
    "acknowledgements",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _text("by"),
    _time("at"),
    _text("note"),
    Column("alpha", Float, nullable=False),
    Column("spent", Float, nullable=False),
    Index(None, "monitor_id"),
)

maintenances = Table(
    "maintenances",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _time("start"),
    _time("end"),
    _text("reason"),
    _text("by"),
    Index(None, "monitor_id", "end"),
)

tallies = Table(
    "tallies",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _time("day"),
    _json("counts"),
    _json("statuses"),
    Index(None, "day"),
)

due_windows = Table(
    "due_windows",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _time("start"),
    _time("end"),
    _text("cause"),
    _time("due_at"),
    _text("claimed_by"),
    _time("claimed_until", nullable=True),
    Column("tries", Integer, nullable=False),
    _text("error"),
    Column("can_wait", Boolean, nullable=False),
    UniqueConstraint("monitor_id", "start", "end"),
    Index(None, "can_wait", "due_at", "start"),
    Index(None, "claimed_until"),
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
    _text("cause"),
    Column("evidence", JSON(none_as_null=True)),
    Column("late", Integer, nullable=False),
    Column("quiet_minutes", Float),
    _json("segments"),
    # Whatever a scheduler does, a window has one result per revision.
    UniqueConstraint("monitor_id", "config_version", "start", "end", "revision"),
    Index(None, "monitor_id", "start"),
    Index(None, "monitor_id", "end", "start"),  # which windows hold a moment
)

window_results = Table(
    "window_results",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _text("run_id"),
    _time("start"),
    _time("end"),
    _text("status"),
    _text("health"),
    _text("drift"),
    _text("performance"),
    Column("evidence", Float),
    Column("alarm", Boolean, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    Index(None, "monitor_id", "start", "end"),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _text("name"),
    _json("rule"),
    _time("created_at"),
    _time("muted_until", nullable=True),
    _time("judged_until", nullable=True),
    _time("firing_since", nullable=True),
    _time("told_at", nullable=True),
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
    _text("told"),
    _text("severity"),
    _text("summary"),
    Column("late", Boolean, nullable=False),
    _json("tags"),
    Index(None, "monitor_id", "at"),
    # Whatever crashes, one change is told once.
    UniqueConstraint("alert_id", "run_id"),
)

channels = Table(
    "channels",
    metadata,
    _id(),
    _text("owner"),
    _text("name"),
    _text("kind"),
    Column("settings", SealedJson, nullable=False),
    _time("created_at"),
    _sealed("secret"),
    _time("failing_since", nullable=True),
    _text("message"),
    UniqueConstraint("owner", "name"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    _parent("channel_id", "channels"),
    _text("monitor_id"),
    _text("alert_event_id"),
    _json("message"),
    _time("created_at"),
    _time("due_at"),
    _text("state"),
    Column("tries", Integer, nullable=False),
    _text("claimed_by"),
    _time("claimed_until", nullable=True),
    _time("sent_at", nullable=True),
    _text("error"),
    _json("details"),
    Index(None, "state", "due_at"),
    Index(None, "alert_event_id"),
)

log_files = Table(
    "log_files",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    Column("number", Integer, nullable=False),
    _time("written_at"),
    Column("redacted", Boolean, nullable=False),
    _text("merged_into"),
    _time("gone_at", nullable=True),
    UniqueConstraint("deployment_id", "number"),
    Index(None, "deployment_id", "redacted", "number"),
)

captures = Table(
    "captures",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _text("sender"),
    _time("minute"),
    _json("numbers"),
    Column("served", Integer),
    Column("overflow", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Index(None, "deployment_id", "minute"),
)

readers = Table(
    "readers",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _text("extractor"),
    Column("position", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("begun", Integer, nullable=False),
    _json("halves"),
)

observation_files = Table(
    "observation_files",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _text("extractor"),
    _time("first"),
    _time("last"),
    Column("first_sequence", Integer, nullable=False),
    Column("last_sequence", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Index(None, "deployment_id", "extractor", "last"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _text("kind"),
    _text("event_id"),
    _text("source"),
    _text("reason"),
    _time("time", nullable=True),
    _time("noticed_at"),
    Index(None, "deployment_id", "time"),
)

labels = Table(
    "labels",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _time("time"),
    _text("event_id"),
    Column("index", Integer, nullable=False),
    _text("output"),
    _text("label"),
    _text("source"),
    Column("row", Integer, nullable=False),
    _time("received_at"),
    _time("superseded_at", nullable=True),
    Index(None, "deployment_id", "time"),
    Index(None, "deployment_id", "event_id"),
    Index(None, "deployment_id", "source"),
)

label_files = Table(
    "label_files",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _text("digest"),
    Column("rows", Integer, nullable=False),
    Column("problems", Integer, nullable=False),
    _time("read_at"),
)

health_samples = Table(
    "health_samples",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _time("at"),
    Column("ready", Boolean, nullable=False),
    Column("cpu_seconds", Float),
    Column("memory_bytes", BigInteger),
    _time("started_at", nullable=True),
    Index(None, "deployment_id", "at"),
)

retrainings = Table(
    "retrainings",
    metadata,
    _id(),
    _parent("monitor_id", "monitors"),
    _text("state"),
    _text("by"),
    _text("cause"),
    _time("created_at"),
    _json("plan"),
    _text("model"),
    Column("serving", Integer),
    Column("collected", JSON(none_as_null=True)),
    _text("pipeline_run"),
    Column("candidate", Integer),
    Column("comparison", JSON(none_as_null=True)),
    _json("history"),
    _text("progress"),
    _text("message"),
    Column("resume", Boolean, nullable=False),
    # The monitor's id until it has ended, then nothing: a monitor has one under way at a time.
    Column("under_way", Text, unique=True),
    _time("ended_at", nullable=True),
    Index(None, "monitor_id"),
)

erasures = Table(
    "erasures",
    metadata,
    _id(),
    _parent("deployment_id", "deployments"),
    _text("digest"),
    _text("event_id"),
    _text("by"),
    _time("at"),
    _text("note"),
    _time("time", nullable=True),
    _json("leftovers"),
    _time("done_at", nullable=True),
    _text("found"),
    UniqueConstraint("deployment_id", "digest"),
)
