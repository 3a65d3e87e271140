"""Versions of a monitor's configuration: written with it, and taken on without a stop where that can be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parts import CLASSES, SIDE, write_images, write_model
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType, VersionState
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, MonitorState, ValueType
from tidegauge.domain.monitor_config import (
    DriftConfig,
    HealthConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    TrainData,
)
from tidegauge.domain.users import Role, User
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.services.baselines import Baselines
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.fitting import Fitting
from tidegauge.services.monitors import Monitors
from tidegauge.services.worker import Worker
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.rows import Query

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONFIG = MonitorConfig(
    drift=DriftConfig(enabled=True, image=ImageShape(SIDE, SIDE), train_data=TrainData("chest", 1))
)


@dataclass
class Site:
    """Monitors with all that they need, and a deployment."""

    database: Database
    monitors: Monitors
    deployment: Deployment

    def settled(self, monitor: Monitor) -> Monitor:
        """Wait until baselining is over."""
        for _ in range(1000):
            found = self.database.monitors.get(monitor.id)
            if found.state is not MonitorState.BASELINING:
                return found
            threading.Event().wait(0.02)
        raise AssertionError(found.progress)

    def active(self) -> Monitor:
        monitor = self.settled(self.monitors.create(self.deployment, CONFIG, "ada"))
        prediction = Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL)
        return self.monitors.start(self.monitors.add_feature(monitor, prediction, "ada"), "ada")

    def numbers(self, monitor: Monitor) -> list[int]:
        return [version.number for version in self.monitors.configs(monitor, Query()).items]


@contextmanager
def site(folder: Path, url: str) -> Iterator[Site]:
    database = Database(url)
    database.migrate()
    database.users.add(User("u1", "ada", Role.OPERATOR, NOW))  # only operators may read folders
    store, worker = ObjectStore(str(folder / "store")), Worker()
    catalogue = Catalogue(database, store, worker, folder / "home", lambda: NOW)
    catalogue.start()

    def register(kind: RepositoryKind, name: str, source: Path, meta: dict[str, object]) -> str:
        repository = catalogue.create(kind, name, "ada", Source(SourceType.FOLDER, str(source)), None)
        version = catalogue.add_version(repository, meta=meta)
        while catalogue.version(repository, version.number).state is VersionState.IMPORTING:
            threading.Event().wait(0.02)
        return repository.id

    model_id = register(RepositoryKind.MODEL, "chest", write_model(folder / "model"), {"classes": CLASSES})
    register(RepositoryKind.DATASET, "chest", write_images(folder / "images", 6), {})
    stopped = DeploymentState.STOPPED
    deployment = database.deployments.add(
        Deployment(
            "d1", "chest", "ada", model_id, "chest", 1, True, Origin.EXTERNAL, stopped, stopped, NOW, ""
        )
    )
    fitting = Fitting(database, catalogue, Baselines(store))
    monitors = Monitors(database, store, catalogue, fitting, worker, lambda: NOW)
    try:
        yield Site(database, monitors, deployment)
    finally:
        worker.close()
        database.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, f"sqlite:///{tmp_path / 'tidegauge.sqlite'}") as made:
        yield made


def test_creating_writes_the_first_version(here: Site) -> None:
    monitor = here.monitors.create(here.deployment, MonitorConfig(), "ada")
    (version,) = here.monitors.configs(monitor, Query()).items
    assert (version.number, version.config, version.by, version.at) == (1, MonitorConfig(), "ada", NOW)


def test_an_active_monitor_takes_on_what_needs_no_baseline_and_does_not_stop(here: Site) -> None:
    monitor = here.active()
    wanted = replace(
        CONFIG,
        frequency_minutes=10,
        time_zone="Europe/Berlin",
        minimum_samples=7,
        health=HealthConfig(enabled=False),
        performance=PerformanceConfig(enabled=True, positive="PNEUMONIA"),
    )
    changed = here.monitors.configure(monitor, wanted, "grace")
    assert (changed.state, changed.config, changed.config_version) == (MonitorState.ACTIVE, wanted, 2)
    assert (changed.baseline, changed.due_from) == (monitor.baseline, monitor.due_from)
    newest, first = here.monitors.configs(monitor, Query()).items
    assert (newest.number, newest.config, newest.by) == (2, wanted, "grace")
    assert (first.number, first.config, first.by) == (1, CONFIG, "ada")


def test_an_active_monitor_refuses_what_needs_a_baseline_by_name(here: Site) -> None:
    monitor = here.active()
    drift = replace(
        CONFIG.drift, image=ImageShape(16, SIDE), train_data=TrainData("chest", 1, "labelled_folders")
    )
    with pytest.raises(ConflictError) as caught:
        here.monitors.configure(monitor, replace(CONFIG, frequency_minutes=10, drift=drift), "ada")
    assert caught.value.message == (
        "The monitor is active; stop it before you change drift.image.height, "
        "drift.train_data.images_saved_as, which need a new baseline."
    )
    assert here.database.monitors.get(monitor.id).config == CONFIG
    assert here.numbers(monitor) == [1]


def test_the_same_configuration_makes_no_version(here: Site) -> None:
    monitor = here.active()
    assert here.monitors.configure(monitor, CONFIG, "ada") == monitor
    assert here.numbers(monitor) == [1]


def test_a_ready_monitor_keeps_its_baseline_where_it_can(here: Site) -> None:
    monitor = here.monitors.stop(here.active(), "ada")
    changed = here.monitors.configure(monitor, replace(CONFIG, minimum_samples=7), "ada")
    assert (changed.state, changed.baseline) == (MonitorState.READY, monitor.baseline)
    drift = replace(CONFIG.drift, image=ImageShape(16, 16))
    again = here.monitors.configure(changed, replace(changed.config, drift=drift), "ada")
    assert here.settled(again).baseline != monitor.baseline
    assert here.numbers(monitor) == [3, 2, 1]


def test_every_wrong_field_comes_at_once(here: Site) -> None:
    config = replace(
        CONFIG,
        frequency_minutes=0,
        drift=replace(CONFIG.drift, train_data=TrainData("none", 1)),
        performance=PerformanceConfig(prefix="d2/livedata"),
    )
    with pytest.raises(InvalidInputError) as caught:
        here.monitors.create(here.deployment, config, "ada")
    assert [error.field for error in caught.value.errors] == [
        "frequency_minutes", "performance.prefix", "drift.train_data",
    ]  # fmt: skip
    assert here.database.monitors.count() == here.database.config_versions.count() == 0


def test_images_saved_in_another_way_are_refused(here: Site) -> None:
    drift = replace(CONFIG.drift, train_data=TrainData("chest", 1, "numpy"))
    with pytest.raises(InvalidInputError, match="'numpy', but 'chest' v1 is labelled_folders; leave it out"):
        here.monitors.create(here.deployment, replace(CONFIG, drift=drift), "ada")


def test_who_configures_what_has_changed_meanwhile_is_told_and_leaves_nothing(here: Site) -> None:
    old = here.active()
    here.monitors.configure(old, replace(CONFIG, minimum_samples=7), "ada")
    with pytest.raises(ConflictError, match="changed meanwhile"):
        here.monitors.configure(old, replace(CONFIG, minimum_samples=8), "grace")
    assert here.database.monitors.get(old.id).config.minimum_samples == 7
    assert here.numbers(old) == [2, 1]


def test_of_two_who_configure_at_once_on_postgresql_one_is_told(tmp_path: Path, postgres_url: str) -> None:
    with site(tmp_path, postgres_url) as there:
        monitor = there.active()
        told: list[str] = []
        gate = threading.Barrier(4)

        def change(samples: int) -> None:
            gate.wait()
            try:
                there.monitors.configure(monitor, replace(CONFIG, minimum_samples=samples), "ada")
            except ConflictError as error:
                told.append(error.message)

        threads = [threading.Thread(target=change, args=(number,)) for number in range(10, 14)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 3
        assert there.numbers(monitor) == [2, 1]
        newest = there.monitors.configs(monitor, Query()).items[0]
        assert there.database.monitors.get(monitor.id).config == newest.config
