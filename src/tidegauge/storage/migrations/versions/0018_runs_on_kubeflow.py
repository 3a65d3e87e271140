"""Pipeline runs on Kubeflow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_COLUMNS = {"backend": "local", "host": "", "namespace": "", "secret_name": "", "token": "", "remote_id": ""}


def upgrade() -> None:
    for name, default in _COLUMNS.items():
        op.add_column("pipeline_runs", sa.Column(name, sa.Text(), nullable=False, server_default=default))
