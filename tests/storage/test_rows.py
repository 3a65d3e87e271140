from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorRun, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.observation import DeadLetter
from tidegauge.domain.status import Status
from tidegauge.storage.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'db.sqlite'}"
    made = Database(request.getfixturevalue("postgres_url") if request.param == "postgresql" else url)
    made.migrate()
    for name in ("a", "b", "c"):
        made.deployments.add(
            Deployment(
                name,
                name,
                "ward",
                "m",
                "m",
                1,
                True,
                Origin.LOCAL,
                DeploymentState.RUNNING,
                DeploymentState.RUNNING,
                NOW,
                "",
            )
        )
        made.monitors.add(
            Monitor(
                f"m-{name}", name, name, "ward", MonitorState.ACTIVE, Status.UNKNOWN, MonitorConfig(), 1, NOW
            )
        )
    yield made
    made.close()


def add_run(database: Database, monitor: str, minute: int, revision: int = 1) -> MonitorRun:
    start, unknown = NOW + minute * MINUTE, Status.UNKNOWN
    return database.monitor_runs.add(
        MonitorRun(
            id=new_id(),
            monitor_id=monitor,
            config_version=1,
            start=start,
            end=start + MINUTE,
            revision=revision,
            created_at=NOW,
            status=unknown,
            health=unknown,
            drift=unknown,
            performance=unknown,
        )
    )


def test_newest_is_the_latest_revision_of_the_last_window_of_each_parent(database: Database) -> None:
    newest = add_run(database, "m-a", 3)
    add_run(database, "m-b", 1)
    revised = add_run(database, "m-b", 1, revision=2)
    add_run(database, "m-a", 2)  # backfilled later
    assert database.monitor_runs.newest("start", "monitor_id") == {"m-a": newest.id, "m-b": revised.id}


def test_tally_counts_by_the_values_of_columns(database: Database) -> None:
    for deployment, kind in (("a", "event"), ("a", "event"), ("a", "label"), ("b", "event")):
        database.dead_letters.add(DeadLetter(new_id(), deployment, kind, "", "", "", None, NOW))
    letters = database.dead_letters
    assert letters.tally("deployment_id", "kind") == {
        ("a", "event"): 2,
        ("a", "label"): 1,
        ("b", "event"): 1,
    }
    assert letters.tally("kind", deployment_id=["b", "c"]) == {("event",): 1}
    assert letters.tally("kind", deployment_id="c") == {}
