"""Which file of the log of an imported deployment came last, since a number may be of another by now."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("imports", sa.Column("last_file", sa.Text(), nullable=False, server_default=""))
