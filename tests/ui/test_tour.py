"""The tour, and the welcome of a first visit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from parts_visits import EVIL, open_pages, services_of, somebody_else
from tidegauge.errors import ConflictError
from tidegauge.services.example import Examples, ExampleState, ExampleStatus
from tidegauge.services.example.play import Step
from tidegauge.ui.pages.tour import STOPS

HTMX = {"HX-Request": "true"}


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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who asked for the example; nothing is created."""
    found: list[str] = []
    monkeypatch.setattr(Examples, "missing", staticmethod(list))
    monkeypatch.setattr(Examples, "create", lambda _, owner: found.append(owner))
    return found


def note(pages: TestClient, **status: object) -> None:
    services_of(pages).examples._save(ExampleStatus("operator", **status))  # type: ignore[arg-type]


def test_a_first_visit_is_welcomed(pages: TestClient) -> None:
    page = pages.get("/").text
    assert "Welcome to Tidegauge" in page
    assert 'href="/example/new" data-dialog>Create the example</a>' in page
    assert 'href="/tour">Take the tour</a>' in page


def test_the_example_is_asked_for_and_followed(pages: TestClient, asked: list[str]) -> None:
    dialog = pages.get("/example/new").text
    assert "no patient&#39;s images" in dialog or "no patient's images" in dialog
    answer = pages.post("/example/new", headers=HTMX)
    assert (answer.headers["hx-redirect"], asked) == ("/example", ["operator"])
    note(
        pages, state=ExampleState.RUNNING, step=Step.PIPELINE, detail="step 2 of 3: train", pipeline_run="r1"
    )
    page = pages.get("/example").text
    assert 'hx-trigger="every 1s"' in page
    assert "step 2 of 3: train" in page
    assert 'href="/pipeline-runs/r1"' in page
    assert re.findall(r'<li><span class="badge[^"]*">(\w+)', page) == [
        "succeeded",
        "running",
        *["waiting"] * 2,
    ]
    assert "The example is being created</a>: pipeline" in pages.get("/example/now").text


def test_a_finished_example_leads_to_its_monitor(pages: TestClient) -> None:
    note(pages, state=ExampleState.DONE, step=Step.TRAFFIC, monitor="m1")
    page = pages.get("/example").text
    assert 'href="/monitors/m1">Open the monitor' in page
    assert "hx-trigger" not in page


def test_a_failed_example_says_why_as_text_and_can_go_on(pages: TestClient) -> None:
    note(pages, state=ExampleState.FAILED, step=Step.MONITOR, message=f"No room {EVIL}")
    page = pages.get("/example").text
    assert "It failed: No room" in page
    assert EVIL not in page
    assert "Go on with it" in page


def test_cancelling_is_confirmed(pages: TestClient) -> None:
    note(pages, state=ExampleState.RUNNING)
    assert "is used when you go on with it" in pages.get("/example/cancel").text
    assert pages.post("/example/cancel", headers=HTMX).headers["hx-redirect"] == "/example"
    note(pages, state=ExampleState.DONE)
    refused = pages.post("/example/cancel", headers=HTMX)
    assert refused.status_code == 409
    assert "The example is not being created now." in refused.text


def test_without_the_training_extra_the_dialog_says_what_to_install(
    pages: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Examples, "missing", staticmethod(lambda: ["tensorflow", "kfp"]))
    page = pages.get("/example/new").text
    assert "tensorflow and kfp must be installed" in page
    assert "tidegauge[train]" in page
    assert '<form method="post" action="/example/new"' not in page


def test_what_cannot_be_created_now_is_told_in_the_dialog(
    pages: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise ConflictError("The example of somebody else is being created; try again in two minutes.")

    monkeypatch.setattr(Examples, "create", busy)
    monkeypatch.setattr(Examples, "missing", staticmethod(list))
    refused = pages.post("/example/new", headers=HTMX)
    assert refused.status_code == 409
    assert "try again in two minutes" in refused.text


def test_the_example_of_another_is_not_shown(pages: TestClient) -> None:
    note(pages, state=ExampleState.DONE, monitor="m1")
    with somebody_else(pages):
        assert "It was not created yet." in pages.get("/example").text


@pytest.mark.parametrize("path", ["/tour", "/example"])
def test_strangers_are_sent_to_the_sign_in(pages: TestClient, path: str) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    try:
        assert pages.get(path).headers["location"] == f"/sign-in?next={path}"
    finally:
        pages.cookies.update(cookies)
