"""The deletion of logged events."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from parts import CLASSES, SIDE, image
from parts_collector import report
from simulated import OWNER, START, Site
from tidegauge.domain.monitor import Cause, Monitor, MonitorRun
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.services.labels import PostedLabel

STEP = timedelta(minutes=5)
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)


class Clinic:
    """A site with a monitor, whose patients may ask for the deletion of their images."""

    def __init__(self, site: Site, monitor: Monitor) -> None:
        self.site = site
        self.monitor = monitor
        self.services = site.services
        self.database = site.services.database
        self.rng = np.random.default_rng(1)

    def go(self, window: int, n: int = 8) -> list[str]:
        images, labels = draw(n, self.rng)
        start = START + window * STEP
        times = [start + STEP * (k + 1) / (n + 1) for k in range(n)]
        ids = self.site.send(images, SURE[(labels == "PNEUMONIA").astype(int)], times)
        self.look(window)
        return ids

    def look(self, window: int) -> MonitorRun:
        self.site.clock.now = max(self.site.clock.now, START + (window + 1) * STEP + timedelta(seconds=10))
        self.site.work()
        start = START + window * STEP
        return self.services.monitors.runs(self.fresh(), start, start + STEP)[-1]

    def fresh(self) -> Monitor:
        return self.services.monitors.get(OWNER, self.monitor.id)

    def delete(self, *ids: str) -> None:
        self.services.erasures.begin(self.site.deployment, ids, OWNER, "asked for")
        while self.database.erasures.where(done_at=None):
            time.sleep(0.02)

    def places(self, text: str) -> list[str]:
        """Return every file of the home that has a text, in its bytes or in its table."""
        found = []
        for path in (self.services.settings.home).rglob("*"):
            if not path.is_file():
                continue
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += str(pq.read_table(path).to_pydict()).encode()
            if path.suffix == ".npz":
                with np.load(path) as arrays:
                    content += b"".join(array.tobytes() for array in arrays.values())
            if text.encode() in content:
                found.append(str(path))
        return found


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.choice(CLASSES, n)
    return np.stack([image(str(label), rng) for label in labels]), labels


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    site = Site.build(folder / "home", CLASSES)
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
    site.add_images("pool", folder / "pool", *draw(300, np.random.default_rng(0)))
    site.monitor("pool", SIDE)
    site.close()
    return folder / "home"


@pytest.fixture
def clinic(tmp_path: Path, template: Path) -> Iterator[Clinic]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    (monitor,) = site.services.database.monitors.where()
    site.deployment = site.services.database.deployments.get(monitor.deployment_id)
    yield Clinic(site, monitor)
    site.close()


def test_a_deleted_event_is_in_no_file_any_more(clinic: Clinic) -> None:
    ids = clinic.go(0)
    clinic.go(1)
    clinic.services.runs.post_labels(clinic.fresh(), [PostedLabel(ids[2], "NORMAL")], OWNER)
    clinic.look(0)
    assert len(clinic.places(ids[2])) >= 3
    clinic.delete(ids[2])
    clinic.look(0)
    assert clinic.places(ids[2]) == []
    assert all(clinic.places(other) for other in ids if other != ids[2])


def test_windows_of_a_deleted_event_are_looked_at_again_without_it(clinic: Clinic) -> None:
    ids = clinic.go(0)
    clinic.go(1)
    clinic.delete(ids[2])
    run = clinic.look(0)
    assert (run.revision, run.cause) == (2, Cause.DELETED_EVENTS)
    assert run.metric("requests").value == 7  # type: ignore[union-attr]
    revisions = clinic.database.monitor_runs.where(monitor_id=clinic.monitor.id, start=START)
    assert [len(run.images) for run in sorted(revisions, key=lambda run: run.revision)] == [7, 7]
    assert clinic.look(1).revision == 1


def test_a_deleted_event_that_is_sent_again_stays_away(clinic: Clinic) -> None:
    ids = clinic.go(0)
    clinic.delete(ids[0])
    clinic.look(0)
    held = clinic.services.collector._journal
    images, _ = draw(1, clinic.rng)
    events = clinic.site.events(ids[0], images[0], SURE[0], START + STEP / 3)
    report(clinic.services.collector, clinic.site.deployment.id, events, clinic.site.clock())
    clinic.look(0)
    assert held.sealed() == []
    assert clinic.places(ids[0]) == []
    assert clinic.look(0).metric("requests").value == 7  # type: ignore[union-attr]


def test_an_event_that_waits_for_its_other_half_is_deleted(clinic: Clinic) -> None:
    images, _ = draw(1, clinic.rng)
    request, response = clinic.site.events("half-of-it", images[0], SURE[0], START + STEP / 3)
    report(clinic.services.collector, clinic.site.deployment.id, [request], clinic.site.clock())
    clinic.look(0)
    clinic.delete("half-of-it")
    report(clinic.services.collector, clinic.site.deployment.id, [response], clinic.site.clock())
    clinic.look(0)
    assert clinic.places("half-of-it") == []


@pytest.mark.parametrize("seconds", [3, 3599])
def test_halves_of_different_hours_are_deleted(clinic: Clinic, seconds: int) -> None:
    """KServe's logger gives each its own time."""
    images, _ = draw(1, clinic.rng)
    request, response = clinic.site.events("at-the-turn", images[0], SURE[0], START + 11 * STEP)
    request = replace(request, time=START + timedelta(seconds=3599))
    response = replace(response, time=request.time + timedelta(seconds=seconds))
    clinic.site.clock.now = START + 24 * STEP
    report(clinic.services.collector, clinic.site.deployment.id, [request, response], clinic.site.clock())
    clinic.look(11)
    assert len(clinic.services.collector.log.files(clinic.site.deployment.id)) == 2
    clinic.delete("at-the-turn")
    clinic.look(11)
    assert clinic.places("at-the-turn") == []


