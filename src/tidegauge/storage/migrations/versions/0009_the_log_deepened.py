"""The log deepened: external deployments, bounds of logs, merged files, captures of what was served."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("service", sa.Text(), nullable=False, server_default=""),
        sa.Column("namespace", sa.Text(), nullable=False, server_default=""),
        sa.Column("classes", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("predict_url", sa.Text(), nullable=False, server_default=""),
        sa.Column("sampling", sa.Float(), nullable=False, server_default="1.0"),
        sa.Column("keep_days", sa.Integer(), nullable=True),
        sa.Column("keep_bytes", sa.BigInteger(), nullable=True),
    ):
        op.add_column("deployments", column)
    op.create_index("ix_deployments_service_namespace", "deployments", ["service", "namespace"])
    op.add_column("log_files", sa.Column("merged_into", sa.Text(), nullable=False, server_default=""))
    op.add_column("log_files", sa.Column("gone_at", UtcDateTime(timezone=True), nullable=True))
    op.create_table(
        "captures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("minute", UtcDateTime(timezone=True), nullable=False),
        sa.Column("numbers", sa.JSON(), nullable=False),
        sa.Column("served", sa.Integer(), nullable=True),
        sa.Column("overflow", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_captures"),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name="fk_captures_deployment_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_captures_deployment_id_minute", "captures", ["deployment_id", "minute"])
