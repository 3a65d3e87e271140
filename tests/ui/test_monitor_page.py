"""The page of a monitor: what is wrong, since when, how sure, and everything behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from monitor_pages import EVIL, START, STEP, add_monitor, add_run, services_of
from parts_visits import somebody_else
from tidegauge.app import build_services, create_app
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import (
    Acknowledgement,
    ConfigVersion,
    Metric,
    MonitorRun,
    MonitorState,
    Transition,
)
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.settings import load_settings
from tidegauge.storage.rows import Query

ORIGIN = {"Origin": "http://testserver"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1}, {}))
    with TestClient(create_app(services), follow_redirects=False, headers=ORIGIN) as client:
        client.operator = services.people.first_start()  # type: ignore[attr-defined]
        yield client


@pytest.fixture
def signed_in(pages: TestClient) -> Iterator[TestClient]:
    pages.post("/sign-in", data={"token": pages.operator})  # type: ignore[attr-defined]
    yield pages
    pages.cookies.clear()


def headline(page: str) -> str:
    found = re.search(r'<p class="verdict[^>]*>(?:<span[^>]*></span>)?(.*?)</p>', page)
    assert found
    return found[1]


def charts_of(page: str) -> list[str]:
    return re.findall(r'data-chart="/monitors/[^/]+/charts/([^."]+)\.json', page)


def test_the_first_sentence_says_what_is_wrong_and_since_when(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "first")
    for number in range(6):
        add_run(signed_in, monitor, number, bad=number >= 3)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert headline(page) == (
        "Critical since 12:15 UTC: the images have drifted; "
        "accuracy is 0.75 (0.47 to 0.98), below its hard threshold 0.8."
    )
    assert "Drift alarm: the inputs no longer come from where the training data came from" in page
    assert "In the last window sharpness is 7.9 standard deviations below the baseline." in page
    assert "/images/event-1/0.png" in page


def test_what_is_well_says_so(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "well")
    add_run(signed_in, monitor)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert headline(page) == "Healthy since 12:00 UTC: no drift alarm, and nothing past its thresholds."


def unlabelled(run: MonitorRun) -> tuple[Metric, ...]:
    return tuple(metric for metric in run.metrics if metric.name not in ("accuracy", "mcc"))


def test_what_late_labels_say_stands_on_the_dashboard_as_on_the_page(signed_in: TestClient) -> None:
    """Windows without labels come after the one that they condemn."""
    monitor = add_monitor(signed_in, "late-labels")
    bad = add_run(signed_in, monitor, 0, bad=True)
    for number in (1, 2):
        add_run(signed_in, monitor, number, metrics=unlabelled(bad), performance=Status.UNKNOWN)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert headline(page) == "Critical by the newest labels, until 12:05 UTC: performance."
    assert "Otherwise healthy since 12:05 UTC: no drift alarm, and nothing past its thresholds." in page
    card = page[page.index("Realised performance") :]
    assert re.search(r"status-(\w+)", card)[1] == "critical"  # type: ignore[index]
    assert "no labels since" in card
    (glance,) = (
        one for one in services_of(signed_in).history.glances("operator") if one.name == "late-labels"
    )
    assert (glance.status, glance.performance) == (Status.CRITICAL, Status.CRITICAL)
    listed = signed_in.get("/?q=late-labels").text
    assert re.search(r'data-label="Performance">.*?status-critical', listed, re.DOTALL)
    # Labels that are too few to judge by change nothing.
    few = tuple(replace(metric, status=Status.UNKNOWN) for metric in bad.metrics)
    add_run(signed_in, monitor, 3, metrics=few, performance=Status.UNKNOWN)
    assert "Critical by the newest labels" in headline(signed_in.get(f"/monitors/{monitor.id}").text)
    # Older labels that come later change nothing, newer ones do.
    add_run(signed_in, monitor, 4)
    (glance,) = (
        one for one in services_of(signed_in).history.glances("operator") if one.name == "late-labels"
    )
    assert glance.performance is Status.HEALTHY
    add_run(signed_in, monitor, -1, bad=True)
    assert services_of(signed_in).database.monitors.get(monitor.id).realised is Status.HEALTHY


def test_labels_that_other_thresholds_have_judged_count_no_more(signed_in: TestClient) -> None:
    services = services_of(signed_in)
    monitor = add_monitor(signed_in, "judged-anew")
    add_run(signed_in, monitor, 0, bad=True)
    assert services.database.monitors.get(monitor.id).realised is Status.CRITICAL
    services.monitors.set_thresholds(monitor, {"accuracy": {"type": "performance", "soft": 0.5, "hard": 0.4}})
    after = services.database.monitors.get(monitor.id)
    assert (after.realised, after.realised_at) == (Status.UNKNOWN, None)


def test_that_traffic_has_stopped_is_said(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "silent")
    add_run(signed_in, monitor, 0)
    nothing = (Metric("requests", MetricType.HEALTH, 0.0, 0, Status.UNKNOWN),)
    unknown = dict.fromkeys(("status", "health", "drift", "performance"), Status.UNKNOWN)
    add_run(signed_in, monitor, 1, metrics=nothing, images=(), evidence=None, **unknown)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert headline(page) == "Unknown since 12:05 UTC: no requests."
    assert "No request since about 2026-03-01 12:05 UTC: traffic has stopped, or its log has." in page
    never = add_monitor(signed_in, "never-used")
    add_run(signed_in, never, 0, metrics=nothing, images=(), evidence=None, **unknown)
    assert (
        "No request in the last 30 days: the deployment is not used"
        in signed_in.get(f"/monitors/{never.id}").text
    )


def test_the_beginning_of_a_status_is_found_among_thousands_of_windows(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "thousands")
    for number in range(1000):
        add_run(signed_in, monitor, number, bad=number >= 777)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert f"Critical since {START + 777 * STEP:%Y-%m-%d %H:%M} UTC" in headline(page)


def test_changed_and_harmful_are_told_apart(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "apart")
    add_run(signed_in, monitor, bad=True)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    cards = re.findall(r"<li><span[^>]*>([^<]+)</span><b>([^<]+)</b>.*?status-(\w+)", page)
    assert cards == [
        ("Has it changed?", "Drift", "critical"),
        ("Is it harmful, before labels?", "Estimated performance", "unknown"),
        ("Is it harmful, by labels?", "Realised performance", "critical"),
        ("Does it answer?", "Health", "healthy"),
    ]
    assert "expected accuracy (0.8 to 0.97)" in page


def test_without_labels_in_the_last_window_the_newest_ones_are_told(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "late")
    add_run(signed_in, monitor)
    quiet = Metric("requests", MetricType.HEALTH, 0.0, 0, Status.UNKNOWN)
    add_run(signed_in, monitor, 1, metrics=(quiet,), images=())
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert "accuracy until 2026-03-01 12:05 UTC; no labels since" in page
    assert "Strangest images of the window of" in page


def test_the_page_has_the_charts_that_matter(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "charts")
    add_run(signed_in, monitor)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert charts_of(page) == [
        "timeline", "evidence", "image", "prediction", "predictions", "accuracy", "confusion",
        "requests", "latency",
    ]  # fmt: skip
    assert "mcc" in charts_of(signed_in.get(f"/monitors/{monitor.id}?metric=*").text)
    one = charts_of(signed_in.get(f"/monitors/{monitor.id}?feature=prediction&metric=mcc").text)
    assert ("image" in one, "prediction" in one, "accuracy" in one, "mcc" in one) == (
        False,
        True,
        False,
        True,
    )


def test_of_many_features_the_farthest_is_shown_until_one_is_chosen(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "table")
    metrics = tuple(Metric(f"column-{k}", MetricType.DRIFT, 0.3, 12, Status.UNKNOWN) for k in range(30))
    add_run(signed_in, monitor, metrics=metrics)
    assert [name for name in charts_of(signed_in.get(f"/monitors/{monitor.id}").text) if name != "drift"] == [
        "timeline", "evidence", "requests", "latency",
    ]  # fmt: skip
    assert "column-7" in charts_of(signed_in.get(f"/monitors/{monitor.id}?feature=column-7").text)


def test_a_link_leads_to_exactly_this_view(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "exactly")
    for number in range(3):
        add_run(signed_in, monitor, number)
    page = signed_in.get(f"/monitors/{monitor.id}?range=24h&feature=image&metric=mcc").text
    (link,) = re.findall(r'class="exact" href="([^"]+)"', page)
    exact = signed_in.get(link.replace("&amp;", "&")).text
    add_run(signed_in, monitor, 9)  # what comes later is no part of it
    again = signed_in.get(link.replace("&amp;", "&")).text
    assert 'value="2026-02-28T12:15"' in exact
    assert 'value="2026-03-01T12:15"' in again
    assert "image" in charts_of(again)
    assert "end=2026-03-01T12%3A15%3A00%2B00%3A00" in again


@pytest.mark.parametrize(
    ("query", "field", "message", "kept"),
    [
        ("start=noon", "start", "From is &#39;noon&#39;; write a time such as 2026-03-01T12:05.", '"noon"'),
        ("start=2026-03-02T00:00&end=2026-03-01", "end", "To is not after start", '"2026-03-02T00:00"'),
        ("range=forever", "range", "Range is &#39;forever&#39;; use one of 24h, 7d, 30d, all.", ""),
        ("feature=none", "feature", "Feature is &#39;none&#39;, which has no score", ""),
        ("metric=none", "metric", "Metric is &#39;none&#39;, which was not measured", ""),
        ("at=2026-03-05T00:00", "at", "The time is 2026-03-05 00:00 UTC, and no", '"2026-03-05T00:00"'),
    ],
)  # fmt: skip
def test_a_wrong_view_is_told_at_its_field(
    signed_in: TestClient, query: str, field: str, message: str, kept: str
) -> None:
    monitor = add_monitor(signed_in, f"wrong-{new_id()[-6:]}")
    add_run(signed_in, monitor)
    answer = signed_in.get(f"/monitors/{monitor.id}?{query}")
    assert answer.status_code == 422
    assert f'id="{field}-error" role="alert">{message}' in answer.text
    assert kept in answer.text


def test_a_time_leads_to_the_window_that_holds_it(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "jump")
    runs = [add_run(signed_in, monitor, number) for number in range(3)]
    answer = signed_in.get(f"/monitors/{monitor.id}?at=2026-03-01T12:07")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/monitors/{monitor.id}/runs/{runs[1].id}",
    )


def test_versions_and_deeds_say_who_changed_what(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "history", config_version=2)
    add_run(signed_in, monitor)
    database = services_of(signed_in).database
    for number, config in ((1, MonitorConfig()), (2, MonitorConfig(frequency_minutes=15))):
        database.config_versions.add(
            ConfigVersion(new_id(), monitor.id, number, config, "ada", START + number * STEP)
        )
    database.transitions.add(
        Transition(new_id(), monitor.id, MonitorState.READY, MonitorState.ACTIVE, "ada", "started", START)
    )
    database.acknowledgements.add(
        Acknowledgement(new_id(), monitor.id, "grace", START + 5 * STEP, f"new scanner {EVIL}", 0.001, 0.002)
    )
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert "<code>frequency_minutes</code>: 5 → 15" in page
    assert "alarm acknowledged; false alarms at most 0.002 so far" in page
    assert "new scanner &lt;script&gt;" in page
    assert page.index("new scanner") < page.index("configuration, version 2") < page.index("ready → active")


def test_a_monitor_without_windows_says_what_to_do_first(signed_in: TestClient) -> None:
    monitor = add_monitor(
        signed_in, "empty", state=MonitorState.PENDING, message="The schema has no prediction output."
    )
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert "No window was looked at yet" in page
    assert "Its schema is not complete. The schema has no prediction output." in page
    assert "data-chart" not in page


def test_the_state_decides_whether_it_can_be_started_or_stopped(signed_in: TestClient) -> None:
    active = add_monitor(signed_in, "goes")
    ready = add_monitor(signed_in, "waits", state=MonitorState.READY)
    assert f'action="/monitors/{active.id}/stop"' in signed_in.get(f"/monitors/{active.id}").text
    assert f'action="/monitors/{ready.id}/start"' in signed_in.get(f"/monitors/{ready.id}").text


def test_an_active_monitor_that_lags_says_so(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "lags")
    begin = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=5)
    add_run(signed_in, monitor, start=begin, end=begin + STEP)
    assert "The newest window ended 5 hours ago" in signed_in.get(f"/monitors/{monitor.id}").text


def test_strangers_sign_in_first_and_see_nothing_of_others(pages: TestClient) -> None:
    theirs = add_monitor(pages, "not-mine", owner="somebody-else")
    answer = pages.get(f"/monitors/{theirs.id}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next=/monitors/{theirs.id}")
    with somebody_else(pages):
        assert pages.get(f"/monitors/{theirs.id}").status_code == 404


def test_names_and_messages_are_text(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "evil-page", state=MonitorState.ERROR, message=EVIL)
    run = add_run(signed_in, monitor)
    services_of(signed_in).database.monitors.update(monitor.id, name=EVIL)
    images = (replace(run.images[0], prediction=EVIL, nearest=EVIL),)
    services_of(signed_in).database.monitor_runs.update(run.id, images=images)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert EVIL not in page
    assert page.count("&lt;script&gt;") >= 4


def test_only_the_verdict_follows_what_happens(signed_in: TestClient) -> None:
    monitor = add_monitor(signed_in, "live")
    run = add_run(signed_in, monitor)
    page = signed_in.get(f"/monitors/{monitor.id}").text
    assert page.count("data-live=") == 1
    assert f'id="now" data-live="monitors" data-newest="{run.id}"' in page
    assert f"newest={run.id}" in page  # of each chart's address: the browser keeps what does not change
    assert services_of(signed_in).monitors.configs(monitor, Query(1)).items == ()
