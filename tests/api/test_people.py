"""Users, tokens and sessions over HTTP, and who may what with which token."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from parts import running_server
from parts_pages import add_deployment
from tidegauge.api import errors
from tidegauge.app import build_services
from tidegauge.client import Client
from tidegauge.domain.users import Principal, Scope
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TooManyError,
)
from tidegauge.settings import load_settings
from tidegauge.web.access import Linked

OWN = "tide and moon and stars"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("people") / "home") as client:
        yield client


def user(server: Client, name: str) -> Client:
    """Add a user, and return a client of theirs."""
    invitation = server.users.create(name)
    with Client(server.url, "none") as stranger:
        return Client(server.url, stranger.sign_in(name, invitation.password, chosen=OWN).secret)


def test_a_user_signs_in_by_a_one_time_password_and_chooses_another(server: Client) -> None:
    invitation = server.users.create("ada")
    with Client(server.url, "none") as stranger:
        with pytest.raises(ForbiddenError, match="good once"):
            stranger.sign_in("ada", invitation.password)
        made = stranger.sign_in("ada", invitation.password, chosen=OWN, token_name="laptop")
        with pytest.raises(NotSignedInError):
            stranger.sign_in("ada", invitation.password)
    with Client(server.url, made.secret) as ada:
        assert (ada.me().name, ada.me().role) == ("ada", "user")
        ada.change_password("stars and moon and tide", OWN)
        with pytest.raises(InvalidInputError, match="password is not the one"):
            ada.change_password(OWN, OWN)
        assert [token.name for token in ada.tokens.list()] == ["laptop"]


def test_nothing_that_is_told_of_people_has_a_hash(server: Client) -> None:
    user(server, "hashless")
    for path in ("users", "users/hashless", "me", "tokens", "me/sessions", "users/hashless/sessions"):
        answer = server.request("GET", f"/api/v1/{path}").text
        assert "hash" not in answer.replace("hashless", "")
        assert "argon2" not in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "users"),
        ("POST", "users"),
        ("GET", "users/operator"),
        ("PATCH", "users/operator"),
        ("DELETE", "users/operator"),
        ("POST", "users/operator/password"),
        ("GET", "users/operator/sessions"),
        ("DELETE", "users/operator/sessions"),
        ("DELETE", "users/operator/sessions/any"),
    ],
)
def test_users_are_the_operators_alone(server: Client, method: str, path: str) -> None:
    name = f"u{abs(hash((method, path)))}"
    with user(server, name) as theirs:
        body = {"name": "eve"} if path == "users" else {}
        with pytest.raises(ForbiddenError, match="operator's alone"):
            theirs.request(method, f"/api/v1/{path}", json=body)
    server.users.delete(name)


def test_roles_access_and_deletion(server: Client) -> None:
    with user(server, "bob") as bob:
        server.users.change_role("bob", "operator")
        assert bob.users.get("bob").is_operator
        with pytest.raises(ConflictError):
            server.users.create("bob")
        server.users.disable("bob")
        with pytest.raises(NotSignedInError):
            bob.me()
        with pytest.raises(ConflictError, match="last operator"):
            server.users.change_role("operator", "user")
        server.users.enable("bob")
        assert bob.me().name == "bob"
        bob.code.create("mine")
        with pytest.raises(ConflictError, match="bob owns 1 code, datasets and models"):
            server.users.delete("bob")
        server.users.delete("bob", heir="operator")
        with pytest.raises(NotSignedInError):
            bob.me()
    assert server.code.get("mine").owner == "operator"
    server.code.delete("mine")
    with pytest.raises(NotFoundError):
        server.users.get("bob")


def test_a_token_that_reads_changes_nothing(server: Client) -> None:
    with Client(server.url, server.tokens.create("reader", "read").secret) as reader:
        assert reader.me().name == "operator"
        assert reader.code.list() == []
        for method, path in (
            ("POST", "code"),
            ("POST", "tokens"),
            ("DELETE", "code/x"),
            ("PATCH", "users/x"),
        ):
            with pytest.raises(ForbiddenError, match="only reads"):
                reader.request(method, f"/api/v1/{path}", json={})
    with httpx.Client(base_url=server.url, timeout=60, headers={"Origin": server.url}) as browser:
        browser.post("/sign-in", data={"token": server.tokens.create("r2", "read").secret})
        assert browser.get("/settings/developer").status_code == 200
        assert browser.post("/settings/developer/new", data={"name": "x"}).status_code == 403


@pytest.mark.parametrize("scope", ["link", "ingest"])
def test_narrow_tokens_open_nothing_else(server: Client, scope: str) -> None:
    deployment = server.deployments.register(f"there-{scope}")
    made = server.tokens.create(scope, scope, deployment=deployment.name if scope == "ingest" else "")
    assert (made.scope, made.subject) == (scope, deployment.id if scope == "ingest" else "")
    with Client(server.url, made.secret) as narrow:
        for path in ("me", "code", "deployments", "users", "tokens"):
            with pytest.raises(ForbiddenError, match=f"good only for {scope}"):
                narrow.request("GET", f"/api/v1/{path}")
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {}}
    answer = httpx.post(
        f"{server.url}/v1/deployments/{deployment.id}/events",
        json=event,
        timeout=60,
        headers={
            "Authorization": f"Bearer {made.secret}",
            "Content-Type": "application/cloudevents+json",
        },
    )
    assert answer.status_code == (202 if scope == "ingest" else 403)


def test_what_links_accept(tmp_path_factory: pytest.TempPathFactory) -> None:
    services = build_services(load_settings(tmp_path_factory.mktemp("linked"), {"port": 1}, {}))
    services.people.first_start()
    operator = services.people.owner("operator")
    app = FastAPI()
    app.state.services = services
    errors.install(app)

    @app.get("/linked")
    def linked(caller: Linked) -> str:
        return caller.name

    own = add_deployment(services, "d").id
    with TestClient(app) as client:
        found = {
            scope: client.get(
                "/linked",
                headers={"Authorization": f"Bearer {services.people.issue(operator, 'x', scope, own)[1]}"},
            ).status_code
            for scope in Scope
        }
        assert client.get("/linked").status_code == 401
    services.collector.close()
    services.database.close()
    assert found == {Scope.READ: 403, Scope.WRITE: 200, Scope.INGEST: 403, Scope.LINK: 200}


def test_a_token_is_revoked_by_its_name_or_id_and_only_by_its_owner(server: Client) -> None:
    made = server.tokens.create("one")
    with user(server, "carl") as carl, pytest.raises(NotFoundError):
        carl.tokens.revoke(made.id)
    server.tokens.create("two")
    server.tokens.create("two")
    with pytest.raises(ConflictError, match="several tokens 'two'"):
        server.tokens.revoke("two")
    server.tokens.revoke("one")
    with pytest.raises(NotFoundError):
        server.tokens.revoke("one")
    assert not any(token.secret for token in server.tokens.list())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "scope": "ingest"}, "deployment"),
        ({"name": "x", "days": 0}, "days"),
        ({"name": "x", "days": 4000}, "days"),
        ({"name": "x", "scope": "all"}, "scope"),
        ({"name": ""}, "name"),
    ],
)
def test_a_wrong_token_request_names_its_field(server: Client, body: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        server.request("POST", "/api/v1/tokens", json=body)
    assert [error.field for error in caught.value.errors] == [field]


def test_text_that_is_none_is_wrong_and_no_mistake_of_ours(server: Client) -> None:
    for name, password in (("operator", "\\ud800"), ("\\ud800", "x"), ("\\u0000", "\\u0000")):
        body = f'{{"name": "{name}", "password": "{password}"}}'
        with pytest.raises(NotSignedInError, match="The name or the password is wrong"):
            server.request(
                "POST", "/api/v1/sign-in", content=body, headers={"Content-Type": "application/json"}
            )
    with pytest.raises(NotFoundError):
        server.request(
            "POST",
            "/api/v1/tokens",
            content='{"name": "x", "scope": "ingest", "deployment": "\\ud800"}',
            headers={"Content-Type": "application/json"},
        )


def test_sessions_are_listed_and_ended(server: Client) -> None:
    with httpx.Client(
        base_url=server.url, timeout=60, headers={"Origin": server.url, "User-Agent": "Lynx"}
    ) as browser:
        browser.post("/sign-in", data={"token": server.token})
        assert browser.get("/").status_code == 200
        mine = next(session for session in server.sessions.list() if session.agent == "Lynx")
        assert (mine.address, mine.means) == ("127.0.0.1", "token")
        server.sessions.end(mine.id)
        assert browser.get("/").status_code == 303
        browser.post("/sign-in", data={"token": server.token})
        server.users.end_sessions("operator")
        assert server.users.sessions("operator") == []
        assert browser.get("/").status_code == 303


def test_wrong_passwords_and_wrong_tokens_are_held_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_server(tmp_path_factory.mktemp("wrong") / "home") as client:
        client.users.create("ada")
        with Client(client.url, "tg_wrong") as stranger:
            for _ in range(5):
                with pytest.raises(NotSignedInError):
                    stranger.sign_in("ada", "no")
            with pytest.raises(TooManyError, match="Too many attempts have failed; wait") as caught:
                stranger.sign_in("ada", "no")
            assert 1 <= caught.value.retry_after <= 30
            for _ in range(20):
                with pytest.raises(NotSignedInError):
                    stranger.me()
            with pytest.raises(TooManyError):
                stranger.me()
            events = httpx.post(
                f"{client.url}/v1/events", timeout=60, headers={"Authorization": "Bearer tg_wrong"}
            )
            assert (events.status_code, "retry-after" in events.headers) == (429, True)
            page = httpx.get(f"{client.url}/", timeout=60, headers={"Authorization": "Bearer tg_wrong"})
            assert (page.status_code, "retry-after" in page.headers) == (429, True)
        assert client.me().name == "operator"  # from the same address


def test_a_principal_without_a_token_has_everything_but_events_of_others() -> None:
    """A session by password may do what its user may."""
    from tidegauge.domain.users import Role, User

    ada = Principal(User("u", "ada", Role.USER, None))  # type: ignore[arg-type]
    assert ada.scope is Scope.WRITE
    assert (ada.may_ingest("d", "ada"), ada.may_ingest("d", "bob")) == (True, False)
