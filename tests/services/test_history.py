"""What monitors found, kept in short: with every run, and by the migration of a home from before."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from simulated import OWNER, START, Site
from tidegauge import storage
from tidegauge.domain.alert import AlertRule, Condition, Subject
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig, PerformanceConfig
from tidegauge.domain.series import series_of
from tidegauge.domain.status import Status
from tidegauge.storage.database import Database

STEP = timedelta(minutes=5)
CLASSES = ("NORMAL", "PNEUMONIA")


class Place:
    """A site whose monitor looks at health and performance alone: no baseline is needed."""

    def __init__(self, home: Path) -> None:
        self.site = Site.build(home / "home", CLASSES)
        self.services = self.site.services
        self.site.deploy(home / "model", ["NORMAL", "PNEUMONIA"], "PNEUMONIA")
        config = MonitorConfig(time_zone="Asia/Tokyo", performance=PerformanceConfig(enabled=True))
        monitor = self.services.monitors.create(self.site.deployment, config, OWNER)
        while (monitor := self.fresh(monitor)).state is MonitorState.BASELINING:
            time.sleep(0.01)
        self.monitor = self.services.monitors.start(monitor, OWNER, START)

    def fresh(self, monitor: Monitor | None = None) -> Monitor:
        return self.services.monitors.get(OWNER, (monitor or self.monitor).id)

    def go(self, window: int) -> None:
        start = START + window * STEP
        self.site.clock.now = start + STEP
        body = {"instances": [[1.0]]}
        self.site.log([body], [{"predictions": [[0.9, 0.1]]}], [start + STEP / 2])
        self.site.clock.now = start + STEP + timedelta(seconds=10)
        self.site.work()

    def label(self, name: str, window: int, truth: str) -> None:
        moment = (START + (window + 0.5) * STEP).isoformat()
        rows = f"timestamp,output,label\n{moment},NORMAL,{truth}\n"
        self.services.deployments.put_labels(self.site.deployment, name, rows.encode())
        self.site.clock.now += timedelta(minutes=1)
        self.site.work()

    def statuses(self) -> dict[str, dict[str, int]]:
        return {tally.id: dict(tally.statuses) for tally in self.services.database.tallies.where()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.site.close()


def test_the_series_is_that_of_the_latest_runs(place: Place) -> None:
    for window in range(4):
        place.go(window)
    place.label("a.csv", 1, "PNEUMONIA")
    runs = place.services.monitors.runs(place.fresh(), None, None)
    assert [run.revision for run in runs] == [1, 2, 1, 1]
    assert place.services.history.series(place.fresh()) == series_of(runs)
    part = place.services.history.series(place.fresh(), START + STEP, START + 3 * STEP)
    assert [span.run_id for span in part.spans] == [runs[1].id, runs[2].id]
    assert part.spans[0].points["accuracy"].value == 0.0


def test_a_day_counts_each_window_once_by_its_latest_status(place: Place) -> None:
    place.services.monitors.set_thresholds(
        place.fresh(), {"requests": {"type": "health", "soft": 0, "hard": 0.5}}
    )
    for window in range(3):
        place.go(window)
    total = {name: sum(day.get(name, 0) for day in place.statuses().values()) for name in Status}
    assert sum(total.values()) == 3
    place.label("a.csv", 1, "NORMAL")
    again = {name: sum(day.get(name, 0) for day in place.statuses().values()) for name in Status}
    assert sum(again.values()) == 3


def test_a_glance_says_where_a_monitor_stands(place: Place) -> None:
    rule = AlertRule("busy", MetricType.HEALTH, (Condition(on=Subject.METRIC, name="requests", bound=0.5),))
    place.services.monitors.add_alert(place.fresh(), rule)
    place.go(0)
    place.go(1)
    overview = place.services.history.overview(OWNER)
    (glance,) = overview.monitors
    last = place.services.monitors.last_run(place.fresh())
    assert last is not None
    assert (glance.name, glance.run_id, glance.start) == (place.monitor.name, last.id, last.start)
    assert (glance.health, glance.drift) == (last.health, last.drift)
    assert glance.firing == 1
    assert len(glance.days) == 30
    assert sum(sum(day.windows.values()) for day in glance.days) == 2
    assert sum(sum(day.values()) for day in overview.fired.values()) == 1
    assert place.services.history.overview("somebody-else").monitors == ()


def test_a_home_from_before_has_its_history_after_the_migration(place: Place, tmp_path: Path) -> None:
    for window in range(3):
        place.go(window)
    place.label("a.csv", 1, "PNEUMONIA")
    names = place.fresh().metric_names
    wanted = [tuple(vars(row).items()) for row in place.services.database.window_results.where()]
    days = place.statuses()
    place.site.close()
    old = tmp_path / "old.sqlite"
    migrate(old, "0006")
    copy(tmp_path / "home" / "tidegauge.sqlite", old)
    migrate(old, "head")
    database = Database(f"sqlite:///{old}")
    assert [tuple(vars(row).items()) for row in database.window_results.where()] == wanted
    assert {tally.id: dict(tally.statuses) for tally in database.tallies.where()} == days
    (monitor,) = database.monitors.where()
    assert monitor.metric_names == names
    database.close()


def migrate(path: Path, revision: str) -> None:
    database = Database(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(Path(storage.__file__).parent / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    database.close()


def copy(source: Path, target: Path) -> None:
    """Copy every row into a database of an earlier schema."""
    with sqlite3.connect(target) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("ATTACH ? AS new", (str(source),))
        for (table,) in connection.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table'"
        ).fetchall():
            if table == "alembic_version":
                continue
            names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(f'"{name}"' for name in names)
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    connection.close()
