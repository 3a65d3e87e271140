"""IDEs: JupyterLabs that the server runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = UtcDateTime(timezone=True)
    texts = ("owner", "name", "code", "framework", "framework_version", "image", "wanted", "state", "message")
    op.create_table(
        "ides",
        sa.Column("id", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("code_version", sa.Integer(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("until", moment, nullable=True),
        sa.Column("used_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_ides"),
        sa.UniqueConstraint("owner", "name", name="uq_ides_owner_name"),
    )
