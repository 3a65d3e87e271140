"""The charts of a monitor on pages: as JSON for the script, as pictures, and as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from monitor_pages import EVIL, START, STEP, add_monitor, add_run, services_of
from parts import running_server
from parts_visits import somebody_else
from tidegauge import charts
from tidegauge.app import build_services, create_app
from tidegauge.client import Client
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, MonitorState
from tidegauge.domain.status import Status
from tidegauge.errors import InvalidInputError
from tidegauge.settings import load_settings
from tidegauge.web.credentials import COOKIE


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1}, {}))
    with TestClient(create_app(services), follow_redirects=False) as client:
        client.operator = services.people.first_start()  # type: ignore[attr-defined]
        yield client


@pytest.fixture
def signed_in(pages: TestClient) -> Iterator[TestClient]:
    pages.post("/sign-in", data={"token": pages.operator}, headers={"Origin": "http://testserver"})  # type: ignore[attr-defined]
    yield pages
    pages.cookies.clear()


def rows_of(answer: Any) -> list[dict[str, Any]]:
    return orjson.loads(answer.json()["spec"]["data"]["values"])


@pytest.mark.parametrize(
    ("ending", "kind", "begins"),
    [
        ("json", "application/json", b"{"),
        ("svg", "image/svg+xml", b"<svg"),
        ("png", "image/png", b"\x89PNG"),
        ("csv", "text/csv; charset=utf-8", b"start,end,windows,"),
    ],
)
def test_a_chart_comes_in_each_form(signed_in: TestClient, ending: str, kind: str, begins: bytes) -> None:
    monitor = add_monitor(signed_in, f"forms-{ending}")
    add_run(signed_in, monitor)
    for name in ("timeline", "image", "accuracy"):
        answer = signed_in.get(f"/monitors/{monitor.id}/charts/{name}.{ending}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert answer.content.startswith(begins)


def test_a_chart_shows_the_range_that_is_asked_for(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "ranges")
    for number in range(6):
        add_run(signed_in, monitor, number)
    path = f"/monitors/{monitor.id}/charts/accuracy.json"
    assert len(rows_of(signed_in.get(path))) == 6
    part = {"start": (START + STEP).isoformat(), "end": "2026-03-01T12:15"}
    assert [row["s"] for row in rows_of(signed_in.get(path, params=part))] == [
        int((START + number * STEP).timestamp() * 1000) for number in (1, 2)
    ]


def test_a_chart_that_is_not_there_is_404(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "absent")
    add_run(signed_in, monitor)
    for file in ("nonsense.svg", "accuracy.exe", "accuracy", ".svg"):
        assert signed_in.get(f"/monitors/{monitor.id}/charts/{file}").status_code == 404


def test_a_wrong_time_is_told(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "times")
    answer = signed_in.get(f"/monitors/{monitor.id}/charts/timeline.csv?start=noon")
    assert answer.status_code == 422
    assert "start is &#39;noon&#39;; write a time such as 2026-03-01T12:05." in answer.text


def test_strangers_and_other_users_see_no_chart(pages: TestClient) -> None:
    mine = add_monitor(pages, "mine")
    theirs = add_monitor(pages, "theirs", owner="somebody-else")
    assert pages.get(f"/monitors/{mine.id}/charts/timeline.json").status_code == 303
    with somebody_else(pages):
        assert pages.get(f"/monitors/{theirs.id}/charts/timeline.json").status_code == 404


def test_features_may_have_any_name(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "names")
    names = ["a/b", "latency", "50% off?", EVIL]
    metrics = tuple(Metric(name, MetricType.DRIFT, 0.3, 12, Status.UNKNOWN) for name in names)
    add_run(signed_in, monitor, metrics=metrics)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert EVIL not in page
    for part in ("a%2Fb", "score%3Alatency", "50%25%20off%3F", "%3Cscript%3Ealert%281%29%3C%2Fscript%3E"):
        address = f"/monitors/{monitor.id}/charts/{part}"
        assert f'data-chart="{address}.json?' in page
        assert rows_of(signed_in.get(f"{address}.json"))[0]["v0"] == pytest.approx(0.3)
        assert EVIL not in signed_in.get(f"{address}.svg").text


def test_the_numbers_lead_to_the_runs(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "numbers")
    run = add_run(signed_in, monitor)
    text = signed_in.get(f"/monitors/{monitor.id}/charts/accuracy.csv").text
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["start"], row["accuracy"], row["accuracy_low"], row["expected_accuracy"], row["run"]) == (
        "2026-03-01T12:00:00Z", "0.92", "0.47", "0.93", run.id,
    )  # fmt: skip


def test_the_browser_keeps_static_files_by_their_version(pages: TestClient) -> None:
    page = pages.get("/sign-in").text
    (address,) = {part for part in page.split('"') if part.startswith("/static/style.css?")}
    assert "immutable" in pages.get(address).headers["cache-control"]
    assert pages.get("/static/style.css").headers["cache-control"] == "no-cache"


def test_pages_are_compressed_and_what_models_answer_is_not(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "small")
    add_run(signed_in, monitor)
    accepts = {"Accept-Encoding": "gzip"}
    for path in (f"/monitors/{monitor.id}", "/static/vega.min.js", "/api/v1/openapi.json"):
        assert signed_in.get(path, headers=accepts).headers["content-encoding"] == "gzip"
    for path in ("/serve/none/v1/models/x", "/v1/none"):
        assert "content-encoding" not in signed_in.get(path, headers=accepts).headers


class _Direct(Client):
    """A client that asks the app of a test."""

    def __init__(self, pages: TestClient) -> None:
        super().__init__("http://testserver", pages.operator)  # type: ignore[attr-defined]
        self._http.close()
        headers = {"Authorization": f"Bearer {pages.operator}"}  # type: ignore[attr-defined]
        self._http = TestClient(pages.app, headers=headers)


def test_a_notebook_draws_the_same_chart(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "notebook")
    for number in range(4):
        add_run(signed_in, monitor, number, bad=number > 2)
    client = _Direct(signed_in)
    services = services_of(signed_in)
    series = services.history.series(services.monitors.get("operator", "notebook"))
    for name in ("accuracy", "timeline", "evidence", "drift", "confusion", "predictions", "latency"):
        drawn = charts.to_spec(client.monitors.chart("notebook", name))
        assert drawn["config"]
        if name == "accuracy":
            view = charts.View.of(services.monitors.get("operator", "notebook"), series)
            assert drawn["data"] == charts.to_spec(charts.draw("accuracy", view))["data"]
    part = client.monitors.series("notebook", START + STEP, START + 3 * STEP)
    assert [span.start for span in part.spans] == [START + STEP, START + 2 * STEP]
    with pytest.raises(
        InvalidInputError, match=r"name is 'nonsense'; use timeline, evidence, drift, .*accuracy"
    ):
        client.monitors.chart("notebook", "nonsense")


def test_a_browser_draws_charts_tells_numbers_and_opens_runs(page: Page, tmp_path: Path) -> None:
    services = build_services(load_settings(tmp_path / "home", {"port": 1}, {}))
    seed = TestClient(create_app(services))
    services.people.first_start()
    monitor = add_monitor(seed, "drawn", state=MonitorState.READY)
    runs = [add_run(seed, monitor, number, bad=number > 3, images=()) for number in range(6)]
    services.worker.close()
    services.collector.close()
    services.database.close()
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    with running_server(tmp_path / "home") as client:
        page.context.add_cookies([{"name": COOKIE, "value": client.token, "url": client.url}])
        page.on(
            "request",
            lambda r: None if r.url.startswith(client.url) else problems.append(f"foreign: {r.url}"),
        )
        page.add_init_script(
            "window.shifts = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) => "
            "window.shifts += entry.value)).observe({type: 'layout-shift', buffered: true});"
        )
        page.goto(f"{client.url}/monitors/{monitor.id}")
        charts_ = page.locator("[data-chart]")
        for place in range(charts_.count()):
            charts_.nth(place).scroll_into_view_if_needed()
            expect(charts_.nth(place).locator("canvas")).to_be_visible()
        assert page.evaluate("window.shifts") < 0.05
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

        numbers = page.locator("details[data-numbers*='/accuracy.csv']")
        numbers.locator("summary").click()
        expect(numbers.locator("tbody tr")).to_have_count(6)
        expect(numbers.locator("tbody tr").first).to_contain_text("2026-03-01 12:25 UTC")  # newest first

        page.emulate_media(color_scheme="dark")
        accuracy = page.locator("[data-chart*='/accuracy.json']")
        accuracy.scroll_into_view_if_needed()
        expect(accuracy.locator("canvas")).to_have_count(1)
        box = accuracy.bounding_box()
        assert box is not None
        page.wait_for_timeout(1000)  # until it is drawn anew, in place
        at = {"x": box["width"] - 12, "y": box["height"] / 2}
        accuracy.hover(position=at)
        expect(page.locator(".tip")).to_contain_text("Mar 01, 12:25 to 12:30 UTC")
        accuracy.click(position=at)
        expect(page).to_have_url(f"{client.url}/monitors/{monitor.id}/runs/{runs[-1].id}")
    assert problems == []
