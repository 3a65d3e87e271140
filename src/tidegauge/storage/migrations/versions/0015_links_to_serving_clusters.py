"""Links to serving clusters, and the deployments that were imported over them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cluster_links",
        sa.Column("id", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in (
                "name",
                "url",
                "token",
                "ca",
                "fingerprint",
                "state",
                "message",
                "version",
                "user",
                "created_by",
            )
        ),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("checked_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("answered_at", UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_cluster_links"),
        sa.UniqueConstraint("name", name="uq_cluster_links_name"),
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("link_id", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("through", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("sample", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("looked_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("known_until", UtcDateTime(timezone=True), nullable=True),
        sa.Column("gone_at", UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
        sa.ForeignKeyConstraint(["id"], ["deployments.id"], name="fk_imports_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["link_id"], ["cluster_links.id"], name="fk_imports_link_id"),
    )
    op.create_index("ix_imports_link_id", "imports", ["link_id"])
