"""The token that an IDE was started by: the IDE ends with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ides", sa.Column("token_id", sa.Text(), nullable=True))
