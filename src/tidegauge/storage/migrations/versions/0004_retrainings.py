"""Retrainings of monitors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retrainings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("serving", sa.Integer(), nullable=True),
        sa.Column("collected", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("pipeline_run", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Integer(), nullable=True),
        sa.Column("comparison", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("history", sa.JSON(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("resume", sa.Boolean(), nullable=False),
        sa.Column("under_way", sa.Text(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["monitor_id"], ["monitors.id"], name=op.f("fk_retrainings_monitor_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retrainings")),
        sa.UniqueConstraint("under_way", name=op.f("uq_retrainings_under_way")),
    )
    op.create_index(op.f("ix_retrainings_monitor_id"), "retrainings", ["monitor_id"], unique=False)
