"""Alarm, acceptance and advice as pages, on a monitor with a real baseline and a clock of the test's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from fastapi.testclient import TestClient

from parts import CLASSES, SIDE, finish, image
from simulated import OWNER, START, Site
from tidegauge.app import create_app
from tidegauge.domain.monitor import Monitor

STEP = timedelta(minutes=5)
N = 12
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)


class Ward:
    """A site with traffic that is turned upside down from the second window on, and its pages."""

    def __init__(self, site: Site, pages: TestClient, monitor: Monitor) -> None:
        self.site = site
        self.pages = pages
        self.path = f"/monitors/{monitor.id}"

    def fresh(self) -> Monitor:
        return self.site.services.monitors.get(OWNER, self.site.monitor_id)

    def go(self, window: int, *, upside_down: bool) -> None:
        start = START + window * STEP
        images, labels = draw(N, np.random.default_rng(window))
        times = [start + STEP * (k + 1) / (N + 1) for k in range(N)]
        turned = images[:, ::-1, ::-1] if upside_down else images
        self.site.send(turned, SURE[(labels == "PNEUMONIA").astype(int)], times)
        self.site.clock.now = start + STEP + timedelta(seconds=10)
        self.site.work()


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.choice(CLASSES, n)
    return np.stack([image(str(label), rng) for label in labels]), labels


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    site = Site.build(folder / "home", CLASSES)
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
    site.add_images("pool", folder / "pool", *draw(200, np.random.default_rng(99)))
    monitor = site.monitor("pool", SIDE)
    token = site.services.people.issue_for(OWNER, "test")
    headers = {"Authorization": f"Bearer {token}", "Origin": "http://testserver"}
    pages = TestClient(create_app(site.services), follow_redirects=False, headers=headers)
    made = Ward(site, pages, monitor)
    for window in range(11):
        made.go(window, upside_down=window > 0)
    yield made
    site.close()


def test_thresholds_are_viewed_with_what_they_would_do(ward: Ward) -> None:
    typed = {"json": '{"image": {"type": "drift", "soft": 0.42, "hard": 0.55}}'}
    page = ward.pages.post(f"{ward.path}/thresholds/upload", data=typed).text
    assert re.search(r"(about|never|less than).* past soft, .* past hard\.", page)
    assert "On clean data they cry at most" in page
    assert f"windows of {N} images" in page
    assert "clean data yet" not in page
    assert not ward.fresh().thresholds


def test_a_suggestion_fills_the_view_and_keeps_what_it_knows_nothing_of(ward: Ward) -> None:
    known = {"f1_score": {"type": "performance", "soft": 0.7, "hard": 0.4}}
    ward.site.services.monitors.set_thresholds(ward.fresh(), known)
    page = ward.pages.post(f"{ward.path}/thresholds/suggest", data={"size": "12"}).text
    for name in ("f1_score", "image", "prediction"):
        assert f"<b>{name}</b>" in page
    assert "past soft" in page
    assert ward.fresh().thresholds.keys() == {"f1_score"}


def test_an_alarm_is_acknowledged_with_a_note(ward: Ward) -> None:
    page = ward.pages.get(f"{ward.path}/acknowledge").text
    assert "Drift alarm" in page
    assert "leads" in page
    answer = ward.pages.post(f"{ward.path}/acknowledge", data={"note": "turned plates"})
    assert answer.headers["location"] == ward.path
    assert "There is no drift alarm" in ward.pages.get(f"{ward.path}/acknowledge").text
    assert "turned plates" in ward.pages.get(f"{ward.path}/acknowledgements").text


def test_a_window_is_accepted_and_the_page_says_so(ward: Ward) -> None:
    first, last = (START + STEP).strftime("%Y-%m-%dT%H:%M"), (START + 11 * STEP).strftime("%Y-%m-%dT%H:%M")
    few = ward.pages.post(f"{ward.path}/accept", data={"start": "2026-03-01T00:00", "end": first})
    assert few.status_code == 422
    assert "there are 12 images; give a span with 100 or more" in few.text
    before = ward.fresh().baseline
    answer = ward.pages.post(f"{ward.path}/accept", data={"start": first, "end": last, "note": "it is right"})
    assert answer.headers["location"] == f"{ward.path}/accept"
    finish(ward.site.services.worker)
    page = ward.pages.get(f"{ward.path}/accept").text
    assert "as the baseline. it is right" in page
    assert ward.fresh().baseline != before
