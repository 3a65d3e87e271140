"""What explains a run: its images beside the baseline's, its revisions, its neighbours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parts import CLASSES, SIDE
from parts_ward import STEP, Ward, build, draw
from simulated import OWNER, START, Site
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.images import decode_image
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, MonitorRun
from tidegauge.domain.status import Status
from tidegauge.errors import NotFoundError
from tidegauge.services.explaining import changes
from tidegauge.services.labels import PostedLabel


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("template"))


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    yield Ward(site)
    site.close()


def test_the_strangest_image_stands_beside_its_nearest_with_what_is_odd(ward: Ward) -> None:
    ward.send(0, blur=True)
    found = ward.services.explaining.explain(ward.monitor, ward.look(0))
    opened = found.opened
    assert opened is not None
    assert found.usual is not None
    assert opened.shown == found.images[0]
    assert opened.beside.strangeness == max(one.image.strangeness for one in found.images)
    assert opened.beside.share == 1
    assert opened.beside.attributes["sharpness"] < -3
    assert opened.nearest_label == opened.shown.image.nearest.partition("/")[0]
    assert dict(opened.scores)[opened.shown.image.prediction] == pytest.approx(0.9)
    assert (opened.status, opened.latency_ms) == (200, pytest.approx(0.9, abs=0.5))
    assert opened.request is not None
    assert opened.request.tensors[0][2] == (1, SIDE, SIDE, 1)
    assert opened.response is not None


def test_an_image_of_ones_choice_is_opened_between_its_neighbours(ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    order = ward.services.explaining.explain(ward.monitor, run).images
    third = order[2].image
    opened = ward.services.explaining.explain(ward.monitor, run, (third.event_id, third.index)).opened
    assert opened is not None
    assert (opened.place, opened.previous, opened.shown, opened.next) == (3, order[1], order[2], order[3])
    with pytest.raises(NotFoundError, match="no image 4 of event"):
        ward.services.explaining.explain(ward.monitor, run, (third.event_id, 4))


def test_a_label_finds_its_image(ward: Ward) -> None:
    ids = ward.send(0)
    ward.look(0)
    ward.services.runs.post_labels(ward.monitor, [PostedLabel(ids[0], "PNEUMONIA")], OWNER)
    found = ward.services.explaining.explain(ward.monitor, ward.look(0), (ids[0], 0))
    assert found.opened is not None
    assert found.opened.shown.label == "PNEUMONIA"
    assert [one.label for one in found.images].count(None) == len(ids) - 1


def test_images_are_those_that_were_sent_and_those_that_were_trained_on(ward: Ward) -> None:
    ids = ward.send(0)
    run = ward.look(0)
    for id_ in ids:
        png = ward.services.showing.image(ward.monitor, run, id_, 0)
        assert (decode_image(png) == ward.sent[id_][:, :, 0]).all()
    found = ward.services.showing.training(ward.monitor, 1, run.images[0].nearest)
    assert decode_image(found.png).shape == (SIDE, SIDE)
    with pytest.raises(NotFoundError, match=r"have no image 'nonsense\.png'"):
        ward.services.showing.training(ward.monitor, 1, "nonsense.png")


def test_training_images_are_found_in_arrays(ward: Ward, tmp_path: Path) -> None:
    images, labels = draw(6, np.random.default_rng(7))
    (tmp_path / "arrays").mkdir()
    np.savez(tmp_path / "arrays" / "a.npz", x=images[:4], y=labels[:4])
    np.savez(tmp_path / "arrays" / "b.npz", x=images[4:], y=labels[4:])
    ward.site.register(RepositoryKind.DATASET, "arrays", tmp_path / "arrays")
    drift = ward.monitor.config.drift
    train = replace(drift.train_data, dataset="arrays")  # type: ignore[type-var]
    config = replace(ward.monitor.config, drift=replace(drift, train_data=train))
    ward.services.database.monitors.update(ward.monitor_id, config=config)
    found = ward.services.showing.training(ward.monitor, 1, "b.npz#1")
    assert (decode_image(found.png) == images[5][:, :, 0]).all()
    assert found.label == labels[5]
    with pytest.raises(NotFoundError):
        ward.services.showing.training(ward.monitor, 1, "b.npz#2")


def test_a_run_of_an_earlier_configuration_shows_the_training_data_of_then(ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    drift = ward.monitor.config.drift
    train = replace(drift.train_data, dataset="another")  # type: ignore[type-var]
    config = replace(ward.monitor.config, drift=replace(drift, train_data=train))
    ward.services.database.monitors.update(ward.monitor_id, config=config, config_version=2)
    assert ward.services.showing.training(ward.monitor, run.config_version, run.images[0].nearest).png
    with pytest.raises(NotFoundError, match="'another'"):
        ward.services.showing.training(ward.monitor, 2, run.images[0].nearest)


def test_a_deleted_event_is_said_to_be_deleted(ward: Ward) -> None:
    ids = ward.send(0)
    before = ward.look(0)
    ward.services.showing.image(ward.monitor, before, ids[0], 0)  # and is kept in memory for a while
    ward.forget(ids[0])
    with pytest.raises(NotFoundError, match="was deleted"):
        ward.services.showing.image(ward.monitor, before, ids[0], 0)
    opened = ward.services.explaining.explain(ward.monitor, before, (ids[0], 0)).opened
    assert opened is not None
    assert opened.shown.deleted
    assert (opened.request, opened.response) == (None, None)


def test_windows_before_and_after_are_found(ward: Ward) -> None:
    for window in range(3):
        ward.send(window)
    runs = [ward.look(window) for window in range(3)]
    found = [ward.services.explaining.explain(ward.monitor, run) for run in runs]
    assert [one.previous for one in found] == [None, *runs[:2]]
    assert [one.next for one in found] == [*runs[1:], None]


def test_another_baseline_compares_nothing_with_a_run_of_before(ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    images = tuple(replace(one, nearest="gone.png") for one in run.images)
    ward.services.database.monitor_runs.update(run.id, images=images)
    found = ward.services.explaining.explain(ward.monitor, replace(run, images=images))
    assert (found.is_current, found.usual) == (False, None)
    assert found.opened is not None
    assert found.opened.nearest_problem
    assert found.opened.beside.attributes == {}


def test_revisions_say_what_they_changed(ward: Ward) -> None:
    ids = ward.send(0)
    ward.look(0)
    labels = [PostedLabel(id_, "PNEUMONIA") for id_ in ids]
    ward.services.runs.post_labels(ward.monitor, labels, OWNER)
    run = ward.look(0)
    first, second = ward.services.explaining.revisions(run)
    assert (first.run.revision, first.changes) == (1, ())
    assert second.run == run
    changed = {change.what: change for change in second.changes}
    accuracy = changed["accuracy"]
    assert (accuracy.before.value, accuracy.after.n) == (None, len(ids))  # type: ignore[union-attr]
    assert "image" not in changed


def test_changes_name_statuses_and_metrics_that_differ() -> None:
    before = MonitorRun(
        "a", "m", 1, START, START + STEP, 1, START,
        Status.HEALTHY, Status.HEALTHY, Status.HEALTHY, Status.UNKNOWN,
        (Metric("image", MetricType.DRIFT, 0.2, 9, Status.HEALTHY),),
    )  # fmt: skip
    moved = Metric("image", MetricType.DRIFT, 0.9, 12, Status.CRITICAL)
    after = replace(before, status=Status.CRITICAL, drift=Status.CRITICAL, metrics=(moved,))
    found = [(change.what, change.before, change.after) for change in changes(before, after)]
    assert found == [
        ("status", "healthy", "critical"),
        ("drift", "healthy", "critical"),
        ("image", before.metrics[0], moved),
    ]
    assert changes(before, before) == ()
