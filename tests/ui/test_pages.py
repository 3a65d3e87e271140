from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tidegauge.app import build_services, create_app
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorRun, MonitorState, RunImage, SegmentResult
from tidegauge.domain.monitor_config import DriftConfig, MonitorConfig, PerformanceConfig
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1}, {}))
    origin = {"Origin": "http://testserver"}  # as browsers say with every form
    with TestClient(create_app(services), follow_redirects=False, headers=origin) as client:
        client.operator = services.people.first_start()  # type: ignore[attr-defined]
        yield client


@pytest.fixture
def signed_in(pages: TestClient) -> Iterator[TestClient]:
    pages.post("/sign-in", data={"token": pages.operator})  # type: ignore[attr-defined]
    yield pages
    pages.cookies.clear()


def services_of(pages: TestClient) -> Services:
    return pages.app.state.services


def make_monitor(services: Services, name: str) -> Monitor:
    running = DeploymentState.RUNNING
    deployment = Deployment(
        new_id(), name, "operator", new_id(), "m", 1, True, Origin.EXTERNAL, running, running, START, "/p"
    )
    services.database.deployments.add(deployment)
    thresholds = parse_thresholds({"image": {"type": "drift", "soft": 0.42, "hard": 0.55}})
    monitor = Monitor(
        id=new_id(),
        deployment_id=deployment.id,
        name=name,
        owner="operator",
        state=MonitorState.ACTIVE,
        status=Status.CRITICAL,
        config=MonitorConfig(),
        config_version=1,
        created_at=START,
        thresholds=thresholds,
    )
    return services.database.monitors.add(monitor)


def make_run(services: Services, monitor: Monitor, number: int = 0, prediction: str = "NORMAL") -> MonitorRun:
    start = START + number * timedelta(minutes=5)
    metrics = (
        Metric(
            "image", MetricType.DRIFT, 0.9, 12, Status.CRITICAL, detail={"attributes": {"sharpness": -7.93}}
        ),
        Metric("accuracy", MetricType.PERFORMANCE, 0.75, 12, Status.WARNING, 0.47, 0.91),
        Metric("requests", MetricType.HEALTH, 12.0, 12, Status.UNKNOWN),
    )
    image = RunImage("event-1", 0, start, prediction, 0.9, 3.2, "NORMAL/a.png")
    run = MonitorRun(
        new_id(), monitor.id, 1, start, start + timedelta(minutes=5), 1, start,
        Status.CRITICAL, Status.HEALTHY, Status.CRITICAL, Status.WARNING, metrics, (image,), ("a problem",),
    )  # fmt: skip
    with services.database.transaction():
        services.history.note(services.database.monitors.get(monitor.id), run)
        return services.database.monitor_runs.add(run)


def test_strangers_are_sent_to_the_sign_in_and_come_back(pages: TestClient) -> None:
    answer = pages.get("/monitors?q=a b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/monitors%3Fq%3Da%2520b")
    form = pages.get(answer.headers["location"]).text
    assert 'value="/monitors?q=a%20b"' in form
    answer = pages.post("/sign-in", data={"token": pages.operator, "next": "/monitors?q=a%20b"})  # type: ignore[attr-defined]
    assert (answer.status_code, answer.headers["location"]) == (303, "/monitors?q=a%20b")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert pages.get("/monitors").status_code == 200
    assert pages.post("/sign-out").headers["location"] == "/sign-in"
    assert pages.get("/monitors").status_code == 303


def test_a_wrong_token_is_told_at_the_field(pages: TestClient) -> None:
    answer = pages.post("/sign-in", data={"token": "tg_no"})
    assert answer.status_code == 401
    assert 'aria-invalid="true"' in answer.text
    assert "The token is not valid" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1"]
)
def test_the_sign_in_leads_nowhere_else(pages: TestClient, target: str) -> None:
    answer = pages.post("/sign-in", data={"token": pages.operator, "next": target})  # type: ignore[attr-defined]
    pages.cookies.clear()
    assert answer.headers["location"] == "/"


def test_a_form_of_another_site_is_refused(signed_in: TestClient) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert signed_in.post("/sign-out", headers=headers).status_code == 403


def test_an_empty_home_says_what_to_do_first(signed_in: TestClient) -> None:
    assert "tidegauge demo" in signed_in.get("/").text


