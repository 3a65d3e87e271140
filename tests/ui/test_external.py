"""Deployments of other servers and tokens that report events, on the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from parts_pages import EVIL, Visitor, add_deployment, add_repository, open_pages
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import Deployment, Origin
from tidegauge.storage.rows import Query


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    with open_pages(tmp_path_factory.mktemp("home")) as visitor:
        yield visitor


def registered(pages: Visitor, name: str, **fields: Any) -> Deployment:
    return pages.services.deployments.register(name, "operator", **fields)


def secret_in(text: str) -> str:
    found = re.search(r'id="secret" type="text" value="([^"]+)"', text)
    assert found
    return found[1]


def report(pages: Visitor, url: str, **headers: str) -> int:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "org.kubeflow.serving.inference.request",
    }
    client: TestClient = pages._client
    headers |= {"Content-Type": "application/cloudevents+json"}
    return int(client.post(url, content=orjson.dumps({**event, "data": {}}), headers=headers).status_code)


def test_one_of_another_server_is_registered(pages: Visitor) -> None:
    assert 'href="/deployments/register" data-dialog' in pages.text("/deployments")
    assert "Register External Deployment" in pages.text("/deployments/register")
    data = {
        "name": "elsewhere", "model": "", "version": "", "classes": "NORMAL, PNEUMONIA", "service": "chest",
        "namespace": "ward", "predict_url": "https://models.example/chest", "sampling": "0.1",
        "keep_days": "30", "keep_bytes": "",
    }  # fmt: skip
    answer = pages.post("/deployments/register", data)
    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments/elsewhere")
    made = pages.services.deployments.get("operator", "elsewhere")
    assert (made.origin, made.classes, made.sampling) == (Origin.EXTERNAL, ("NORMAL", "PNEUMONIA"), 0.1)
    assert (made.service, made.namespace, made.keep_days, made.keep_bytes) == ("chest", "ward", 30, None)


def test_a_wrong_form_comes_back_with_everything_that_is_wrong(pages: Visitor) -> None:
    data = {"name": "No", "classes": "one", "sampling": "2", "predict_url": "nowhere", "keep_days": "-1"}
    answer = pages.post("/deployments/register", data)
    assert answer.status_code == 422
    for said in ("Name is &#39;No&#39;", "Classes is", "Sampling is 2", "Predict URL is", "Days kept is -1"):
        assert said in answer.text
    for value in data.values():
        assert f'value="{value}"' in answer.text
    answer = pages.post("/deployments/register", {"name": "x", "sampling": "all"})
    assert "Sampling is &#39;all&#39;; write a number." in answer.text


def test_its_page_says_where_events_go(pages: Visitor) -> None:
    made = registered(
        pages, "shown", classes=("a", "b"), predict_url="https://models.example/x", sampling=0.1
    )
    text = pages.text("/deployments/shown")
    assert f"http://testserver/v1/deployments/{made.id}/events" in text
    assert f"url: http://kserve:TOKEN@testserver/v1/deployments/{made.id}/events" in text
    assert "https://models.example/x" in text
    assert "none of the models here" in text
    assert "No token reports events of this deployment" in text
    for absent in ("/shown/stop", "/shown/playground", "Restarts", "Log of the served process"):
        assert absent not in text
    traffic = pages.text("/deployments/shown/traffic")
    assert "none yet" in traffic
    assert "0.1 of the requests" in traffic


def test_a_token_is_shown_once_reports_and_is_revoked(pages: Visitor) -> None:
    made = registered(pages, "sender")
    url = f"/v1/deployments/{made.id}/events"
    assert pages.post("/deployments/sender/tokens/new", {"name": " "}).status_code == 422
    shown = pages.post("/deployments/sender/tokens/new", {"name": "logger"})
    assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")
    secret = secret_in(shown.text)
    assert f"http://kserve:{secret}@testserver{url}" in shown.text
    assert report(pages, url, Authorization=f"Bearer {secret}") == 202
    text = pages.text("/deployments/sender")
    assert "logger" in text
    assert secret not in text
    pages.services.collector.flush()
    assert "<dd>0.2 " in pages.text("/deployments/sender/traffic")  # one in five minutes
    (token,) = pages.services.people.ingest_tokens(made.id, Query()).items
    path = f"/deployments/sender/tokens/{token.id}/revoke"
    assert "is refused from now on" in pages.text(path)
    assert pages.post(path).headers["location"] == "/deployments/sender"
    assert report(pages, url, Authorization=f"Bearer {secret}") == 401


def test_its_log_is_switched_off(pages: Visitor) -> None:
    registered(pages, "muted")
    assert "Switch logging off" in pages.text("/deployments/muted")
    assert pages.post("/deployments/muted/logging", {"logging": "off"}).status_code == 303
    assert not pages.services.deployments.get("operator", "muted").logging


def test_what_is_told_of_it_is_changed(pages: Visitor) -> None:
    registered(pages, "changed", classes=("a", "b"), sampling=0.5)
    dialog = pages.text("/deployments/changed/change")
    assert 'value="a, b"' in dialog
    assert 'value="0.5"' in dialog
    seen = re.search(r'name="seen" value="(\w+)"', dialog)
    assert seen
    data = {"classes": "a, b, c", "sampling": "0.25", "keep_bytes": "1000000", "seen": seen[1]}
    assert pages.post("/deployments/changed/change", data).status_code == 303
    found = pages.services.deployments.get("operator", "changed")
    assert (found.classes, found.sampling, found.keep_bytes) == (("a", "b", "c"), 0.25, 10**6)
    assert pages.post("/deployments/changed/change", data).status_code == 409  # it has changed since
    answer = pages.post("/deployments/changed/change", {"sampling": "0"})
    assert "Sampling is 0; give the share" in answer.text


def test_of_one_that_is_served_here_only_what_is_kept_changes(pages: Visitor) -> None:
    add_deployment(pages.services, "local", origin=Origin.IMPORTED)
    dialog = pages.text("/deployments/local/change")
    assert 'name="keep_days"' in dialog
    assert 'name="sampling"' not in dialog
    assert pages.post("/deployments/local/change", {"keep_days": "7"}).status_code == 303
    assert pages.services.deployments.get("operator", "local").keep_days == 7


def test_one_with_a_model_of_the_catalogue_has_another_version(pages: Visitor) -> None:
    add_repository(pages.services, RepositoryKind.MODEL, "known", versions=2)
    data = {"name": "versions", "model": "known", "version": "1"}
    assert pages.post("/deployments/register", data).status_code == 303
    dialog = pages.text("/deployments/versions/change")
    assert 'name="classes"' not in dialog
    pages.post("/deployments/versions/change", {"version": "2", "sampling": "1"})
    assert pages.services.deployments.get("operator", "versions").model_version == 2
    assert "known v2 stays" in pages.text("/deployments/versions/delete")


def test_what_is_of_somebody_else_is_absent(pages: Visitor) -> None:
    add_deployment(pages.services, "theirs", owner="another")
    for path in ("change", "traffic", "tokens/new", "tokens/any/revoke"):
        assert pages.get(f"/deployments/theirs/{path}").status_code == 404
    for path in ("change", "tokens/new", "tokens/any/revoke"):
        assert pages.post(f"/deployments/theirs/{path}").status_code == 404


def test_html_in_what_is_told_is_text(pages: Visitor) -> None:
    registered(pages, "evil", classes=(EVIL, "b"), service=EVIL, namespace=EVIL)
    pages.post("/deployments/evil/tokens/new", {"name": EVIL})
    for path in ("/deployments/evil", "/deployments/evil/change"):
        text = pages.text(path)
        assert EVIL not in text
        assert "&lt;script&gt;" in text
