"""Which windows can wait until others have been looked at, and what claims are looked up by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index(op.f("ix_due_windows_due_at"), "due_windows")
    op.add_column(
        "due_windows", sa.Column("can_wait", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.execute(
        "UPDATE due_windows SET can_wait = true WHERE cause IN ('backfill', 'late labels', 'deleted events')"
    )
    op.create_index(
        op.f("ix_due_windows_can_wait_due_at_start"),
        "due_windows",
        ["can_wait", "due_at", "start"],
        unique=False,
    )
    op.create_index(op.f("ix_due_windows_claimed_until"), "due_windows", ["claimed_until"], unique=False)
