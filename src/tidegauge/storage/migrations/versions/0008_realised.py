"""How the performance by labels stands: labels are late, so the newest window seldom has any."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("monitors", sa.Column("realised", sa.Text(), nullable=False, server_default="unknown"))
    op.add_column("monitors", sa.Column("realised_at", UtcDateTime(timezone=True), nullable=True))
