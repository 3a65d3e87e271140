"""The list of monitors, what is done to the chosen ones, and what happens to one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from parts_pages import EVIL, START, Visitor, add_monitor, open_pages
from tidegauge.domain.alert import AlertRule, Condition, Subject
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorRun, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.services.bundle import Services


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    with open_pages(tmp_path_factory.mktemp("home")) as visitor:
        yield visitor


def add_run(services: Services, monitor: Monitor) -> MonitorRun:
    metric = Metric("image", MetricType.DRIFT, 0.731, 12, Status.CRITICAL)
    end = START + timedelta(minutes=5)
    run = MonitorRun(
        new_id(), monitor.id, 1, START, end, 1, START,
        Status.CRITICAL, Status.HEALTHY, Status.CRITICAL, Status.WARNING, (metric,),
    )  # fmt: skip
    services.database.monitor_runs.add(run)
    services.history.note(monitor, run)
    return run


def state_of(pages: Visitor, monitor: Monitor) -> MonitorState:
    return pages.services.database.monitors.get(monitor.id).state


def test_an_empty_list_says_what_to_do_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_pages(tmp_path_factory.mktemp("empty")) as visitor:
        text = visitor.text("/monitors")
        assert "There is no monitor yet" in text
        assert "Add Monitor icon" in text


def test_strangers_are_sent_to_the_sign_in(pages: Visitor) -> None:
    answer = pages.stranger().get("/monitors?state=active")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/sign-in?next=/monitors%3Fstate%3Dactive",
    )
    assert pages.stranger().post("/monitors/start", {"id": "x"}).status_code == 303


def test_a_row_has_everything_and_its_actions(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "whole", state=MonitorState.ACTIVE, status=Status.CRITICAL)
    run = add_run(pages.services, monitor)
    text = pages.text("/monitors", q="whole")
    for said in (
        '<td data-label="Score of inputs">0.731', f"/monitors/{monitor.id}/runs/{run.id}",
        'aria-label="Choose whole"', 'aria-label="Update Schema"', 'aria-label="Add Alerts"',
        'aria-label="Upload Thresholds"', 'aria-label="Edit"', 'aria-label="Delete"',
        'data-live="monitors"', 'data-chosen="id"', 'data-all="id"',
    ):  # fmt: skip
        assert said in text


def test_the_list_is_filtered_by_the_url(pages: Visitor) -> None:
    add_monitor(pages.services, "filter-ready")
    add_monitor(pages.services, "filter-bad", state=MonitorState.ACTIVE, status=Status.CRITICAL)
    add_monitor(pages.services, "filter-busy", state=MonitorState.BASELINING, progress="7 of 20 images")
    assert "7 of 20 images" in pages.text("/monitors", q="filter")
    text = pages.text("/monitors", q="filter", status="critical")
    assert "filter-bad" in text
    assert "filter-ready" not in text
    text = pages.text("/monitors", q="filter", state="ready")
    assert "filter-ready" in text
    assert "filter-bad" not in text
    assert "No monitor is like that" in pages.text("/monitors", q="filter", state="error")
    answer = pages.get("/monitors", status="nonsense")
    assert answer.status_code == 422
    assert "status is &#39;nonsense&#39;; use one of" in answer.text
    assert pages.get("/monitors", sort="nonsense").status_code == 422


def test_every_heading_sorts(pages: Visitor) -> None:
    add_monitor(pages.services, "order-a", status=Status.WARNING)
    add_monitor(pages.services, "order-b", status=Status.CRITICAL)
    for sort in ("name", "-status", "state", "drift", "performance", "health", "score", "window"):
        text = pages.text("/monitors", q="order-", sort=sort)
        is_b_first = text.index("order-b</a>") < text.index("order-a</a>")
        assert is_b_first == (sort == "-status")
        assert f'href="/monitors?q=order-&amp;sort=-{sort}"' in text or sort == "-status"


def test_the_list_has_pages(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_pages(tmp_path_factory.mktemp("many")) as visitor:
        for number in range(51):
            add_monitor(visitor.services, f"many-{number:02d}")
        first = visitor.text("/monitors", sort="name")
        assert "many-49</a>" in first
        assert "many-50</a>" not in first
        assert "Page 1 of 2, 51 monitors" in first
        assert "sort=name&amp;page=2" in first
        assert "many-50</a>" in visitor.text("/monitors", sort="name", page=2)
        assert "many-50</a>" in visitor.text("/monitors", sort="name", page=99)


def test_chosen_monitors_start_and_stop_and_each_refusal_is_told(pages: Visitor) -> None:
    ready, busy = (
        add_monitor(pages.services, "go"),
        add_monitor(pages.services, "busy", state=MonitorState.PENDING),
    )
    ids = [busy.id, ready.id, "gone"]
    answer = pages.post("/monitors/start", {"id": ids, "q": "o", "sort": "name"})
    assert answer.status_code == 409
    assert "busy: The monitor is pending; from there it cannot become active." in answer.text
    assert "There is no monitor &#39;gone&#39;." in answer.text
    assert 'name="q" value="o"' in answer.text
    assert state_of(pages, ready) is MonitorState.ACTIVE
    answer = pages.post("/monitors/stop", {"id": [ready.id]})
    assert answer.status_code == 200
    assert '<div id="told" role="alert"></div>' in answer.text
    assert state_of(pages, ready) is MonitorState.READY


def test_chosen_monitors_are_deleted_after_a_question(pages: Visitor) -> None:
    one = add_monitor(pages.services, "first-to-go")
    two = add_monitor(pages.services, "second-to-go", state=MonitorState.ACTIVE)
    rule = AlertRule("accuracy", MetricType.PERFORMANCE, (Condition(Subject.METRIC, "accuracy", "<", 0.85),))
    pages.services.monitors.add_alert(one, rule)
    question = pages.get(f"/monitors/delete?id={one.id}&id={two.id}&q=&sort=name").text
    assert "Delete 2 monitors?" in question
    assert "<b>first-to-go</b>: 1 alert and 1 version of its configuration" in question
    assert "It is active: stop it first" in question
    assert "The deployment, its inference log and its labels stay" in question
    answer = pages.post("/monitors/delete", {"id": [two.id, one.id]})
    assert answer.status_code == 409
    assert "second-to-go: The monitor is active; stop it before you delete it." in answer.text
    assert "first-to-go" not in answer.text
    assert pages.get(f"/monitors/{one.id}/delete").status_code == 404
    pages.post(f"/monitors/{two.id}/stop")
    assert "Delete the monitor of second-to-go?" in pages.text(f"/monitors/{two.id}/delete")
    answer = pages.post("/monitors/delete", {"id": two.id})
    assert (answer.status_code, answer.headers["location"]) == (303, "/monitors")
    assert pages.get("/monitors/delete").headers["location"] == "/monitors"


def test_one_monitor_starts_and_stops_from_any_page(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "single")
    answer = pages.post(f"/monitors/{monitor.id}/start", {"back": "/?state=ready"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/?state=ready")
    assert state_of(pages, monitor) is MonitorState.ACTIVE
    answer = pages.post(f"/monitors/{monitor.id}/stop", {"back": "https://evil.example"})
    assert answer.headers["location"] == "/"
    answer = pages.post(f"/monitors/{monitor.id}/stop")
    assert answer.status_code == 409
    assert "there is nothing to stop" in answer.text


def test_a_backfill_reads_times_of_the_monitors_zone(pages: Visitor) -> None:
    config = MonitorConfig(time_zone="Europe/Berlin", frequency_minutes=60)
    monitor = add_monitor(pages.services, "past", config=config, state=MonitorState.PENDING)
    path = f"/monitors/{monitor.id}/backfill"
    assert "In Europe/Berlin, the monitor&#39;s time zone." in pages.text(path)
    span = {"start": "2026-03-01T00:00", "end": "2026-03-01T12:00"}
    assert "12 windows" in pages.text(f"{path}/count", **span)
    assert "windows" not in pages.text(f"{path}/count", start="2026-03")
    answer = pages.post(path, span)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?made=12")
    due = pages.services.database.due_windows.where(monitor_id=monitor.id, sort="start")
    assert due[0].start == datetime(2026, 2, 28, 23, tzinfo=UTC)
    text = pages.text(path, made=12)
    assert "12 windows are looked at" in text
    assert '<progress value="0" max="12"' in text
    assert "The monitor is pending: they wait until it is ready." in text


def test_a_wrong_span_comes_back_with_its_errors(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "wrong-span")
    path = f"/monitors/{monitor.id}/backfill"
    answer = pages.post(path, {"start": "yesterday", "end": ""})
    assert answer.status_code == 422
    assert "From is &#39;yesterday&#39;; give a date and a time" in answer.text
    assert "To is missing" in answer.text
    answer = pages.post(path, {"start": "2026-03-02T00:00", "end": "2026-03-01T00:00"})
    assert "not after start" in answer.text
    assert 'value="2026-03-02T00:00"' in answer.text


def test_what_is_of_somebody_else_is_absent(pages: Visitor) -> None:
    theirs = add_monitor(pages.services, "hidden", owner="another")
    other = pages.somebody_else()
    assert "hidden</a>" not in other.text("/monitors")
    for path in ("delete", "backfill", "backfill/count"):
        assert other.get(f"/monitors/{theirs.id}/{path}").status_code == 404
    for verb in ("start", "stop", "backfill"):
        assert other.post(f"/monitors/{theirs.id}/{verb}").status_code == 404
    assert other.get(f"/monitors/delete?id={theirs.id}").status_code == 404
    assert "There is no monitor" in other.post("/monitors/start", {"id": [theirs.id]}).text
    assert pages.services.database.monitors.get(theirs.id).state is MonitorState.READY


def test_an_operator_starts_and_stops_what_is_somebody_elses(pages: Visitor) -> None:
    theirs = add_monitor(pages.services, "of-another", owner="another")
    assert f'value="{theirs.id}" aria-label="Choose of-another"' in pages.text("/monitors", q="of-another")
    assert pages.post("/monitors/start", {"id": [theirs.id]}).status_code == 200
    assert state_of(pages, theirs) is MonitorState.ACTIVE
    page = pages.text(f"/monitors/{theirs.id}")
    assert 'class="theirs"' not in page
    assert "<b>another</b>" in page


def test_html_in_names_is_text(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, EVIL, state=MonitorState.ACTIVE, message=EVIL, progress=EVIL)
    answers = [
        pages.text("/monitors", q=EVIL),
        pages.text(f"/monitors/{monitor.id}/delete"),
        pages.post("/monitors/delete", {"id": monitor.id}).text,
        pages.post("/monitors/start", {"id": monitor.id}).text,
    ]
    for text in answers:
        assert EVIL not in text
        assert "&lt;script&gt;" in text
