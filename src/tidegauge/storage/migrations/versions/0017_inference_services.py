"""InferenceServices of KServe that serve deployments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("kserve", sa.JSON(none_as_null=True), nullable=True))
