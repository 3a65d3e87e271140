"""Accounts: passwords, sessions, tokens that expire and are scoped, failed attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = UtcDateTime(timezone=True)
    op.add_column("users", sa.Column("disabled_at", moment, nullable=True))
    op.add_column("tokens", sa.Column("expires_at", moment, nullable=True))
    op.add_column("tokens", sa.Column("used_at", moment, nullable=True))
    op.execute("UPDATE tokens SET scope = 'write' WHERE scope = 'all'")
    op.create_table(
        "passwords",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("temporary", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_passwords"),
        sa.ForeignKeyConstraint(["id"], ["users.id"], name="fk_passwords_id", ondelete="CASCADE"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("means", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_sessions_token_id", ondelete="CASCADE"),
        sa.UniqueConstraint("hash", name="uq_sessions_hash"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_index("ix_sessions_token_id", "sessions", ["token_id"])
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", moment, nullable=False),
        sa.Column("succeeded_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_last_at", "attempts", ["last_at"])
