"""Events that were deleted, and which log files have no images any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("time", UtcDateTime(), nullable=True),
        sa.Column("leftovers", sa.JSON(), nullable=False),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.Column("found", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_erasures_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sa.UniqueConstraint("deployment_id", "digest", name=op.f("uq_erasures_deployment_id_digest")),
    )
    op.add_column("log_files", sa.Column("redacted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        op.f("ix_log_files_deployment_id_redacted_number"),
        "log_files",
        ["deployment_id", "redacted", "number"],
        unique=False,
    )
    op.add_column("readers", sa.Column("begun", sa.Integer(), nullable=False, server_default="0"))
