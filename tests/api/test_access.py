"""Routes are closed unless they say that they are open."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from parts_pages import START, add_deployment
from parts_routes import routes_of
from tidegauge.app import build_services, create_app
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, Scope, User
from tidegauge.services import lockout
from tidegauge.settings import load_settings
from tidegauge.web.access import OPEN
from tidegauge.web.credentials import COOKIE


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1}, {}))
    with (
        pytest.MonkeyPatch.context() as patch,
        TestClient(create_app(services), raise_server_exceptions=False, follow_redirects=False) as client,
    ):
        patch.setattr(lockout, "FREE_TOKENS", 1_000_000)  # what is tried here is no attack
        client.operator = services.people.first_start()  # type: ignore[attr-defined]
        yield client


def routes(api: TestClient) -> list[tuple[str, str, bool]]:
    return [
        (method, re.sub(r"{(\w+)(:\w+)?}", "x", route.path), route.openapi_extra == OPEN)
        for route in routes_of(api.app)
        for method in sorted(route.methods)
    ]


#: Open, and of no use without a name and a password, or a provider.
NEED_INPUT = {
    ("POST", "/sign-in"),
    ("POST", "/sign-in/password"),
    ("POST", "/api/v1/sign-in"),
    ("GET", "/sign-in/provider"),
    ("GET", "/sign-in/provider/callback"),
}


@pytest.mark.parametrize("token", ["", "tg_wrong", "\x00", "tg_" + "x" * 5000])
def test_nobody_gets_in_anywhere(api: TestClient, token: str) -> None:
    headers: dict[str, str | bytes] = {"Origin": "http://testserver"}  # as browsers say of the pages' forms
    if token:
        headers["Authorization"] = f"Bearer {token}".encode()
    for method, path, is_open in routes(api):
        answer = api.request(method, path, headers=headers)
        if (method, path) in NEED_INPUT:
            assert answer.status_code in (401, 404, 422), (method, path)
        elif is_open:
            assert answer.status_code < 400, (method, path)
        elif path.startswith(("/api", "/v1", "/serve")):
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        else:  # a page sends its visitor to the sign-in
            assert answer.status_code in (303, 401, 403), (method, path, answer.text)


def report(api: TestClient, path: str, headers: dict[str, str], source: str = "s") -> int:
    """Report an event; return what the collector answers."""
    event = {"specversion": "1.0", "id": "1", "source": source, "type": "t", "data": {}}
    told = {**headers, "Content-Type": "application/cloudevents+json"}
    return int(api.post(path, headers=told, json=event).status_code)


def test_a_token_for_the_log_is_good_for_nothing_else(api: TestClient) -> None:
    people = api.app.state.services.people
    _, secret = people.issue(people.owner("operator"), "log", Scope.INGEST, "some-deployment")
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.get("/api/v1/me", headers=headers).status_code == 403
    theirs = add_deployment(api.app.state.services, "other").id  # type: ignore[attr-defined]
    assert report(api, f"/v1/deployments/{theirs}/events", headers) == 403
    assert report(api, "/v1/events", headers, source=f"/deployments/{theirs}") == 422
    assert report(api, "/v1/deployments/some-deployment/events", headers) == 404  # its own, which is gone


def test_a_full_token_reports_for_its_own_users_deployments_and_an_operators_for_any(api: TestClient) -> None:
    services = api.app.state.services
    theirs = add_deployment(services, "theirs", "ward").id
    ward = services.database.users.add(User(new_id(), "ward", Role.USER, START))
    other = services.database.users.add(User(new_id(), "other", Role.USER, START))

    def answer(user: User, deployment_id: str) -> int:
        headers = {"Authorization": f"Bearer {services.people.issue(user, 'script')[1]}"}
        return report(api, f"/v1/deployments/{deployment_id}/events", headers)

    assert answer(ward, theirs) == 202
    assert answer(other, theirs) == 403
    assert answer(services.people.owner("operator"), theirs) == 202
    assert answer(ward, "none") == 404


@pytest.mark.parametrize("credentials", ["{}:", "{}", "any:{}", ":{}"])
def test_the_collector_takes_a_token_as_user_information_of_its_url(
    api: TestClient, credentials: str
) -> None:
    services = api.app.state.services
    own, other = (add_deployment(services, f"{name}-{new_id()}").id for name in ("own", "other"))
    _, secret = services.people.issue(services.people.owner("operator"), "log", Scope.INGEST, own)
    packed = b64encode(credentials.format(secret).encode()).decode()
    headers = {"Authorization": f"Basic {packed}"}
    assert report(api, f"/v1/deployments/{own}/events", headers) == 202
    assert report(api, f"/v1/deployments/{other}/events", headers) == 403


@pytest.mark.parametrize("credentials", ["", "%", "w6", "/w==", "OmE=\n"])
def test_credentials_that_are_none_are_nobodys(api: TestClient, credentials: str) -> None:
    headers = {"Authorization": f"Basic {credentials}".encode()}
    assert api.post("/v1/deployments/any/events", headers=headers, json=[]).status_code == 401


def test_user_information_of_a_url_is_good_for_the_collector_alone(api: TestClient) -> None:
    packed = b64encode(f"any:{api.operator}".encode()).decode()  # type: ignore[attr-defined]
    headers = {"Authorization": f"Basic {packed}"}
    assert api.get("/api/v1/me", headers=headers).status_code == 401
    assert api.get("/", headers=headers).status_code == 303


def test_a_revoked_token_is_out(api: TestClient) -> None:
    people = api.app.state.services.people
    token, secret = people.issue(people.owner("operator"), "short")
    headers = {"Authorization": f"Bearer {secret}"}
    assert api.get("/api/v1/me", headers=headers).status_code == 200
    people.revoke(token.id)
    assert api.get("/api/v1/me", headers=headers).status_code == 401


def test_a_cookie_reads_but_changes_nothing_through_the_api(api: TestClient) -> None:
    api.cookies.set(COOKIE, api.operator)  # type: ignore[attr-defined]
    body = {"name": "a", "source": {"type": "upload"}}
    assert api.get("/api/v1/me").status_code == 200
    assert api.post("/api/v1/code", json=body).status_code == 401
    api.cookies.clear()


def test_a_body_without_end_is_refused(api: TestClient) -> None:
    headers = {"Authorization": f"Bearer {api.operator}"}  # type: ignore[attr-defined]
    answer = api.put("/api/v1/monitors/any/thresholds", headers=headers, content=b" " * (2**20 + 1))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (413, "body")


def test_the_operator_token_is_made_once(api: TestClient) -> None:
    assert api.operator.startswith("tg_")  # type: ignore[attr-defined]
    assert api.app.state.services.people.first_start() is None


def test_errors_are_problem_documents_with_fields(api: TestClient) -> None:
    headers = {"Authorization": f"Bearer {api.operator}"}  # type: ignore[attr-defined]
    answer = api.post("/api/v1/deployments", headers=headers, json={"name": "a", "version": "one"})
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (422, 422)
    assert {error["field"] for error in problem["errors"]} == {"model", "version"}
    missing = api.get("/api/v1/datasets/none", headers=headers)
    assert (missing.status_code, missing.json()["detail"]) == (404, "There is no dataset 'none'.")


def test_the_openapi_document_describes_every_route(api: TestClient) -> None:
    paths = api.get("/api/v1/openapi.json").json()["paths"]
    assert {"/healthz", "/v1/events", "/api/v1/monitors/{monitor_id}/runs"} <= set(paths)
