"""Who looks after a monitor, what was found of segments, and which windows hold a moment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("monitors", sa.Column("look_at", UtcDateTime(), nullable=True))
    op.add_column("monitors", sa.Column("look_until", UtcDateTime(), nullable=True))
    op.add_column("monitor_runs", sa.Column("segments", sa.JSON(), nullable=False, server_default="[]"))
    op.create_index(
        op.f("ix_monitor_runs_monitor_id_end_start"),
        "monitor_runs",
        ["monitor_id", "end", "start"],
        unique=False,
    )
