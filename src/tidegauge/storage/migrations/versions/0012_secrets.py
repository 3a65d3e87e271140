"""Secrets have columns of their own: user and password of a git URL leave the URL, which is shown."""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_CREDENTIALS = re.compile(r"(?P<scheme>https?://)(?P<secret>[^/@\s]+)@")


def upgrade() -> None:
    op.add_column("repositories", sa.Column("secret", sa.Text(), nullable=False, server_default=""))
    table = sa.table("repositories", sa.column("id"), sa.column("source", sa.JSON), sa.column("secret"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(table.c.id, table.c.source)).all():
        found = _CREDENTIALS.match(row.source.get("url", ""))
        if row.source.get("type") == "git" and found:
            source = {**row.source, "url": f"{found['scheme']}{row.source['url'][found.end() :]}"}
            # In plain for a moment: whoever migrates seals it before anything else.
            change = {"source": source, "secret": found["secret"]}
            connection.execute(sa.update(table).where(table.c.id == row.id).values(change))
