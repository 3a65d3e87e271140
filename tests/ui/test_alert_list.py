"""The alerts of a monitor: where they stand, muting, deleting, and what they have told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from parts_browser import (
    ACCURACY,
    EVIL,
    START,
    add_alert,
    alerts_path,
    browser,
    make_monitor,
    rules,
    services_of,
)
from parts_visits import somebody_else
from tidegauge.domain.alert import (
    Alert,
    AlertEvent,
)
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorRun
from tidegauge.domain.status import Status


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with browser(tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def monitor(pages: TestClient) -> Monitor:
    return make_monitor(services_of(pages))


def fire(pages: TestClient, monitor: Monitor, alert: Alert, summary: str = "it is low") -> AlertEvent:
    database = services_of(pages).database
    healthy = Status.HEALTHY
    run = MonitorRun(
        new_id(),
        monitor.id,
        1,
        START,
        START + timedelta(minutes=5),
        1,
        START,
        healthy,
        healthy,
        healthy,
        healthy,
    )
    database.monitor_runs.add(run)
    event = AlertEvent(
        new_id(), alert.id, monitor.id, run.id, alert.name, alert.rule.text, 0.7, run.end, summary=summary
    )
    return database.alert_events.add(event)


def test_an_empty_list_says_what_to_do_first(pages: TestClient, monitor: Monitor) -> None:
    assert "Press Add Alert" in pages.get(alerts_path(monitor)).text


def test_strangers_are_sent_to_the_sign_in(pages: TestClient, monitor: Monitor) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    for below in ("", "/new", "/history"):
        answer = pages.get(alerts_path(monitor) + below)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            f"/sign-in?next={alerts_path(monitor)}{below}",
        )
    pages.cookies.update(cookies)


def test_anothers_alerts_are_not_found(pages: TestClient) -> None:
    theirs = make_monitor(services_of(pages), owner="another")
    with somebody_else(pages):
        for below in ("", "/new", "/history"):
            assert pages.get(alerts_path(theirs) + below).status_code == 404
        assert pages.post(f"{alerts_path(theirs)}/new", data=ACCURACY).status_code == 404


def test_an_alert_of_another_monitor_is_not_found(pages: TestClient, monitor: Monitor) -> None:
    other = make_monitor(services_of(pages))
    add_alert(pages, other)
    alert = services_of(pages).monitors.alerts(other)[0]
    for below in ("", "/mute", "/delete"):
        assert pages.get(f"{alerts_path(monitor)}/{alert.id}{below}").status_code == 404
    for below in ("", "/mute", "/unmute", "/delete"):
        assert pages.post(f"{alerts_path(monitor)}/{alert.id}{below}", data=ACCURACY).status_code == 404


def test_mute_until_and_unmute(pages: TestClient, monitor: Monitor) -> None:
    add_alert(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    mute = f"{alerts_path(monitor)}/{alert.id}/mute"
    assert "no channel is told" in pages.get(mute).text
    pages.post(mute, data={"for": "8"})
    muted = services_of(pages).monitors.alerts(monitor)[0].muted_until
    assert muted
    assert timedelta(hours=7) < muted - datetime.now(UTC) < timedelta(hours=9)
    assert "muted" in pages.get(alerts_path(monitor)).text
    assert pages.post(f"{alerts_path(monitor)}/{alert.id}/unmute").headers["location"] == alerts_path(monitor)
    assert services_of(pages).monitors.alerts(monitor)[0].muted_until is None
    pages.post(mute, data={"for": "until", "until": "2999-01-01T12:00"})
    assert services_of(pages).monitors.alerts(monitor)[0].muted_until == datetime(2999, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("2001-01-01T12:00", "which is past"),
        ("", "Until (UTC) is missing"),
        ("soon", "is &#39;soon&#39;; give"),
    ],
)
def test_a_time_to_mute_until_has_to_come(pages: TestClient, monitor: Monitor, until: str, said: str) -> None:
    add_alert(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    answer = pages.post(f"{alerts_path(monitor)}/{alert.id}/mute", data={"for": "until", "until": until})
    assert answer.status_code == 422
    assert said in answer.text
    assert '<option value="until" selected>' in answer.text


def test_deletion_says_what_goes_with_it(pages: TestClient, monitor: Monitor) -> None:
    add_alert(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    services_of(pages).database.alerts.update(alert.id, firing_since=START)
    sheet = pages.get(f"{alerts_path(monitor)}/{alert.id}/delete").text
    assert "accuracy &lt; 0.85" in sheet
    assert "it is firing now" in sheet
    assert pages.post(f"{alerts_path(monitor)}/{alert.id}/delete").headers["location"] == alerts_path(monitor)
    assert rules(pages, monitor) == []


def test_the_list_says_what_fires_since_when_and_what_was_told_last(
    pages: TestClient, monitor: Monitor
) -> None:
    add_alert(pages, monitor)
    add_alert(pages, monitor, name="beta")
    alert = services_of(pages).monitors.alerts(monitor)[0]
    services_of(pages).database.alerts.update(alert.id, firing_since=START, judged_until=START)
    event = fire(pages, monitor, alert)
    page = pages.get(alerts_path(monitor)).text
    assert "firing" in page
    assert "2026-03-01 12:00 UTC" in page
    assert f'href="/monitors/{monitor.id}/runs/{event.run_id}"' in page
    assert page.index(">accuracy</a>") < page.index(">beta</a>")
    down = pages.get(f"{alerts_path(monitor)}?sort=-name").text
    assert down.index(">beta</a>") < down.index(">accuracy</a>")


def test_the_list_is_searched(pages: TestClient, monitor: Monitor) -> None:
    add_alert(pages, monitor)
    add_alert(pages, monitor, name="beta", **{"conditions.0.metric": "recall"})
    page = pages.get(f"{alerts_path(monitor)}?q=RECALL").text
    assert ">beta</a>" in page
    assert ">accuracy</a>" not in page


def test_the_history_leads_to_the_runs_and_shows_names_as_text(pages: TestClient, monitor: Monitor) -> None:
    assert "No alert has fired yet" in pages.get(f"{alerts_path(monitor)}/history").text
    add_alert(pages, monitor)
    event = fire(pages, monitor, services_of(pages).monitors.alerts(monitor)[0], EVIL)
    page = pages.get(f"{alerts_path(monitor)}/history").text
    assert f'href="/monitors/{monitor.id}/runs/{event.run_id}"' in page
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "Nothing that was told has" in pages.get(f"{alerts_path(monitor)}/history?q=other").text
