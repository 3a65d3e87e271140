"""The latest result of each window in short, and windows by status of each day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa
from alembic import op

from tidegauge.storage.tables import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CHUNK = 1000


def upgrade() -> None:
    op.add_column("monitors", sa.Column("metric_names", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("tallies", sa.Column("statuses", sa.JSON(), nullable=False, server_default="{}"))
    op.create_index(op.f("ix_tallies_day"), "tallies", ["day"], unique=False)
    results = op.create_table(
        "window_results",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("start", UtcDateTime(timezone=True), nullable=False),
        sa.Column("end", UtcDateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("health", sa.Text(), nullable=False),
        sa.Column("drift", sa.Text(), nullable=False),
        sa.Column("performance", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Float(), nullable=True),
        sa.Column("alarm", sa.Boolean(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["monitor_id"], ["monitors.id"], name=op.f("fk_window_results_monitor_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_window_results")),
    )
    op.create_index(
        op.f("ix_window_results_monitor_id_start_end"),
        "window_results",
        ["monitor_id", "start", "end"],
        unique=False,
    )
    connection = op.get_bind()
    for monitor_id, config in connection.execute(sa.select(_monitors.c.id, _monitors.c.config)).all():
        _fill(connection, results, monitor_id, ZoneInfo(config.get("time_zone") or "UTC"))


def _fill(connection: sa.Connection, results: sa.Table, monitor_id: str, zone: ZoneInfo) -> None:
    """Write down in short what each window of a monitor was found to be last."""
    latest = {
        (start, end): run_id  # ids sort by making: the last one counts
        for run_id, start, end in connection.execute(
            sa.select(_runs.c.id, _runs.c.start, _runs.c.end)
            .where(_runs.c.monitor_id == monitor_id)
            .order_by(_runs.c.id)
        )
    }
    names: dict[str, str] = {}
    days: dict[datetime, Counter[str]] = {}
    wanted = [latest[window] for window in sorted(latest)]
    for place in range(0, len(wanted), _CHUNK):
        rows = []
        for run in _read(connection, wanted[place : place + _CHUNK]):
            for metric in run["metrics"]:
                names.setdefault(metric["name"], metric["type"])
            rows.append(_short(run, monitor_id, list(names)))
            days.setdefault(_day(run["start"], zone), Counter())[run["status"]] += 1
        connection.execute(sa.insert(results), rows)
    if not wanted:
        return
    connection.execute(
        sa.update(_monitors)
        .where(_monitors.c.id == monitor_id)
        .values(metric_names=[list(item) for item in names.items()])
    )
    for day, counts in days.items():
        _count(connection, monitor_id, day, counts)


def _read(connection: sa.Connection, run_ids: list[str]) -> Iterator[dict[str, Any]]:
    query = sa.select(_runs).where(_runs.c.id.in_(run_ids)).order_by(_runs.c.start, _runs.c.end)
    for row in connection.execute(query).mappings():
        yield dict(row)


def _short(run: dict[str, Any], monitor_id: str, names: list[str]) -> dict[str, Any]:
    known = {metric["name"]: metric for metric in run["metrics"]}
    numbers = [known.get(name, {}).get(part) for name in names for part in ("value", "low", "high")]
    evidence = run["evidence"] or {}
    return {
        "id": f"{monitor_id}/{run['start'].isoformat()}/{run['end'].isoformat()}",
        "monitor_id": monitor_id,
        "run_id": run["id"],
        **{name: run[name] for name in ("start", "end", "status", "health", "drift", "performance")},
        "evidence": evidence.get("log_e"),
        "alarm": bool(evidence.get("alarm")),
        "packed": np.array([np.nan if n is None else n for n in numbers], np.float32).tobytes(),
    }


def _day(start: datetime, zone: ZoneInfo) -> datetime:
    """Return the midnight before, in the monitor's time zone."""
    local = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return local.astimezone(UTC)


def _count(connection: sa.Connection, monitor_id: str, day: datetime, counts: Counter[str]) -> None:
    id_ = f"{monitor_id}/{day.isoformat()}"
    changed = connection.execute(
        sa.update(_tallies).where(_tallies.c.id == id_).values(statuses=dict(counts))
    )
    if not changed.rowcount:
        row = {"id": id_, "monitor_id": monitor_id, "day": day, "counts": {}, "statuses": dict(counts)}
        connection.execute(sa.insert(_tallies), row)


_metadata = sa.MetaData()
_monitors = sa.Table(
    "monitors",
    _metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("config", sa.JSON()),
    sa.Column("metric_names", sa.JSON()),
)
_runs = sa.Table(
    "monitor_runs",
    _metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("monitor_id", sa.Text()),
    sa.Column("start", UtcDateTime(timezone=True)),
    sa.Column("end", UtcDateTime(timezone=True)),
    sa.Column("status", sa.Text()),
    sa.Column("health", sa.Text()),
    sa.Column("drift", sa.Text()),
    sa.Column("performance", sa.Text()),
    sa.Column("metrics", sa.JSON()),
    sa.Column("evidence", sa.JSON()),
)
_tallies = sa.Table(
    "tallies",
    _metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("monitor_id", sa.Text()),
    sa.Column("day", UtcDateTime(timezone=True)),
    sa.Column("counts", sa.JSON()),
    sa.Column("statuses", sa.JSON()),
)