def test_the_monitor_page_shows_what_is_known(signed_in: TestClient) -> None:
    services = services_of(signed_in)
    monitor = make_monitor(services, "plain")
    assert "No window was looked at yet" in signed_in.get(f"/monitors/{monitor.id}").text
    run = make_run(services, monitor)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert "0.75 (0.47 to 0.91)" in page
    assert "will fire now and then even for a good model" in page
    assert f"/runs/{run.id}/images/event-1/0.png" in page
    assert "synthetic" not in page
    listed = signed_in.get("/monitors").text
    assert f"/monitors/{monitor.id}/runs/{run.id}" in listed
    charts = re.findall(r'src="([^"]+\.svg[^"]*)" alt="[^"]+"', page)  # where no script runs
    assert len([chart for chart in charts if "/charts/" in chart]) == 6
    for chart in charts:
        answer = signed_in.get(chart.replace("&amp;", "&"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert signed_in.get(f"/monitors/{monitor.id}/charts/nonsense.svg").status_code == 404


def test_the_run_page_says_what_moved(signed_in: TestClient) -> None:
    services = services_of(signed_in)
    monitor = make_monitor(services, "moved")
    page = signed_in.get(f"/monitors/{monitor.id}/runs/{make_run(services, monitor).id}").text
    assert "sharpness is 7.9 standard deviations below the baseline" in page
    assert "a problem" in page
    assert "NORMAL/a.png" in page


def test_pages_say_where_data_and_metrics_come_from(signed_in: TestClient) -> None:
    services = services_of(signed_in)
    monitor = make_monitor(services, "elsewhere")
    config = MonitorConfig(
        drift=DriftConfig(predict_data="dataset", predict_dataset="their-logs", predict_prefix="ward"),
        performance=PerformanceConfig(True, "precomputed_metrics", dataset="figures", dataset_version=3),
    )
    run = make_run(services, monitor)
    detail = {"rows": 3, "corrections": 1, "uncounted": 1}
    accuracy = Metric("accuracy", MetricType.PERFORMANCE, 0.9, 1, Status.UNKNOWN, detail=detail)
    services.database.monitors.update(monitor.id, config=config)
    services.database.monitor_runs.update(run.id, metrics=(accuracy,))
    page = signed_in.get(f"/monitors/{monitor.id}").text
    for part in (
        "dataset their-logs, as it is now, below ward",
        "dataset figures, v3",
        "precomputed metrics",
    ):
        assert part in page
    page = signed_in.get(f"/monitors/{monitor.id}/runs/{run.id}").text
    assert "accuracy: the latest of 3 rows; 1 corrected" in page
    assert "<td>not counted</td>" in page


def test_phantoms_are_called_synthetic(signed_in: TestClient) -> None:
    monitor = make_monitor(services_of(signed_in), "phantom-chest-xray")
    assert "synthetic data" in signed_in.get(f"/monitors/{monitor.id}").text
    assert "synthetic data" in signed_in.get("/monitors").text


def test_names_are_text_and_never_markup(signed_in: TestClient) -> None:
    services = services_of(signed_in)
    monitor = make_monitor(services, "evil")
    services.database.monitors.update(monitor.id, name=EVIL, message=EVIL)
    run = make_run(services, replace(monitor, name=EVIL), prediction=EVIL)
    for path in ("/monitors", f"/monitors/{monitor.id}", f"/monitors/{monitor.id}/runs/{run.id}"):
        text = signed_in.get(path, params={"q": EVIL} if path == "/monitors" else None).text
        assert EVIL not in text
        assert "&lt;script&gt;" in text


def test_pages_allow_no_foreign_and_no_inline_script(signed_in: TestClient) -> None:
    answer = signed_in.get("/monitors")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "https://" not in answer.text


def test_what_is_absent_is_a_page(signed_in: TestClient) -> None:
    answer = signed_in.get("/monitors/none")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no monitor &#39;none&#39;." in answer.text


def test_a_run_shows_its_segments_beside_each_other(signed_in: TestClient) -> None:
    services = services_of(signed_in)
    monitor = make_monitor(services, "regions")
    run = make_run(services, monitor)
    found = Metric("accuracy", MetricType.PERFORMANCE, 0.625, 8, Status.WARNING)
    west = SegmentResult(EVIL, 8, Status.HEALTHY, Status.UNKNOWN, Status.WARNING, (found,))
    services.database.monitor_runs.update(run.id, segments=(west,))
    for page in (f"/monitors/{monitor.id}/runs/{run.id}", f"/monitors/{monitor.id}"):
        text = signed_in.get(page).text
        assert "<h2>Segments</h2>" in text
        assert "0.625" in text
        assert EVIL not in text
