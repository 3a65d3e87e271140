"""The tour, and the welcome of a first visit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from parts_visits import open_pages
from tidegauge.ui.pages.tour import STOPS


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_pages(tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.mark.parametrize("number", range(1, len(STOPS) + 1))
def test_every_stop_leads_to_a_page_that_is_there(pages: TestClient, number: int) -> None:
    page = pages.get(f"/tour?stop={number}").text
    assert f"stop {number} of {len(STOPS)}" in page
    place = re.search(r'href="([^"]+)" target="_blank"', page)
    assert place
    assert pages.get(place.group(1)).status_code == 200
    assert (f'href="/tour?stop={number + 1}">Next' in page) is (number < len(STOPS))
    assert (f'href="/tour?stop={number - 1}">Back' in page) is (number > 1)


def test_there_are_no_other_stops(pages: TestClient) -> None:
    assert pages.get("/tour?stop=0").status_code == 404
    assert pages.get(f"/tour?stop={len(STOPS) + 1}").status_code == 404
