"""What no form sends: every page answers with one sentence, as a page, and the server's log stays empty."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from parts_pages import START, Visitor, add_monitor, open_pages
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import MonitorRun
from tidegauge.domain.status import Status

HUGE = "9" * 30


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    home: Path = tmp_path_factory.mktemp("home")
    with open_pages(home) as found:
        monitor = add_monitor(found.services, "ward")
        end = START + timedelta(minutes=5)
        unknown = Status.UNKNOWN
        run = MonitorRun("run", monitor.id, 1, START, end, 1, end, unknown, unknown, unknown, unknown)
        found.services.database.monitor_runs.add(run)
        found.services.history.note(monitor, run)
        found.path = f"/monitors/{monitor.id}"  # type: ignore[attr-defined]
        yield found


@pytest.mark.parametrize(
    "address",
    [
        "?start=0001-01-01T00:00&end=9999-12-31T23:59%2B14:00",
        "?at=9999-12-31T23:59",
        "?at=0001-01-01T00:00",
        "?range=never",
        f"/runs/run?image=a:{'9' * 5000}",
        f"/baselines/{HUGE}/image.png?name=a",
        "/charts/../../etc/passwd",
        "/charts/timeline.json?start=0001-01-01",
        "/thresholds/suggest?window.size=abc",
        f"/backfill?made={HUGE}x",
    ],
)
def test_an_address_that_cannot_be_is_answered_in_a_sentence(
    visitor: Visitor, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = visitor.get(visitor.path + address)  # type: ignore[attr-defined]
    assert answer.status_code < 500, answer.text
    assert caplog.records == []


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("/accept", {"start": "0001-01-01T00:00", "end": "9999-12-31T23:59", "start.x": "1"}),
        ("/maintenance/new", {"start": "0001-01-01T00:00", "end": "9999-12-31T23:59", "reason": "x"}),
        ("/backfill", {"start": "0001-01-01T00:00", "end": "9999-12-31T23:59"}),
        ("/config", {"drift": "1", "drift.enabled": "true", "frequency_minutes": HUGE}),
        ("/thresholds/suggest", {"window.size": HUGE}),
        ("/alerts/new", {"name": "a", "repeat_minutes": HUGE, "breaches": HUGE, "row": HUGE}),
    ],
)
def test_a_form_that_cannot_be_is_answered_in_a_sentence(
    visitor: Visitor, page: str, fields: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = visitor.post(visitor.path + page, fields)  # type: ignore[attr-defined]
    assert answer.status_code < 500, answer.text
    assert caplog.records == []


def test_a_mistake_of_ours_is_a_page_too(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor.services.history, "glances", lambda _: 1 / 0)
    answer = visitor.get("/monitors")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert answer.text.startswith("<!doctype html>")


def test_a_number_that_is_none_is_told_on_a_page(visitor: Visitor) -> None:
    answer = visitor.get("/?page=abc")
    assert answer.status_code == 422
    assert answer.text.startswith("<!doctype html>")


def test_ids_that_no_row_can_have_are_not_found(visitor: Visitor) -> None:
    assert visitor.get(f"/code/{new_id()}").status_code == 404
    assert visitor.get(f"/monitors/{HUGE}").status_code == 404


@pytest.mark.parametrize("page", ["/", "/monitors", "/deployments", "/datasets", "/settings/notifications"])
@pytest.mark.parametrize("sort", ["nothing", "-nothing", "-"])
def test_a_list_says_what_it_can_be_sorted_by(visitor: Visitor, page: str, sort: str) -> None:
    answer = visitor.get(f"{page}?sort={sort}")
    assert answer.status_code == 422
    assert "sort is" in answer.text
    assert "use one of" in answer.text


@pytest.mark.parametrize("page", ["/alerts", "/alerts/history", "/thresholds", "/maintenance"])
def test_a_list_of_a_monitor_says_what_it_can_be_sorted_by(visitor: Visitor, page: str) -> None:
    path = visitor.path + page  # type: ignore[attr-defined]
    assert visitor.get(f"{path}?sort=nothing").status_code == 422
    assert visitor.get(f"{path}?sort=-").status_code == 422
    if page in ("/alerts", "/thresholds"):
        assert visitor.get(f"{path}?sort=").status_code == 200
