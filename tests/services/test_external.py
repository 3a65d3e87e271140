"""Deployments that are nothing but their events: registered, changed, and monitored end to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest

from parts import CLASSES, SIDE
from parts_ward import SURE, draw
from simulated import OWNER, START, Clock, Site
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorRun, MonitorState
from tidegauge.domain.monitor_config import DriftConfig, MonitorConfig, PerformanceConfig, TrainData
from tidegauge.domain.status import Status
from tidegauge.domain.users import Principal, Role, Scope, Token, User
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.services.labels import PostedLabel

STEP = timedelta(minutes=5)
N = 60


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.build(tmp_path / "home", CLASSES, Clock())
    yield site
    site.close()


def register(site: Site, name: str = "elsewhere", **fields: Any) -> None:
    site.deployment = site.services.deployments.register(name, OWNER, **fields)


def fields_of(refused: pytest.ExceptionInfo[Any]) -> set[str]:
    return {error.field for error in refused.value.errors}


class Watch:
    """The monitor of an external deployment, shown a window of five minutes after the other."""

    def __init__(self, site: Site, monitor: Monitor) -> None:
        self.site = site
        self.id = monitor.id
        self.rng = np.random.default_rng(5)

    @property
    def monitor(self) -> Monitor:
        return self.site.services.monitors.get(OWNER, self.id)

    def images(self, window: int, *, blur: bool = False) -> tuple[MonitorRun, list[str], np.ndarray]:
        images, labels = draw(N, self.rng)
        if blur:
            images = np.stack([cv2.blur(one, (7, 7))[:, :, np.newaxis] for one in images])
        scores = SURE[(labels == "PNEUMONIA").astype(int)]
        ids = self.site.send(images, scores, self._times(window))
        return self._look(window), ids, labels

    def rows(self, window: int, table: dict[str, Any], answers: list[Any]) -> tuple[MonitorRun, list[str]]:
        asked = [[row] for row in pl.DataFrame(table).to_dicts()]
        ids = self.site.ask(asked, [[answer] for answer in answers], self._times(window))
        return self._look(window), ids

    def label(self, window: int, ids: list[str], labels: list[Any]) -> MonitorRun:
        posted = [PostedLabel(id_, label) for id_, label in zip(ids, labels, strict=True)]
        self.site.services.runs.post_labels(self.monitor, posted, OWNER)
        return self._look(window)

    def accept(self, windows: int) -> None:
        acceptance = self.site.services.acceptance
        acceptance.accept(self.monitor, START, START + windows * STEP, OWNER, "as it is")
        while self.monitor.progress:
            time.sleep(0.02)
        assert not self.monitor.message

    def _times(self, window: int) -> list[Any]:
        start = START + window * STEP
        self.site.clock.now = max(self.site.clock.now, start + STEP)
        return [start + STEP * (k + 1) / (N + 1) for k in range(N)]

    def _look(self, window: int) -> MonitorRun:
        start = START + window * STEP
        self.site.clock.now = max(self.site.clock.now, start + STEP) + timedelta(seconds=10)
        self.site.work()
        return self.site.services.monitors.runs(self.monitor, start, start + STEP)[-1]


def watch_images(site: Site, folder: Path) -> Watch:
    site.add_images("pool", folder / "pool", *draw(120, np.random.default_rng(0)))
    return Watch(site, site.monitor("pool", SIDE))


def patients(n: int, rng: np.random.Generator, older: float = 0) -> dict[str, Any]:
    return {"age": rng.normal(50 + older, 12, n).round(1), "ward": rng.choice(["east", "west"], n)}


def told(table: dict[str, Any]) -> list[str]:
    return ["PNEUMONIA" if age > 50 else "NORMAL" for age in table["age"]]


def watch_table(site: Site, folder: Path, model_type: str = "classification", **columns: Any) -> Watch:
    folder.mkdir()
    table = {**patients(600, np.random.default_rng(1)), **columns}
    pl.DataFrame(table).write_csv(folder / "train.csv")
    site.register(RepositoryKind.DATASET, "patients", folder)
    config = MonitorConfig(
        model_type=model_type,  # type: ignore[arg-type]
        input_data_type="tabular",
        frequency_minutes=5,
        drift=DriftConfig(enabled=True, train_data=TrainData("patients", 1)),
        performance=PerformanceConfig(enabled=True),
    )
    monitors = site.services.monitors
    monitor = monitors.create(site.deployment, config, OWNER)
    while (monitor := monitors.get(OWNER, monitor.id)).state is MonitorState.BASELINING:
        time.sleep(0.02)
    assert monitor.state is MonitorState.READY, monitor.message
    return Watch(site, monitors.start(monitor, OWNER))


def test_images_without_a_model_of_ours_are_monitored(site: Site, tmp_path: Path) -> None:
    register(site, classes=CLASSES)
    watch = watch_images(site, tmp_path)
    run, ids, labels = watch.images(0)
    image, prediction = run.metric("image"), run.metric("prediction")
    assert image
    assert image.value is not None
    assert image.n == N
    assert prediction
    assert (prediction.value, prediction.n, prediction.status) == (None, N, Status.UNKNOWN)
    assert [text for text in run.problems if "no predictions to compare with" in text]
    assert run.metric("requests").value == N  # type: ignore[union-attr]
    assert run.evidence
    assert not run.evidence.alarm
    run = watch.label(0, ids, labels.tolist())
    assert run.metric("accuracy").value == 1.0  # type: ignore[union-attr]
    run, _, _ = watch.images(1, blur=True)
    assert run.evidence
    assert run.evidence.alarm
    assert run.drift is Status.CRITICAL


def test_an_accepted_window_is_what_predictions_are_compared_with(site: Site, tmp_path: Path) -> None:
    register(site, classes=CLASSES)
    watch = watch_images(site, tmp_path)
    for window in range(2):
        watch.images(window)
    watch.accept(2)
    run, _, _ = watch.images(2)
    prediction = run.metric("prediction")
    assert prediction
    assert prediction.value is not None
    assert set(prediction.detail["baseline"]) == set(CLASSES)
    assert not run.problems


def test_a_model_of_the_catalogue_brings_its_reference(site: Site, tmp_path: Path) -> None:
    site.deploy(tmp_path / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
    register(site, model="chest-xray", version=1)
    watch = watch_images(site, tmp_path)
    run, _, _ = watch.images(0)
    assert run.metric("prediction").detail["baseline"] == {"NORMAL": 50, "PNEUMONIA": 50}  # type: ignore[union-attr]
    assert not run.problems


def test_a_table_is_monitored_and_may_bring_predictions(site: Site, tmp_path: Path) -> None:
    register(site, classes=CLASSES)
    watch = watch_table(site, tmp_path / "data", output=["NORMAL"] * 290 + ["PNEUMONIA"] * 310)
    assert {feature.name for feature in watch.monitor.inputs()} == {"age", "ward"}
    table = patients(N, watch.rng)
    run, ids = watch.rows(0, table, told(table))
    assert not run.problems
    assert run.metric("prediction").detail["baseline"] == {"NORMAL": 290, "PNEUMONIA": 310}  # type: ignore[union-attr]
    run = watch.label(0, ids, told(table))
    assert run.metric("accuracy").value == 1.0  # type: ignore[union-attr]
    for window in (1, 2):
        older = patients(N, watch.rng, older=40)
        run, _ = watch.rows(window, older, told(older))
    assert run.evidence
    assert run.evidence.alarm
    assert run.evidence.feature == "age"


def test_a_regression_without_reference_takes_it_from_an_accepted_window(site: Site, tmp_path: Path) -> None:
    register(site)
    watch = watch_table(site, tmp_path / "data", "regression")
    for window in range(2):
        table = patients(N, watch.rng)
        run, _ = watch.rows(window, table, (table["age"] / 10).tolist())
    assert run.metric("prediction").value is None  # type: ignore[union-attr]
    watch.accept(2)
    table = patients(N, watch.rng)
    run, ids = watch.rows(2, table, (table["age"] / 10 + 5).tolist())
    assert run.metric("prediction").value > 0.9  # type: ignore[union-attr, operator]
    run = watch.label(2, ids, (table["age"] / 10).tolist())
    assert run.metric("mae").value == pytest.approx(5)  # type: ignore[union-attr]


def test_it_is_what_was_told_of_it(site: Site) -> None:
    register(
        site,
        classes=("a", "b"),
        service="chest",
        namespace="ward",
        predict_url="https://models.example/v1/models/chest:predict",
        sampling=0.25,
        keep_days=30,
        keep_bytes=10**9,
    )
    found = site.services.deployments.get(OWNER, "elsewhere")
    assert found == site.deployment
    assert (found.origin, found.state, found.predict_path) == (Origin.EXTERNAL, DeploymentState.UNKNOWN, "")
    assert (found.sampling, found.keep_days, found.keep_bytes) == (0.25, 30, 10**9)


def test_it_is_found_by_what_kserve_reports(site: Site) -> None:
    register(site, service="chest", namespace="ward")
    senders = site.services.senders

    def find(service: str, namespace: str) -> tuple[Deployment, ...]:
        return asyncio.run(senders.serving(service, namespace))

    assert find("chest", "ward") == find("elsewhere", OWNER) == (site.deployment,)
    assert find("chest", "") == find("chest", OWNER) == find("elsewhere", "ward") == ()


def test_nobody_takes_the_events_of_a_deployment_by_naming_them_first(site: Site) -> None:
    deployments = site.services.deployments
    named = deployments.register("mine", "thief", service="chest", namespace=OWNER)
    own = deployments.register("chest", OWNER)
    assert asyncio.run(site.services.senders.serving("chest", OWNER)) == (own, named)
    for deployment in (own, named):  # each by the token that was issued for it
        token = Token(new_id(), "", "", Scope.INGEST, deployment.id, "", START)
        sender = Principal(User(new_id(), deployment.owner, Role.USER, START), token)
        found = asyncio.run(site.services.collector._find(sender, "http://x", "chest", OWNER))
        assert found == deployment
    with pytest.raises(InvalidInputError, match="another deployment is reported") as refused:
        deployments.register("other", "thief", service="chest", namespace=OWNER)
    assert fields_of(refused) == {"service"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"classes": ("a", "a")}, "classes"),
        ({"classes": ("1", "1.0")}, "classes"),
        ({"classes": ("only",)}, "classes"),
        ({"classes": ("a", " ")}, "classes"),
        ({"sampling": 0.0}, "sampling"),
        ({"sampling": 1.5}, "sampling"),
        ({"sampling": float("nan")}, "sampling"),
        ({"predict_url": "models.example"}, "predict_url"),
        ({"predict_url": "ftp://models.example/x"}, "predict_url"),
        ({"predict_url": "http://[::1"}, "predict_url"),
        ({"predict_url": "http://models.example/a\x00b"}, "predict_url"),
        ({"predict_url": "http://models.example:99999/"}, "predict_url"),
        ({"keep_days": -1}, "keep_days"),
        ({"keep_days": 10**6}, "keep_days"),
        ({"keep_bytes": -1}, "keep_bytes"),
        ({"keep_bytes": 2**63}, "keep_bytes"),
        ({"model": "no-such", "version": 1}, "model"),
        ({"version": 1}, "model"),
        ({"namespace": "ward"}, "service"),
        ({"service": "chest", "namespace": "taken"}, "service"),
        ({"service": "a\nb"}, "service"),
        ({"name": "Not A Name"}, "name"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(site: Site, wrong: dict[str, Any], field: str) -> None:
    register(site, "first", service="chest", namespace="taken")
    with pytest.raises(InvalidInputError) as refused:
        register(site, **{"name": "elsewhere", **wrong})
    assert fields_of(refused) == {field}
    changes = {name: value for name, value in wrong.items() if name not in ("name", "model", "version")}
    if changes:
        register(site)
        with pytest.raises(InvalidInputError) as refused:
            site.services.deployments.update(site.deployment, **changes)  # type: ignore[typeddict-item]
        assert fields_of(refused) == {field}


def test_everything_that_is_wrong_is_told_at_once(site: Site, tmp_path: Path) -> None:
    site.deploy(tmp_path / "model", ["NORMAL"], "PNEUMONIA")
    with pytest.raises(InvalidInputError) as refused:
        register(site, model="chest-xray", version=7, classes=CLASSES, sampling=2.0, keep_days=-3)
    assert fields_of(refused) == {"version", "classes", "sampling", "keep_days"}
    with pytest.raises(ConflictError, match="choose another name"):
        register(site, "chest-xray")


def test_what_its_server_does_is_not_done_here(site: Site, tmp_path: Path) -> None:
    register(site)
    update = site.services.deployments.update
    for changes, reason in (
        ({"wanted": DeploymentState.STOPPED}, "its server is not ours; do it there"),
        ({"wanted": DeploymentState.RUNNING}, "refused while its logging is off"),
        ({"version": 2}, "the model of 'elsewhere' is none of those here"),
    ):
        with pytest.raises(ConflictError, match=reason) as refused:
            update(site.deployment, **changes)  # type: ignore[typeddict-item]
        assert fields_of(refused) == set(changes)
    changed = update(
        site.deployment, classes=("a", "b"), service="s", namespace="n", sampling=0.5, keep_days=7
    )
    assert (changed.classes, changed.service, changed.sampling) == (("a", "b"), "s", 0.5)
    assert not update(changed, logging=False).logging
    assert update(changed, keep_days=None).keep_days is None
    assert update(changed, service="s").service == "s"  # its own is not taken


def test_another_version_served_elsewhere_is_told(site: Site, tmp_path: Path) -> None:
    site.deploy(tmp_path / "model", ["NORMAL"], "PNEUMONIA")
    register(site, model="chest-xray", version=1)
    model = site.services.catalogue.get(RepositoryKind.MODEL, OWNER, "chest-xray")
    site.services.catalogue.add_version(model)
    while (
        len(site.services.catalogue.versions(model)) < 2
        or site.services.catalogue.version(model, 2).state.value == "importing"
    ):
        time.sleep(0.02)
    with pytest.raises(
        ConflictError, match="classes cannot be changed: the model of 'elsewhere' is known here"
    ):
        site.services.deployments.update(site.deployment, classes=("a", "b"))
    changed = site.services.deployments.update(site.deployment, version=2)
    assert (changed.model_version, changed.state) == (2, DeploymentState.UNKNOWN)


def test_it_is_deleted_with_its_log_and_its_tokens(site: Site, tmp_path: Path) -> None:
    register(site, classes=CLASSES)
    people = site.services.people
    made = people.issue_ingest(people.owner(OWNER), site.deployment.id, "script")
    images, _ = draw(3, np.random.default_rng(0))
    site.send(images, SURE[[0, 1, 0]], [START] * 3)
    site.services.collector.flush()
    assert list(site.services.store.list(site.deployment.id))
    site.services.deployments.delete(site.deployment)
    assert not list(site.services.store.list(site.deployment.id))
    assert site.services.database.tokens.find(id=made.id) is None


def test_it_runs_while_events_come_and_is_unknown_an_hour_after(site: Site) -> None:
    register(site, classes=CLASSES)
    traffic = site.services.traffic
    assert traffic.is_quiet(site.deployment.id)
    assert traffic.flow(site.deployment.id).last is None
    images, _ = draw(3, np.random.default_rng(0))
    site.send(images, SURE[[0, 1, 0]], [START] * 3)
    site.services.collector.flush()
    flow = traffic.flow(site.deployment.id)
    assert (flow.last, flow.inferences, flow.per_minute) == (START, 3, 0.6)
    assert not traffic.is_quiet(site.deployment.id)
    site.clock.now = START + timedelta(minutes=59)
    assert not traffic.is_quiet(site.deployment.id)
    assert traffic.flow(site.deployment.id).inferences == 0
    site.clock.now = START + timedelta(minutes=60)
    assert traffic.is_quiet(site.deployment.id)
