"""What of the served requests is in the log, on the page of a deployment and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from parts_pages import Visitor, open_pages
from tidegauge.domain.capture import Capture


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    with open_pages(tmp_path_factory.mktemp("home")) as visitor:
        yield visitor


def captured(pages: Visitor, name: str, **known: object) -> datetime:
    """Take down a minute of an hour ago; return it."""
    made = pages.services.deployments.register(name, "operator")
    capture = Capture.of(made.id, "s", datetime.now(UTC) - timedelta(hours=1), **known)
    pages.services.database.captures.add(capture)
    return capture.minute


def test_without_numbers_nothing_is_claimed(pages: Visitor) -> None:
    pages.services.deployments.register("silent", "operator")
    text = pages.text("/deployments/silent/traffic")
    assert "not known" in text
    assert "served requests" not in text


def test_all_in_the_log_is_no_warning(pages: Visitor) -> None:
    captured(pages, "whole", numbers=((1, 1500),), served=1500)
    text = pages.text("/deployments/whole/traffic")
    assert "1,500 of 1,500 served requests" in text
    assert "not in the log" not in text


def test_what_was_lost_is_told_with_the_way_to_the_manual(pages: Visitor) -> None:
    captured(pages, "lossy", numbers=((1, 7),), served=9, overflow=2)
    text = pages.text("/deployments/lossy/traffic")
    assert "7 of 9 served requests" in text
    assert "2 of 9 served requests are not in the log: 2 overflowed the model server&#39;s queue." in text
    assert 'href="/help/model-server#what-was-lost"' in text
    assert 'id="what-was-lost"' in pages.text("/help/model-server")


def test_the_api_answers_in_whole_minutes_for_the_owner_alone(pages: Visitor) -> None:
    minute = captured(pages, "asked", numbers=((1, 7),), served=9, overflow=2)
    start, end = minute + timedelta(seconds=20), minute + timedelta(seconds=80)
    path = "/api/v1/deployments/asked/captures"
    found = pages.get(path, start=start.isoformat(), end=end.isoformat()).json()
    counts = {"served": 9, "captured": 7, "overflow": 2, "refused": 0, "missing": 0}
    assert (found["total"], found["senders"]) == (counts, {"s": counts})
    assert datetime.fromisoformat(found["start"]) == minute
    assert datetime.fromisoformat(found["end"]) == minute + timedelta(minutes=2)
    assert pages.get(path).json()["total"] == counts
    assert pages.get(path, start=end.isoformat(), end=start.isoformat()).status_code == 422
    assert pages.get("/api/v1/deployments/nobodys/captures").status_code == 404
