"""Alarms acknowledged, windows accepted, maintenance announced: as pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from parts_browser import EVIL, START, browser, make_monitor, services_of
from parts_visits import somebody_else
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Acknowledgement, EvidenceResult, EvidenceState, Monitor


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with browser(tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def monitor(pages: TestClient) -> Monitor:
    return make_monitor(services_of(pages))


def alarmed(pages: TestClient, segment: str = "") -> Monitor:
    """Make a monitor with a drift alarm, of the whole or of a segment."""
    result = EvidenceResult(20.0, 20.0, True, START, START - timedelta(hours=1), "sharpness", -7.9, 300)
    state = EvidenceState(1, "", 0, 0, 0.001, result if not segment else None)
    if segment:
        state = EvidenceState(1, "", 0, 0, 0.001, None, {segment: EvidenceState(1, "", 0, 0, 0.001, result)})
    return make_monitor(services_of(pages), evidence=state)


def test_without_an_alarm_there_is_nothing_to_acknowledge(pages: TestClient, monitor: Monitor) -> None:
    page = pages.get(f"/monitors/{monitor.id}/acknowledge").text
    assert "There is no drift alarm" in page
    assert ">Acknowledge</button>" not in page
    answer = pages.post(f"/monitors/{monitor.id}/acknowledge", data={"note": "x"})
    assert answer.status_code == 409


def test_an_alarm_is_said_with_since_when_what_leads_and_what_it_spends(pages: TestClient) -> None:
    monitor = alarmed(pages)
    database = services_of(pages).database
    database.acknowledgements.add(Acknowledgement(new_id(), monitor.id, "ann", START, "seen", 0.001, 0.002))
    page = pages.get(f"/monitors/{monitor.id}/acknowledge").text
    for part in (
        "Drift alarm",
        "probably since 2026-03-01 11:00 UTC",
        "sharpness leads, 7.9 standard deviations below",
        "So far 0.002 is spent; after this it is 0.003",
        "seen",
    ):
        assert part in page


def test_a_segments_alarm_names_the_segment_as_text(pages: TestClient) -> None:
    page = pages.get(f"/monitors/{alarmed(pages, EVIL).id}/acknowledge").text
    assert EVIL not in page
    assert "Segment &lt;script&gt;" in page


def test_a_refused_acknowledgement_keeps_the_note(pages: TestClient) -> None:
    monitor = alarmed(pages)  # an alarm, but no baseline to begin again from
    answer = pages.post(f"/monitors/{monitor.id}/acknowledge", data={"note": "the new scanner"})
    assert answer.status_code >= 400
    assert 'value="the new scanner"' in answer.text


def test_acknowledgements_are_listed(pages: TestClient, monitor: Monitor) -> None:
    path = f"/monitors/{monitor.id}/acknowledgements"
    assert "Nothing was acknowledged yet" in pages.get(path).text
    database = services_of(pages).database
    database.acknowledgements.add(Acknowledgement(new_id(), monitor.id, "ann", START, EVIL, 0.001, 0.002))
    page = pages.get(path).text
    assert "ann" in page
    assert EVIL not in page


def test_accepting_says_what_it_means(pages: TestClient, monitor: Monitor) -> None:
    page = pages.get(f"/monitors/{monitor.id}/accept").text
    for part in ("From", "To", "becomes what drift is measured from", "100 images or more"):
        assert part in page


def test_a_span_that_is_none_comes_back_at_its_fields(pages: TestClient, monitor: Monitor) -> None:
    path = f"/monitors/{monitor.id}/accept"
    missing = pages.post(path, data={"note": "checked"})
    assert missing.status_code == 422
    assert "From is missing; fill it in." in missing.text
    assert "To is missing; fill it in." in missing.text
    assert 'value="checked"' in missing.text
    answer = pages.post(path, data={"start": "2026-03-02T12:00", "end": "2026-03-01T12:00", "note": "n"})
    assert answer.status_code in (409, 422)
    assert 'value="2026-03-02T12:00"' in answer.text


def test_progress_of_accepting_is_shown_while_it_lasts(pages: TestClient, monitor: Monitor) -> None:
    monitors = services_of(pages).database.monitors
    monitors.update(monitor.id, progress="accepted window: 20 of 300 images")
    page = pages.get(f"/monitors/{monitor.id}/accept").text
    assert "accepted window: 20 of 300 images" in page
    assert 'data-live="monitors"' in page
    monitors.update(
        monitor.id, progress="", message="The window could not be accepted: no images. Ask for it again."
    )
    assert "The window could not be accepted: no images." in pages.get(f"/monitors/{monitor.id}/accept").text


def test_maintenance_is_announced_and_deleted(pages: TestClient, monitor: Monitor) -> None:
    path = f"/monitors/{monitor.id}/maintenance"
    assert "Press + Maintenance" in pages.get(path).text
    fields = {"start": "2026-03-01T12:00", "end": "2026-03-01T14:00", "reason": EVIL}
    assert pages.post(f"{path}/new", data=fields).headers["location"] == path
    (one,) = services_of(pages).database.maintenances.where(monitor_id=monitor.id)
    assert (one.start, one.end) == (
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        datetime(2026, 3, 1, 14, tzinfo=UTC),
    )
    page = pages.get(path).text
    assert "2026-03-01 14:00 UTC" in page
    assert EVIL not in page
    assert "No maintenance has" in pages.get(f"{path}?q=scanner").text
    assert "&lt;script&gt;" in pages.get(f"{path}?q=ALERT").text
    assert "2026-03-01 12:00 UTC" in pages.get(f"{path}/{one.id}/delete").text
    assert pages.post(f"{path}/{one.id}/delete").headers["location"] == path
    assert services_of(pages).database.maintenances.where(monitor_id=monitor.id) == ()


def test_a_wrong_maintenance_comes_back_at_its_fields(pages: TestClient, monitor: Monitor) -> None:
    path = f"/monitors/{monitor.id}/maintenance/new"
    fields = {"start": "2026-03-01T12:00", "end": "2026-03-01T11:00", "reason": "detector"}
    answer = pages.post(path, data=fields)
    assert answer.status_code == 422
    assert 'id="end-error"' in answer.text
    assert 'value="detector"' in answer.text
    assert 'value="2026-03-01T12:00"' in answer.text
    assert 'id="start-error"' in pages.post(path, data={**fields, "start": "soon"}).text


def test_maintenance_of_another_monitor_is_not_found(pages: TestClient, monitor: Monitor) -> None:
    other = make_monitor(services_of(pages))
    fields = {"start": "2026-03-01T12:00", "end": "2026-03-01T14:00"}
    pages.post(f"/monitors/{other.id}/maintenance/new", data=fields)
    (one,) = services_of(pages).database.maintenances.where(monitor_id=other.id)
    for send in (pages.get, pages.post):
        assert send(f"/monitors/{monitor.id}/maintenance/{one.id}/delete").status_code == 404


@pytest.mark.parametrize(
    "below", ["acknowledge", "accept", "acknowledgements", "maintenance", "maintenance/new"]
)
def test_strangers_and_others_see_nothing(pages: TestClient, monitor: Monitor, below: str) -> None:
    theirs = make_monitor(services_of(pages), owner="another")
    with somebody_else(pages):
        assert pages.get(f"/monitors/{theirs.id}/{below}").status_code == 404
        if below not in ("acknowledgements", "maintenance"):
            assert pages.post(f"/monitors/{theirs.id}/{below}", data={"note": "x"}).status_code == 404
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    target = f"/monitors/{monitor.id}/{below}"
    assert pages.get(target).headers["location"] == f"/sign-in?next={target}"
    pages.cookies.update(cookies)
