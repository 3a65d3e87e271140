"""Monitors that run by themselves: schedules, observations, labels, alerts with channels, evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_tables()
    # Columns are added and dropped in place: SQLite's way of copying a table would delete its children.
    op.add_column("monitors", sa.Column("due_from", UtcDateTime(), nullable=True))
    op.add_column("monitors", sa.Column("evidence", sa.JSON(none_as_null=True), nullable=True))
    for column in (
        sa.Column("cause", sa.Text(), nullable=False, server_default="manual"),
        sa.Column("evidence", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("late", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("quiet_minutes", sa.Float(), nullable=True),
    ):
        op.add_column("monitor_runs", column)
    for column in (
        sa.Column("told", sa.Text(), nullable=False, server_default="fired"),
        sa.Column("severity", sa.Text(), nullable=False, server_default="warning"),
        sa.Column("summary", sa.Text(), nullable=False, server_default=""),
        sa.Column("late", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("tags", sa.JSON(), nullable=False, server_default="[]"),
    ):
        op.add_column("alert_events", column)
    for column in (
        sa.Column("rule", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("muted_until", UtcDateTime(), nullable=True),
        sa.Column("judged_until", UtcDateTime(), nullable=True),
        sa.Column("firing_since", UtcDateTime(), nullable=True),
        sa.Column("told_at", UtcDateTime(), nullable=True),
    ):
        op.add_column("alerts", column)
    _carry_rules()
    for name in ("type", "metric", "operator", "bound"):
        op.drop_column("alerts", name)
    _carry_configs()


def _carry_rules() -> None:
    """An alert had one condition in columns; now a rule holds any number."""
    texts = ("id", "name", "type", "metric", "operator")
    alerts = sa.table(
        "alerts",
        *(sa.column(name, sa.Text()) for name in texts),
        sa.column("bound", sa.Float()),
        sa.column("rule", sa.JSON()),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(alerts)).mappings().all():
        condition = {"name": row["metric"], "operator": row["operator"], "bound": row["bound"]}
        rule = {"name": row["name"], "type": row["type"], "conditions": [condition]}
        connection.execute(sa.update(alerts).where(alerts.c.id == row["id"]).values(rule=rule))


def _carry_configs() -> None:
    """Each monitor's configuration becomes the version that it has."""
    monitors = sa.table(
        "monitors",
        sa.column("id", sa.Text()),
        sa.column("owner", sa.Text()),
        sa.column("created_at", UtcDateTime()),
        sa.column("config", sa.JSON()),
        sa.column("config_version", sa.Integer()),
    )
    versions = sa.table(
        "config_versions",
        *(sa.column(name, sa.Text()) for name in ("id", "monitor_id", "by")),
        sa.column("number", sa.Integer()),
        sa.column("at", UtcDateTime()),
        sa.column("config", sa.JSON()),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(monitors)).mappings().all():
        connection.execute(
            sa.insert(versions).values(
                id=row["id"],
                monitor_id=row["id"],
                number=row["config_version"],
                by=row["owner"],
                at=row["created_at"],
                config=row["config"],
            )
        )


def _create_tables() -> None:
    op.create_table(
        "tallies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("day", UtcDateTime(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["monitor_id"], ["monitors.id"], name=op.f("fk_tallies_monitor_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tallies")),
    )
    op.create_table(
        "channels",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("failing_since", UtcDateTime(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_channels_owner_name")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time", UtcDateTime(), nullable=True),
        sa.Column("noticed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_dead_letters_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index(
        op.f("ix_dead_letters_deployment_id_time"), "dead_letters", ["deployment_id", "time"], unique=False
    )

    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("alert_event_id", sa.Text(), nullable=False),
        sa.Column("message", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.Column("claimed_until", UtcDateTime(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=op.f("fk_deliveries_channel_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(op.f("ix_deliveries_alert_event_id"), "deliveries", ["alert_event_id"], unique=False)
    op.create_index(op.f("ix_deliveries_state_due_at"), "deliveries", ["state", "due_at"], unique=False)

    op.create_table(
        "health_samples",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_health_samples_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_health_samples")),
    )
    op.create_index(
        op.f("ix_health_samples_deployment_id_at"), "health_samples", ["deployment_id", "at"], unique=False
    )

    op.create_table(
        "label_files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("problems", sa.Integer(), nullable=False),
        sa.Column("read_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_label_files_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_files")),
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("time", UtcDateTime(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("superseded_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_labels_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
    )
    op.create_index(
        op.f("ix_labels_deployment_id_event_id"), "labels", ["deployment_id", "event_id"], unique=False
    )
    op.create_index(
        op.f("ix_labels_deployment_id_source"), "labels", ["deployment_id", "source"], unique=False
    )
    op.create_index(op.f("ix_labels_deployment_id_time"), "labels", ["deployment_id", "time"], unique=False)

    op.create_table(
        "log_files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("written_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_log_files_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_files")),
        sa.UniqueConstraint("deployment_id", "number", name=op.f("uq_log_files_deployment_id_number")),
    )
    op.create_table(
        "observation_files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("first", UtcDateTime(), nullable=False),
        sa.Column("last", UtcDateTime(), nullable=False),
        sa.Column("first_sequence", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_observation_files_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observation_files")),
    )
    op.create_index(
        op.f("ix_observation_files_deployment_id_extractor_last"),
        "observation_files",
        ["deployment_id", "extractor", "last"],
        unique=False,
    )

    op.create_table(
        "readers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("halves", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_readers_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readers")),
    )
    op.create_table(
        "acknowledgements",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("spent", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["monitor_id"], ["monitors.id"], name=op.f("fk_acknowledgements_monitor_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acknowledgements")),
    )
    op.create_index(op.f("ix_acknowledgements_monitor_id"), "acknowledgements", ["monitor_id"], unique=False)

    op.create_table(
        "config_versions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["monitor_id"], ["monitors.id"], name=op.f("fk_config_versions_monitor_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_versions")),
        sa.UniqueConstraint("monitor_id", "number", name=op.f("uq_config_versions_monitor_id_number")),
    )
    op.create_table(
        "due_windows",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("start", UtcDateTime(), nullable=False),
        sa.Column("end", UtcDateTime(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=False),
        sa.Column("claimed_until", UtcDateTime(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["monitor_id"], ["monitors.id"], name=op.f("fk_due_windows_monitor_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_due_windows")),
        sa.UniqueConstraint("monitor_id", "start", "end", name=op.f("uq_due_windows_monitor_id_start_end")),
    )
    op.create_index(op.f("ix_due_windows_due_at"), "due_windows", ["due_at"], unique=False)

    op.create_table(
        "maintenances",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("start", UtcDateTime(), nullable=False),
        sa.Column("end", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["monitor_id"], ["monitors.id"], name=op.f("fk_maintenances_monitor_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_maintenances")),
    )
    op.create_index(
        op.f("ix_maintenances_monitor_id_end"), "maintenances", ["monitor_id", "end"], unique=False
    )