def test_an_event_that_was_given_up_is_not_named_any_more(clinic: Clinic) -> None:
    images, _ = draw(1, clinic.rng)
    request, _response = clinic.site.events("lonely", images[0], SURE[0], START + STEP / 3)
    report(clinic.services.collector, clinic.site.deployment.id, [request], clinic.site.clock())
    clinic.look(0)
    clinic.site.clock.now = START + 21 * STEP  # more than an hour later
    clinic.go(20)
    clinic.services.schedule.backfill(clinic.fresh(), START, START + STEP)
    assert any("lonely" in problem for problem in clinic.look(0).problems)
    clinic.delete("lonely")
    clinic.look(0)
    assert clinic.places("lonely") == []


@pytest.mark.parametrize(
    "place", ["erasures._erase_logged", "erasures._erase_observed", "erasures._erase_results", "files.delete"]
)
def test_a_deletion_that_a_crash_interrupted_is_taken_up(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    ids = clinic.go(0)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    part, _, name = place.partition(".")
    erasures = clinic.services.erasures
    monkeypatch.setattr(erasures if part == "erasures" else erasures._files, name, crash)
    monkeypatch.setattr(clinic.services.worker, "submit", lambda *_: None)
    erasures.begin(clinic.site.deployment, [ids[1]], OWNER, "")
    with pytest.raises(KeyboardInterrupt):
        erasures.work(clinic.site.deployment.id)
    monkeypatch.undo()
    erasures.start_up()
    while clinic.database.erasures.where(done_at=None):
        time.sleep(0.02)
    run = clinic.look(0)
    assert (run.revision, run.metric("requests").value) == (2, 7)  # type: ignore[union-attr]
    assert clinic.places(ids[1]) == []


def test_a_file_that_an_older_crash_left_behind_is_found(clinic: Clinic) -> None:
    ids = clinic.go(0)
    (file,) = clinic.database.observation_files.where(deployment_id=clinic.site.deployment.id)
    store = clinic.services.store
    store.put(file.id.replace(".parquet", "-left.parquet"), store.get(file.id))
    clinic.site.clock.now = datetime.now(UTC) + timedelta(hours=2)  # the store's clock is the machine's
    clinic.delete(ids[1])
    assert clinic.places(ids[1]) == []


def test_a_deletion_is_done_when_the_log_of_the_database_has_forgotten_it(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = clinic.go(0)
    forget, done = clinic.database.forget, []

    def crash_once() -> bool:
        done.append(not clinic.database.erasures.where(done_at=None))
        if len(done) == 1:
            raise KeyboardInterrupt
        return forget()

    monkeypatch.setattr(clinic.database, "forget", crash_once)
    monkeypatch.setattr(clinic.services.worker, "submit", lambda _name, job: job())
    with pytest.raises(KeyboardInterrupt):
        clinic.services.erasures.begin(clinic.site.deployment, [ids[1]], OWNER, "")
    clinic.services.erasures.start_up()
    assert done[:2] == [False, False]
    assert clinic.places(ids[1]) == []
    (erasure,) = clinic.database.erasures.where()
    assert erasure.done_at is not None
    assert "1 files of the log" in erasure.found


def test_a_deletion_is_not_done_while_somebody_keeps_the_log_of_the_database(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = clinic.go(0)
    monkeypatch.setattr(clinic.services.worker, "submit", lambda _name, job: job())
    with monkeypatch.context() as busy:
        busy.setattr(clinic.database, "forget", lambda: False)
        clinic.services.erasures.begin(clinic.site.deployment, [ids[1]], OWNER, "")
    assert clinic.database.erasures.where(done_at=None)
    clinic.services.erasures.start_up()
    assert not clinic.database.erasures.where(done_at=None)
    assert clinic.places(ids[1]) == []


def test_the_problems_of_other_events_stay(clinic: Clinic) -> None:
    clinic.go(0)
    (run,) = clinic.database.monitor_runs.where(monitor_id=clinic.monitor.id)
    images, _ = draw(1, clinic.rng)
    events = clinic.site.events("1", images[0], SURE[0], START + STEP / 3)
    report(clinic.services.collector, clinic.site.deployment.id, events, clinic.site.clock())
    clinic.look(0)
    problems = ("Event 1: no.", "Event 12: 1 of 1.")
    clinic.database.monitor_runs.update(run.id, problems=problems)
    clinic.delete("1")
    assert clinic.database.monitor_runs.get(run.id).problems == ("Event 12: 1 of 1.",)


def test_a_baseline_that_was_made_of_the_event_forgets_its_name_and_thumbnail(clinic: Clinic) -> None:
    ids = [id_ for window in range(8) for id_ in clinic.go(window, 14)]
    clinic.services.acceptance.accept(clinic.fresh(), START, START + 8 * STEP, OWNER, "")
    while clinic.fresh().progress:
        time.sleep(0.02)
    clinic.go(8)
    evidence = clinic.fresh().evidence
    baseline = clinic.services.baselines.load(clinic.fresh())
    row = baseline.paths.index(f"event {ids[5]} [0]")
    clinic.delete(ids[5])
    after = clinic.services.baselines.load(clinic.fresh())
    assert after.paths[row] == "a deleted event"
    assert baseline.image is not None
    assert after.image is not None
    assert baseline.image.reduced[row].any()
    assert not after.image.reduced[row].any()
    assert clinic.places(ids[5]) == []
    assert clinic.fresh().evidence == evidence
    clinic.go(9)
    assert clinic.fresh().evidence.result.n == evidence.result.n + 8  # type: ignore[union-attr]


def test_an_unknown_event_is_told_and_nothing_is_deleted(clinic: Clinic) -> None:
    ids = clinic.go(0)
    with pytest.raises(NotFoundError, match="has no event 'nobody'; nothing was deleted"):
        clinic.services.erasures.begin(clinic.site.deployment, [ids[0], "nobody"], OWNER, "")
    with pytest.raises(InvalidInputError, match="event_ids has 0 events"):
        clinic.services.erasures.begin(clinic.site.deployment, [], OWNER, "")
    assert clinic.database.erasures.count() == 0
    assert clinic.places(ids[0])


def test_an_event_of_a_deployment_without_a_monitor_is_deleted(clinic: Clinic) -> None:
    deployment = clinic.site.add_deployment("other", clinic.site.deployment.model_id)
    images, _ = draw(2, clinic.rng)
    clinic.site.deployment = deployment
    times: list[datetime] = [START, START + STEP]
    ids = clinic.site.send(images, SURE, times)
    clinic.delete(ids[0])
    assert clinic.places(ids[0]) == []
    assert clinic.places(ids[1])


def test_asking_twice_deletes_once(clinic: Clinic) -> None:
    ids = clinic.go(0)
    clinic.delete(ids[0])
    (again,) = clinic.services.erasures.begin(clinic.site.deployment, [ids[0]], OWNER, "")
    assert again.done_at is not None
    assert (again.event_id, again.note) == ("", "asked for")


def test_a_deletion_that_is_asked_for_while_another_is_under_way_is_done(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = clinic.go(0)
    begun, gate = threading.Event(), threading.Event()
    forget = clinic.database.forget

    def held() -> bool:
        begun.set()
        assert gate.wait(30)
        return forget()

    monkeypatch.setattr(clinic.database, "forget", held)
    clinic.services.erasures.begin(clinic.site.deployment, [ids[0]], OWNER, "")
    assert begun.wait(30)
    clinic.services.erasures.begin(clinic.site.deployment, [ids[1]], OWNER, "")
    gate.set()
    until = time.monotonic() + 30
    while clinic.database.erasures.where(done_at=None) and time.monotonic() < until:
        time.sleep(0.02)
    assert all(erasure.done_at for erasure in clinic.database.erasures.where())
    assert clinic.places(ids[1]) == []
