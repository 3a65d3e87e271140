"""Deployments of servers that are not ours, looked up on the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from parts import running_server
from parts_servers import TRITON, ModelServer, model_server
from parts_watched import Watched
from tidegauge.client import Client
from tidegauge.domain.served import ServedState

SHAPE = "any x 200 x 200 x 1".replace("x", "\N{MULTIPLICATION SIGN}")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("pages") / "home") as made:
        yield made


@pytest.fixture
def triton() -> Iterator[ModelServer]:
    with model_server(TRITON) as server:
        yield server


@pytest.fixture
def pages(client: Client) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=client.url,
        cookies={"tidegauge_token": client.token},
        headers={"Origin": client.url},
        timeout=30,
    ) as http:
        yield http


def register(pages: httpx.Client, **fields: Any) -> httpx.Response:
    return pages.post("/deployments/register", data={"look": "true", **fields})


def test_registering_looks_up_what_is_served(
    pages: httpx.Client, client: Client, triton: ModelServer
) -> None:
    answer = register(pages, name="looked", predict_url=triton.url, served_model="chest", sampling="0.5")
    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments/looked")
    made = client.deployments.get("looked")
    assert (made.predict_url, made.sampling) == (f"{triton.url}/v2/models/chest/infer", 0.5)
    page = pages.get("/deployments/looked").text
    for shown in ("triton 2.41.0", SHAPE, "onnxruntime_onnx", "Open Inference Protocol (v2)"):
        assert shown in page


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"served_model": "foot"}, "Model on that server is &#39;foot&#39;; the server at url has"),
        ({}, "Model on that server is missing; the server at url has &#39;chest&#39;, &#39;hand&#39;"),
        ({"predict_url": "http://169.254.169.254/v2"}, "Predict URL leads to &#39;169.254.169.254&#39;"),
        ({"predict_url": "http://127.0.0.1:9"}, "Predict URL cannot be reached"),
        ({"predict_url": ""}, "Predict URL is no http or https URL"),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    pages: httpx.Client, triton: ModelServer, fields: dict[str, str], sentence: str
) -> None:
    answer = register(pages, **{"predict_url": triton.url, **fields})
    assert answer.status_code in (422, 503)
    assert sentence in answer.text
    assert 'id="sheet"' in answer.text


def test_look_up_on_the_page_of_a_deployment_in_chromium(
    client: Client, triton: ModelServer, page: Page
) -> None:
    client.deployments.register("seen", predict_url=f"{triton.url}/v2/models/chest/infer")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.context.add_cookies([{"name": "tidegauge_token", "value": client.token, "url": client.url}])
    watched = Watched(page, client.url)
    page.goto(f"{client.url}/deployments/seen")
    assert "Nobody has looked it up yet" in page.locator("#served").inner_text()
    page.get_by_role("button", name="Look up").click()
    page.wait_for_function("document.querySelector('#served').innerText.includes('triton')")
    assert page.locator("#served tbody").first.inner_text().split() == ["image", "FP32", *SHAPE.split()]
    watched.shoot("served-ready")
    assert watched.violations() == []
    triton.answers.clear()
    page.get_by_role("button", name="Look up").click()
    page.wait_for_function("document.querySelector('#served').innerText.includes('unreachable')")
    assert "Its predict URL is that of no model server" in page.locator("#served").inner_text()
    watched.shoot("served-unreachable")
    assert watched.violations() == []
    page.set_viewport_size({"width": 360, "height": 800})
    assert watched.overhang() <= 0
    page.goto(f"{client.url}/deployments/register")
    watched.shoot("served-register")
    assert watched.violations() == []
    assert watched.overhang() <= 0
    assert watched.problems == []


def test_the_state_follows_the_server_by_itself(client: Client, triton: ModelServer) -> None:
    made = client.deployments.import_url(triton.url, model="chest", name="followed", classes=["A", "B"])
    assert made.classes == ("A", "B")
    assert client.deployments.wait("followed").message == ""
    triton.answers["GET /v2/models/chest/ready"] = (503, b"")
    found = client.deployments.look_again("followed").served
    assert found
    assert found.state is ServedState.NOT_READY


def test_looking_keeps_nothing(client: Client, triton: ModelServer) -> None:
    before = client.deployments.list()
    found = client.deployments.look_up(f"{triton.url}/v2/models/chest/infer")
    assert (found.model, found.state) == ("chest", ServedState.READY)
    assert client.deployments.list() == before


def test_strangers_look_nowhere(client: Client) -> None:
    with httpx.Client(base_url=client.url, timeout=30) as stranger:
        for path in ("/api/v1/deployments/look", "/api/v1/deployments/import-url"):
            assert stranger.post(path, json={"url": "http://host"}).status_code == 401
