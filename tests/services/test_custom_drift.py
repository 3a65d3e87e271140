"""Drift scores from a function of the user, in windows on a clock of the test's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from parts import CLASSES, SIDE, image
from simulated import OWNER, START, Site
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Cause, Metric, MonitorRun
from tidegauge.domain.monitor_config import CustomFunction
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold
from tidegauge.errors import InvalidInputError

STEP = timedelta(minutes=5)
SCORE = "return abs(float(baseline.mean()) - float(window.mean())) / 255"


class Ward:
    """A site whose monitor scores drift by a function that the test writes."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.database = site.services.database
        self.folder = folder

    def watch(self, *lines: str) -> None:
        code = self.folder / "code"
        code.mkdir()
        body = "\n".join(f"    {line}" for line in lines)
        (code / "drift.py").write_text(f"def score(baseline, window):\n{body}\n")
        self.site.register(RepositoryKind.CODE, "metrics", code)
        self.monitor = self.site.monitor(
            "pool", SIDE, algorithm="custom", custom=CustomFunction("metrics", 1, "drift.py:score")
        )

    def go(self, window: int, images: np.ndarray) -> MonitorRun:
        times = [START + STEP * (window + k / len(images)) for k in range(len(images))]
        self.site.send(images, np.tile(np.float32([[0.9, 0.1]]), (len(images), 1)), times)
        self.site.clock.now = START + (window + 1) * STEP + timedelta(seconds=10)
        self.site.work()
        return self.run(window)

    def run(self, window: int) -> MonitorRun:
        start = START + window * STEP
        return self.database.monitor_runs.where(monitor_id=self.monitor.id, start=start, sort="revision")[-1]

    def score(self, run: MonitorRun) -> Metric:
        metric = run.metric("image")
        assert metric is not None
        return metric


def draw(n: int, level: int = 0) -> np.ndarray:
    rng = np.random.default_rng(3)
    images = np.stack([image("NORMAL", rng) for _ in range(n)])
    return np.clip(images.astype(int) + level, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    site = Site.build(folder / "home", CLASSES)
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 5, "PNEUMONIA")
    rng = np.random.default_rng(0)
    images = np.stack([image("NORMAL", rng) for _ in range(60)])
    site.add_images("pool", folder / "pool", images, np.array(["NORMAL"] * 60))
    site.close()
    return folder / "home"


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    (site.deployment,) = site.services.database.deployments.where()
    yield Ward(site, tmp_path)
    site.close()


def test_the_score_is_what_the_function_returns_for_baseline_and_window(ward: Ward) -> None:
    ward.watch(SCORE)
    quiet, bright = ward.score(ward.go(0, draw(6))), ward.score(ward.go(1, draw(6, 51)))
    assert quiet.value == pytest.approx(0, abs=0.01)
    assert bright.value == pytest.approx(0.2, abs=0.01)
    assert (bright.n, bright.type) == (6, MetricType.DRIFT)
    assert len(ward.run(1).images) == 6


def test_images_come_as_they_were_asked_about(ward: Ward) -> None:
    shape = f"(6, {SIDE}, {SIDE}, 1)"
    sample = f"(60, {SIDE}, {SIDE}, 1)"
    checks = f"window.shape == {shape} and baseline.shape == {sample} and window.dtype == 'uint8'"
    images = draw(6)
    ward.watch(
        f"ok = {checks} and baseline.dtype == 'uint8'", f"return float(ok and window.sum() == {images.sum()})"
    )
    assert ward.score(ward.go(0, images)).value == 1.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("return float('nan')", "It returned nan, not a score from 0 to 1."),
        ("return 1.2", "It returned 1.2, not a score from 0 to 1."),
        ("return -0.1", "It returned -0.1, not a score from 0 to 1."),
        ("return True", "It returned True, not a score from 0 to 1."),
        ("return None", "It returned None, not a score from 0 to 1."),
        ("return {}['ward']", "KeyError: 'ward' (drift.py, line 2)."),
    ],
)
def test_without_a_score_the_verdict_is_unknown_and_the_run_says_why(
    ward: Ward, line: str, said: str
) -> None:
    ward.watch(line)
    bounds = Threshold("image", MetricType.DRIFT, 0.1, 0.2)
    ward.database.monitors.update(ward.monitor.id, thresholds={"image": bounds})
    run = ward.go(0, draw(6))
    assert (ward.score(run).value, ward.score(run).status) == (None, Status.UNKNOWN)
    assert run.problems == (f"drift.py:score of 'metrics' v1: {said}",)


def test_why_there_is_no_score_outlives_late_labels(ward: Ward) -> None:
    ward.watch("raise ValueError('no ward')")
    first = ward.go(0, draw(6))
    label = f"timestamp,output,label\n{START.isoformat()},NORMAL,NORMAL\n".encode()
    ward.site.services.deployments.put_labels(ward.site.deployment, "a.csv", label)
    ward.site.work()
    again = ward.run(0)
    assert (again.cause, again.revision) == (Cause.LATE_LABELS, 2)
    assert again.problems == first.problems != ()


def test_it_is_not_called_for_a_window_without_images(ward: Ward) -> None:
    ward.watch("raise ValueError('called')")
    ward.site.clock.now = START + STEP + timedelta(seconds=10)
    ward.site.work()
    run = ward.run(0)
    assert (ward.score(run).value, run.problems) == (None, ())


def test_an_accepted_window_is_what_the_function_compares_with(ward: Ward) -> None:
    ward.watch(SCORE)
    bright = ward.score(ward.go(0, draw(120, 51)))
    services = ward.site.services
    monitor = services.monitors.get(OWNER, ward.monitor.id)
    services.acceptance.accept(monitor, START, START + STEP, OWNER, "a new device")
    while services.monitors.get(OWNER, monitor.id).progress:
        pass
    same = ward.score(ward.go(1, draw(6, 51)))
    assert bright.value == pytest.approx(0.2, abs=0.01)
    assert same.value == pytest.approx(0.0, abs=0.01)


def test_a_function_that_is_not_there_is_refused(ward: Ward) -> None:
    with pytest.raises(InvalidInputError, match=r"drift\.custom: There is no code 'metrics'"):
        ward.site.monitor(
            "pool", SIDE, algorithm="custom", custom=CustomFunction("metrics", 1, "drift.py:score")
        )
