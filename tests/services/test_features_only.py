"""A monitor that keeps features, and no images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from parts import CLASSES, SIDE, image
from parts_collector import report
from simulated import OWNER, START, Site
from tidegauge.domain.monitor import Monitor, MonitorRun, MonitorState
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError

STEP = timedelta(minutes=5)
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)


class Practice:
    """A site with two deployments of one model: the monitor of one keeps images, that of the other none."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.services = site.services
        self.database = site.services.database
        self.rng = np.random.default_rng(1)
        monitors = {monitor.config.keep_images: monitor for monitor in self.database.monitors.where()}
        self.keeps, self.forgets = monitors[True], monitors[False]

    def send(self, window: int, n: int = 8, *, upside_down: bool = False) -> list[str]:
        """Send the same to both."""
        images, labels = draw(n, self.rng)
        if upside_down:
            images = images[:, ::-1, ::-1]
        start = START + window * STEP
        self.site.clock.now = max(self.site.clock.now, start + STEP)
        ids = [f"event-{window}-{k}" for k in range(n)]
        for monitor in (self.keeps, self.forgets):
            self.site.deployment = self.database.deployments.get(monitor.deployment_id)
            for k, id_ in enumerate(ids):
                score = SURE[int(labels[k] == "PNEUMONIA")]
                events = self.site.events(id_, images[k], score, start + STEP * (k + 1) / (n + 1))
                report(self.services.collector, monitor.deployment_id, events, self.site.clock())
        return ids

    def look(self, window: int) -> tuple[MonitorRun, MonitorRun]:
        self.site.clock.now = max(self.site.clock.now, START + (window + 1) * STEP + timedelta(seconds=10))
        self.site.work()
        start = START + window * STEP
        kept, forgotten = (
            self.services.monitors.runs(self.fresh(monitor), start, start + STEP)[-1]
            for monitor in (self.keeps, self.forgets)
        )
        return kept, forgotten

    def fresh(self, monitor: Monitor) -> Monitor:
        return self.services.monitors.get(OWNER, monitor.id)

    def pixels(self, monitor: Monitor) -> int:
        """Return how many files of the store have pixels of a deployment: payloads, or thumbnails."""
        count = 0
        for path in (self.services.settings.home / "store" / monitor.deployment_id).rglob("*.parquet"):
            table = pq.read_table(path).to_pylist()
            asked = [row["data"] for row in table if row.get("type", "").endswith("request")]
            count += any(asked) or any("reduced" in row for row in table)
        return count


def near(value: object) -> object:
    return pytest.approx(value, rel=1e-4) if isinstance(value, float) else value


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
    site.deployment = site.add_deployment("private", site.deployment.model_id)
    site.monitor("pool", SIDE, general={"keep_images": False})
    site.close()
    return folder / "home"


@pytest.fixture
def practice(tmp_path: Path, template: Path) -> Iterator[Practice]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    yield Practice(site)
    site.close()


def test_scores_verdicts_and_evidence_are_those_of_a_monitor_that_keeps_images(practice: Practice) -> None:
    for window in range(4):
        practice.send(window, upside_down=window >= 2)
        kept, forgotten = practice.look(window)
        assert forgotten.metrics == kept.metrics
        # Sums of float32 end otherwise where fewer images are looked at at once: evidence looks at a minute.
        for one, other in ((forgotten.images, kept.images), ((forgotten.evidence,), (kept.evidence,))):
            assert len(one) == len(other)
            for mine, theirs in zip(map(asdict, one), map(asdict, other), strict=True):
                assert list(map(near, mine.values())) == list(theirs.values())
        assert (forgotten.status, forgotten.drift) == (kept.status, kept.drift)
    assert kept.evidence.alarm is True  # type: ignore[union-attr]


def test_no_pixels_stay_in_the_store(practice: Practice) -> None:
    for window in range(2):
        practice.send(window)
        practice.look(window)
    assert practice.pixels(practice.keeps) > 0
    assert practice.pixels(practice.forgets) == 0
    assert not list((practice.services.settings.home / "collector").glob("*.segment"))


def test_what_a_crash_left_is_taken_out_the_next_time(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    practice.send(0)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(practice.services.runs._redacting, "follow", crash)
    with pytest.raises(KeyboardInterrupt):
        practice.look(0)
    assert practice.pixels(practice.forgets) > 0
    monkeypatch.undo()
    practice.look(0)
    assert practice.pixels(practice.forgets) == 0


def test_an_image_whose_answer_comes_later_is_read_before_it_goes(practice: Practice) -> None:
    images, _ = draw(1, practice.rng)
    practice.site.deployment = practice.database.deployments.get(practice.forgets.deployment_id)
    request, response = practice.site.events("slow", images[0], SURE[0], START + STEP / 2)
    for part in (request, response):
        report(practice.services.collector, practice.forgets.deployment_id, [part], practice.site.clock())
        practice.site.clock.now = START + STEP - timedelta(seconds=10)
        practice.site.work()
    _, run = practice.look(0)
    assert run.metric("image").n == 1  # type: ignore[union-attr]
    assert practice.pixels(practice.forgets) == 0


def test_what_was_logged_before_goes_too_and_its_windows_stay_as_they_are(practice: Practice) -> None:
    for window in range(2):
        practice.send(window)
        practice.look(window)
    monitors = practice.services.monitors
    monitor = monitors.stop(practice.fresh(practice.keeps), OWNER)
    monitor = monitors.configure(monitor, replace(monitor.config, keep_images=False), OWNER)
    while (monitor := practice.fresh(monitor)).state is MonitorState.BASELINING:
        pass
    monitors.start(monitor, OWNER)
    practice.send(2)
    practice.look(2)
    assert practice.pixels(practice.keeps) == 0
    runs = monitors.runs(practice.fresh(monitor), None, None)
    assert [run.revision for run in runs] == [1, 1, 1]


def test_what_needs_images_says_why_there_are_none(practice: Practice) -> None:
    practice.send(0)
    _, run = practice.look(0)
    monitor = practice.fresh(practice.forgets)
    with pytest.raises(NotFoundError, match=r"keeps no images \(keep_images: false\)"):
        practice.services.showing.image(monitor, run, run.images[0].event_id, 0)
    with pytest.raises(ConflictError, match="a baseline is made of images"):
        practice.services.acceptance.accept(monitor, START, START + STEP, OWNER, "")
    foreign = replace(monitor.config.drift, predict_data="dataset", predict_dataset="pool")
    with pytest.raises(InvalidInputError, match="whose files are not ours to change"):
        replace(monitor.config, drift=foreign).check()


def test_an_event_that_is_deleted_while_its_file_is_redacted_stays_away(
    practice: Practice, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = practice.send(0)
    deployment = practice.database.deployments.get(practice.forgets.deployment_id)
    log = practice.services.runs._redacting._log
    read = log._store.get_tagged

    def overtaken(path: str) -> tuple[bytes, str]:
        found = read(path)
        monkeypatch.setattr(log._store, "get_tagged", read)
        practice.services.erasures.begin(deployment, ids[:1], OWNER, "")
        while practice.database.erasures.where(done_at=None):
            time.sleep(0.02)
        return found  # as it was before the deletion

    monkeypatch.setattr(log._store, "get_tagged", overtaken)
    practice.look(0)
    logged = [
        record.event.id for path in log.files(deployment.id) for record in log.file(deployment.id, path)
    ]
    assert ids[0] not in logged
    assert ids[1] in logged
