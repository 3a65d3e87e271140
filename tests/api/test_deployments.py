"""Deployments over HTTP: who may report their events, and those of other servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from parts import running_server, write_model
from tidegauge.client import Client
from tidegauge.domain.deployment import DeploymentState
from tidegauge.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("deployments") / "home") as client:
        yield client


def report(server: Client, deployment_id: str, secret: str) -> int:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {}}
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/cloudevents+json"}
    url = f"{server.url}/v1/deployments/{deployment_id}/events"
    return httpx.post(url, headers=headers, json=event).status_code


def names(server: Client, deployment: str) -> list[str]:
    return sorted(token.name for token in server.deployments.tokens(deployment))


def test_a_restart_revokes_the_model_servers_own_token_alone(server: Client, tmp_path: Path) -> None:
    server.models.create("tiny")
    server.models.add_version("tiny", write_model(tmp_path / "model"))
    made = server.deployments.create("tiny", "tiny", 1)
    server.deployments.wait("tiny")
    token = server.deployments.create_token("tiny", "script")
    before = {item.id for item in server.deployments.tokens("tiny")}
    server.deployments.update("tiny", wanted="stopped")
    assert names(server, "tiny") == ["script"]
    server.deployments.update("tiny", wanted="running")
    server.deployments.wait("tiny")
    assert names(server, "tiny") == ["inference log", "script"]
    assert {item.id for item in server.deployments.tokens("tiny")} & before == {token.id}
    assert report(server, made.id, token.secret) == 202
    server.deployments.delete("tiny")
    assert report(server, made.id, token.secret) == 401


def test_a_token_for_events_makes_no_tokens(server: Client) -> None:
    server.deployments.register("closed")
    token = server.deployments.create_token("closed", "script")
    with (
        Client(server.url, token.secret) as sender,
        pytest.raises(ForbiddenError, match="good only for ingest"),
    ):
        sender.deployments.create_token("closed", "another")
    with pytest.raises(ConflictError, match="token 'script' of this deployment already") as refused:
        server.deployments.create_token("closed", "script")
    assert [error.field for error in refused.value.errors] == ["name"]
    with pytest.raises(NotFoundError):
        server.deployments.revoke_token("closed", "none")


def test_one_of_another_server_runs_once_something_comes(server: Client) -> None:
    made = server.deployments.register("elsewhere", classes=["a", "b"], service="chest", namespace="ward")
    assert made.state is DeploymentState.UNKNOWN
    assert report(server, made.id, server.token) == 202
    found = server.deployments.wait("elsewhere", timeout=30)
    assert found.state is DeploymentState.RUNNING
    assert server.deployments.predict_url(found) == ""
    with pytest.raises(ConflictError, match="ask its own server"):
        server.deployments.predict(found, {"instances": []})
    assert server.request("GET", "/metrics").text.count('deployment_id="' + made.id) > 0


def test_with_logging_off_events_are_refused(server: Client) -> None:
    made = server.deployments.register("muted")
    assert report(server, made.id, server.token) == 202
    server.deployments.update("muted", logging=False)
    assert report(server, made.id, server.token) == 403
    server.deployments.update("muted", logging=True)
    assert report(server, made.id, server.token) == 202


def test_what_is_given_is_changed_and_the_rest_stays(server: Client) -> None:
    server.deployments.register("patched", sampling=0.5, keep_days=30)
    changed = server.deployments.update("patched", keep_bytes=10**9)
    assert (changed.sampling, changed.keep_days, changed.keep_bytes) == (0.5, 30, 10**9)
    assert server.deployments.update("patched", keep_days=None).keep_days is None
    assert server.deployments.update("patched") == server.deployments.get("patched")


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"sampling": 3}, InvalidInputError, "sampling"),
        ({"wanted": "stopped"}, ConflictError, "wanted"),
        ({"wanted": "failed"}, InvalidInputError, "wanted"),
        ({"origin": "local"}, InvalidInputError, "origin"),
        ({"sampling": None}, InvalidInputError, "sampling"),
    ],
)
def test_what_is_refused_names_its_field(
    server: Client, changes: dict[str, Any], error: type[ConflictError], field: str
) -> None:
    if not [found for found in server.deployments.list("firm") if found.name == "firm"]:
        server.deployments.register("firm")
    with pytest.raises(error) as refused:
        server.deployments.update("firm", **changes)
    assert {item.field.rpartition(".")[2] for item in refused.value.errors} == {field}
