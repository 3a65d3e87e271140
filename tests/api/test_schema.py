"""What the API answers is what its OpenAPI document says; benchmarks/schema.py asks for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from parts_pages import add_deployment
from parts_schema import trial
from tidegauge.app import build_services, create_app
from tidegauge.domain.deployment import Origin
from tidegauge.links.processes import free_port
from tidegauge.settings import load_settings

CASES = 300


def test_no_answer_is_a_5xx_or_breaks_its_schema(tmp_path: Path) -> None:
    with trial(tmp_path, seed=1) as (trying, _):
        found = trying.run(CASES)
        operations = {operation.label for operation in trying.operations}
    assert not found.faults, "\n\n".join(f"{place}: {told}" for place, told in found.faults.items())
    assert found.sent.total() >= CASES
    assert set(found.sent) == operations
    assert sum(count > 0 for count in found.succeeded.values()) > len(operations) / 2, "most were refused"


@pytest.fixture
def api(tmp_path: Path):
    services = build_services(load_settings(tmp_path / "home", {"port": 1}, {}))
    with TestClient(create_app(services)) as client:
        client.headers["Authorization"] = f"Bearer {services.people.first_start()}"
        yield client


def test_errors_and_credentials_are_told_once_for_all_operations(api: TestClient) -> None:
    document = api.get("/api/v1/openapi.json").json()
    problem = document["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == set(api.get("/api/v1/monitors/none").json())
    assert "HTTPValidationError" not in document["components"]["schemas"]
    closed = document["paths"]["/api/v1/me"]["get"]
    assert closed["responses"]["4XX"] == {"$ref": "#/components/responses/Problem"}
    assert document["security"]
    assert "security" not in closed
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_a_deployment_that_is_served_elsewhere_is_not_forwarded(api: TestClient) -> None:
    services = api.app.state.services  # type: ignore[attr-defined]
    add_deployment(services, "theirs", predict_path="", predict_url="http://theirs.example/v1")
    answer = api.get("/serve/theirs/v1/models/theirs")
    assert answer.status_code == 409
    assert answer.json()["detail"] == (
        "The deployment 'theirs' is external; ask its own server (http://theirs.example/v1)."
    )


def test_a_path_with_characters_that_no_url_has_is_forwarded_quoted(api: TestClient) -> None:
    services = api.app.state.services  # type: ignore[attr-defined]
    port = free_port()  # where nobody listens
    add_deployment(services, "ours", origin=Origin.LOCAL, port=port)
    answer = api.get("/serve/ours/v1/%07%7f")
    assert answer.status_code == 503
    assert "The model server of 'ours' does not answer" in answer.json()["detail"]
