"""The page of a run: why this verdict, and its images beside the baseline's."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Page

from parts import CLASSES
from parts_visits import somebody_else
from parts_ward import Ward, build
from simulated import OWNER, Site
from tidegauge.app import create_app
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import EvidenceResult, Metric, MonitorRun
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.links.processes import free_port
from tidegauge.services.labels import PostedLabel
from tidegauge.ui import explained

EVIL = "<script>alert(1)</script>"
THRESHOLDS = {
    "image": {"type": "drift", "soft": 0.42, "hard": 0.55},
    "accuracy": {"type": "performance", "soft": 0.8, "hard": 0.7},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("template"))


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    site.services.database.monitors.update(
        site.services.database.monitors.where()[0].id, thresholds=parse_thresholds(THRESHOLDS)
    )
    yield Ward(site)
    site.close()


@pytest.fixture
def pages(ward: Ward) -> TestClient:
    """A browser of the owner; no background work is started."""
    client = TestClient(create_app(ward.services), follow_redirects=False)
    client.cookies.set("tidegauge_token", ward.services.people.issue_for(OWNER, "test"))
    return client


def address(run: MonitorRun) -> str:
    return f"/monitors/{run.monitor_id}/runs/{run.id}"


def test_a_stranger_is_sent_to_the_sign_in_and_comes_back_to_the_image(pages: TestClient) -> None:
    pages.cookies.clear()
    answer = pages.get("/monitors/m/runs/r?image=e:0")
    assert answer.headers["location"] == "/sign-in?next=/monitors/m/runs/r%3Fimage%3De%3A0"


def test_anothers_run_and_images_are_not_there(pages: TestClient, ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    image = run.images[0]
    ward.services.database.monitors.update(run.monitor_id, owner="somebody-else")
    for path in (
        address(run),
        f"{address(run)}/images/{image.event_id}/0.png",
        f"/monitors/{run.monitor_id}/baselines/1/image.png?name={image.nearest}",
    ):
        with somebody_else(pages):
            assert pages.get(path).status_code == 404


def test_the_verdict_is_said_with_its_reasons(pages: TestClient, ward: Ward) -> None:
    ids = ward.send(0, blur=True)
    run = ward.look(0)
    ward.services.runs.post_labels(
        ward.monitor, [PostedLabel(id_, CLASSES[k % 2]) for k, id_ in enumerate(ids)], OWNER
    )
    run = ward.look(0)
    text = pages.get(address(run)).text
    assert "Critical:" in text
    assert "the images&#39; score 1 is above its hard threshold 0.55" in text
    assert "standard deviations below the baseline" in text
    assert f"/api/v1/monitors/{run.monitor_id}/runs/{run.id}" in text
    assert "Revision 2 of 2" in text
    assert "late labels" in text


def test_the_strangest_image_is_open_beside_its_nearest(pages: TestClient, ward: Ward) -> None:
    ward.send(0, blur=True)
    run = ward.look(0)
    strangest = max(run.images, key=lambda image: image.strangeness)
    text = pages.get(address(run)).text
    assert "1 of 8" in text
    assert f"{address(run)}/images/{strangest.event_id}/0.png" in text
    assert "stranger than every image of the baseline" in text
    assert strangest.nearest in text
    for path in (
        f"{address(run)}/images/{strangest.event_id}/0.png",
        f"/monitors/{run.monitor_id}/baselines/1/image.png?name={strangest.nearest}",
    ):
        answer = pages.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert "max-age" in answer.headers["cache-control"]


def test_a_link_opens_exactly_one_image(pages: TestClient, ward: Ward) -> None:
    ids = ward.send(0)
    run = ward.look(0)
    text = pages.get(address(run), params={"image": f"{ids[3]}:0"}).text
    assert f"<dd>{ids[3]}</dd>" in text
    assert pages.get(address(run), params={"image": f"{ids[3]}:7"}).status_code == 404
    assert pages.get(address(run), params={"image": "nonsense"}).status_code == 404


def test_without_images_kept_there_are_numbers_only(pages: TestClient, ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    config = replace(ward.monitor.config, keep_images=False)
    ward.services.database.monitors.update(run.monitor_id, config=config)
    text = pages.get(address(run)).text
    assert "keeps no images" in text
    assert f"{address(run)}/images/" not in text
    assert "Strangeness" in text
    assert pages.get(f"{address(run)}/images/{run.images[0].event_id}/0.png").status_code == 404


def test_a_deleted_event_is_said_to_be_deleted(pages: TestClient, ward: Ward) -> None:
    ids = ward.send(0)
    run = ward.look(0)
    ward.forget(ids[0])
    answer = pages.get(address(run), params={"image": f"{ids[0]}:0"})
    assert answer.status_code == 404
    assert "was deleted, its image with it." in answer.text
    assert pages.get(address(run)).status_code == 200


def test_windows_lead_to_each_other(pages: TestClient, ward: Ward) -> None:
    for window in range(3):
        ward.send(window)
    runs = [ward.look(window) for window in range(3)]
    text = pages.get(address(runs[1])).text
    assert f'rel="prev" href="{address(runs[0])}"' in text
    assert f'rel="next" href="{address(runs[2])}"' in text


def test_markup_in_names_is_text(pages: TestClient, ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    images = tuple(replace(image, prediction=EVIL, nearest=EVIL) for image in run.images)
    ward.services.database.monitor_runs.update(run.id, images=images, problems=(EVIL,))
    ward.services.database.monitors.update(run.monitor_id, name=EVIL)
    text = pages.get(address(run)).text
    assert EVIL not in text
    assert "&lt;script&gt;" in text


def test_a_window_without_requests_says_so(pages: TestClient, ward: Ward) -> None:
    text = pages.get(address(ward.look(0))).text
    assert "Unknown:" in text
    assert "no request came in this window" in text
    assert 'id="viewer"' not in text


def run_of(ward: Ward, *metrics: Metric, **changes: object) -> MonitorRun:
    ward.send(0)
    return replace(ward.look(0), metrics=metrics, evidence=None, segments=(), **changes)


def test_reasons_are_told_worst_first(ward: Ward) -> None:
    image = Metric("image", MetricType.DRIFT, 0.5, 12, Status.WARNING, detail={"attributes": {"noise": 4.0}})
    accuracy = Metric("accuracy", MetricType.PERFORMANCE, 0.615, 13, Status.CRITICAL)
    alarm = EvidenceResult(9.0, 9.0, True, None, None, "noise", 4.0, 100)
    run = run_of(ward, image, accuracy, status=Status.CRITICAL, drift=Status.CRITICAL)
    assert explained.verdict(ward.monitor, replace(run, evidence=alarm)) == (
        "Critical:",
        (
            "the drift alarm is on; accuracy 0.615 of 13 labels is below its hard threshold 0.7; "
            "the images' score 0.5 is above its soft threshold 0.42; "
            "noise is 4.0 standard deviations above the baseline."
        ),
    )


def test_a_verdict_by_other_thresholds_is_not_explained_by_those_of_now(ward: Ward) -> None:
    image = Metric("image", MetricType.DRIFT, 0.3, 12, Status.CRITICAL)
    run = run_of(ward, image, status=Status.CRITICAL, drift=Status.CRITICAL)
    assert "was critical by the thresholds of then" in explained.verdict(ward.monitor, run)[1]


def test_a_healthy_window_says_what_it_is_within(ward: Ward) -> None:
    image = Metric("image", MetricType.DRIFT, 0.2, 12, Status.HEALTHY)
    run = run_of(ward, image, status=Status.HEALTHY, drift=Status.HEALTHY, performance=Status.UNKNOWN)
    assert explained.verdict(ward.monitor, run) == ("Healthy:", "the images' score 0.2 is within soft 0.42.")


def test_too_few_labels_are_counted(ward: Ward) -> None:
    accuracy = Metric("accuracy", MetricType.PERFORMANCE, 1.0, 3, Status.UNKNOWN)
    run = run_of(ward, accuracy, status=Status.UNKNOWN, performance=Status.UNKNOWN)
    part = explained.parts(ward.monitor, run)[1]
    assert part.why == f"3 labels, and a verdict takes {ward.monitor.config.minimum_samples}"


def test_images_are_stepped_through_by_keyboard(page: Page, ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    order = ward.services.explaining.explain(ward.monitor, run).images
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(create_app(ward.services), port=port, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        base = f"http://127.0.0.1:{port}"
        cookie = {
            "name": "tidegauge_token",
            "value": ward.services.people.issue_for(OWNER, "browser"),
            "url": base,
        }
        page.context.add_cookies([cookie])  # type: ignore[list-item]
        page.goto(base + address(run))
        for key, place in (("ArrowRight", 2), ("j", 3), ("k", 2), ("ArrowLeft", 1), ("ArrowLeft", 1)):
            page.keyboard.press(key)
            page.get_by_text(f"{place} of 8").wait_for()
        page.keyboard.press("j")
        page.get_by_text("2 of 8").wait_for()
        assert page.url.endswith(f"?image={order[1].key.replace(':', '%3A')}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        server.should_exit = True
        thread.join()
