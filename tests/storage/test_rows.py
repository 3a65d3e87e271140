from __future__ import annotations

import contextlib
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
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Query

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


def test_what_no_column_can_hold_is_not_found_and_refused_in_a_sentence(database: Database) -> None:
    assert database.deployments.find(name="a\0") is None
    assert database.deployments.find(model_version=2**70) is None
    assert not database.deployments.page(Query(q="\0")).items
    assert database.deployments.count(name="\ud800") == 0
    with pytest.raises(InvalidInputError, match="half a character"):
        database.deployments.update("a", message="\ud800")
    with pytest.raises(InvalidInputError, match="NUL"):
        database.deployments.update("a", message="a\0b")
    with pytest.raises(InvalidInputError, match="out of the range"):
        database.deployments.update("a", model_version=2**70)
    assert database.deployments.get("a").message == ""


def test_too_few_connections_are_told_of(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("it has as many as it is asked for")
    database.engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        for _ in range(45):
            stack.enter_context(database.engine.connect())
        with pytest.raises(UnavailableError, match="more to do"):
            database.deployments.find()
