"""Signing in by name and password, the own account, and the users, as pages."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from parts_visits import open_pages, services_of, somebody_else
from tidegauge.domain.users import Scope
from tidegauge.services import lockout

OWN = "tide and moon and stars"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_pages(tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
def pages(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The operator's browser, and no users but the operator at the end."""
    for name in ("FREE_PAIR", "FREE_ADDRESS", "FREE_NAME"):
        monkeypatch.setattr(lockout, name, 1000)
    before = dict(server.cookies)
    yield server
    server.cookies.clear()
    server.cookies.update(before)
    database = services_of(server).database
    for user in database.users.where():
        if user.name != "operator":
            database.users.delete(user.id)


def text_of(answer: Any) -> str:
    return html.unescape(answer.text)


def add(pages: TestClient, name: str, role: str = "user") -> str:
    """Add a user by the form; return the one-time password."""
    shown = pages.post("/users/new", data={"name": name, "role": role})
    assert shown.status_code == 200, shown.text
    found = re.search(r'id="secret" type="text" value="([^"]+)"', shown.text)
    assert found
    assert f"http://testserver/sign-in/password?name={name}" in shown.text
    return found[1]


def choose(pages: TestClient, name: str, one_time: str, chosen: str = OWN, again: str = "") -> Any:
    data = {"name": name, "password": one_time, "chosen": chosen, "again": again or chosen, "next": "/code"}
    return pages.post("/sign-in/password", data=data)


def test_a_new_user_chooses_a_password_and_is_signed_in(pages: TestClient) -> None:
    one_time = add(pages, "ada")
    pages.cookies.clear()
    answer = pages.post("/sign-in", data={"name": "ada", "password": one_time, "next": "/code"})
    assert answer.headers["location"] == "/sign-in/password?name=ada&next=/code"
    assert "set-cookie" not in answer.headers
    form = pages.get(answer.headers["location"]).text
    assert 'value="ada"' in form
    assert "This is not what you chose above" in choose(pages, "ada", one_time, again="something else").text
    short = choose(pages, "ada", one_time, chosen="short")
    assert (short.status_code, "The new password has 5 characters" in short.text) == (422, True)
    assert one_time not in short.text
    answer = choose(pages, "ada", one_time)
    assert (answer.status_code, answer.headers["location"]) == (303, "/code")
    cookie = answer.headers["set-cookie"].lower()
    assert ("httponly" in cookie, "samesite=lax" in cookie, "secure" in cookie) == (True, True, False)
    assert "ada</span>" in pages.get("/settings/account").text
    assert pages.post("/sign-out").status_code == 303
    assert services_of(pages).database.sessions.count() == 1  # the operator's


def test_a_session_that_only_reads_can_be_ended(pages: TestClient) -> None:
    services = services_of(pages)
    secret = services.people.issue(services.people.owner("operator"), "reads", Scope.READ)[1]
    pages.post("/sign-in", data={"token": secret})
    assert pages.get("/datasets").status_code == 200
    assert pages.post("/users/new", data={"name": "x"}).status_code == 403
    assert pages.post("/sign-out").status_code == 303
    assert services.database.sessions.count() == 1  # the operator's


def test_over_https_the_cookie_goes_nowhere_else(pages: TestClient) -> None:
    token = services_of(pages).people.issue_for("operator", "https")
    headers = {"Origin": "https://testserver"}
    answer = pages.post("https://testserver/sign-in", data={"token": token}, headers=headers)
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_form_of_another_site_signs_nobody_in_or_out(pages: TestClient) -> None:
    for path in ("/sign-in", "/sign-in/password", "/sign-out", "/users/new", "/settings/account/password"):
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert pages.post(path, data={"name": "a"}, headers=headers).status_code == 403, path
    assert pages.get("/users").status_code == 200


def test_a_wrong_password_is_told_at_its_field_and_nothing_comes_back(pages: TestClient) -> None:
    answer = pages.post("/sign-in", data={"name": "operator", "password": "my secret guess"})
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert re.search(r'id="password" name="password"[^>]*aria-invalid="true"', answer.text)
    assert 'value="operator"' in answer.text
    assert "my secret guess" not in answer.text


def test_who_fails_too_often_is_told_how_long_to_wait(
    pages: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockout, "FREE_PAIR", 2)
    guess = {"name": "nobody-else", "password": "no"}
    assert [pages.post("/sign-in", data=guess).status_code for _ in range(3)] == [401, 401, 429]
    answer = pages.post("/sign-in", data=guess)
    assert re.search(r"Too many attempts have failed; wait \d+ seconds?, then sign in\.", answer.text)
    assert 1 <= int(answer.headers["retry-after"]) <= 30


def test_a_user_is_looked_after_by_dialogs(pages: TestClient) -> None:
    one_time = add(pages, "bob")
    for dialog in ("role", "access", "password", "delete", "sessions/end"):
        assert pages.get(f"/users/bob/{dialog}").status_code == 200
    assert pages.post("/users/bob/role").headers["location"] == "/users/bob"
    assert "Make a user" in pages.get("/users/bob").text
    assert pages.post("/users/bob/access").status_code == 303
    assert "disabled" in pages.get("/users/bob").text
    assert pages.post("/users/bob/access").status_code == 303
    again = pages.post("/users/bob/password")
    assert one_time not in again.text
    assert "One-time password of bob" in again.text
    pages.post("/users/bob/role")
    assert pages.post("/users/bob/delete").headers["location"] == "/users"
    assert pages.get("/users/bob").status_code == 404


def test_what_is_refused_is_told_in_the_dialog(pages: TestClient) -> None:
    for dialog in ("role", "access", "delete"):
        answer = pages.post(f"/users/operator/{dialog}")
        assert answer.status_code == 409
        assert "operator is the last operator" in answer.text
    add(pages, "carl")
    twice = pages.post("/users/new", data={"name": "carl", "role": "user"})
    assert (twice.status_code, "There is a user 'carl' already" in text_of(twice)) == (409, True)
    wrong = pages.post("/users/new", data={"name": "Carl 7", "role": "king"})
    assert wrong.status_code == 422
    assert pages.post("/users/carl/delete", data={"heir": "nobody"}).status_code == 404


def test_the_account_changes_its_password_and_ends_its_sessions(pages: TestClient) -> None:
    one_time = add(pages, "dora")
    pages.cookies.clear()
    choose(pages, "dora", one_time)
    path = "/settings/account/password"
    wrong = pages.post(path, data={"password": "no", "chosen": OWN + "!", "again": OWN + "!"})
    assert (wrong.status_code, "Password now is not the one that you have now." in wrong.text) == (422, True)
    assert OWN not in wrong.text
    data = {"password": OWN, "chosen": "stars and moon and tide", "again": "stars and moon and tide"}
    assert pages.post(path, data=data).headers["location"] == "/settings/account"
    account = pages.get("/settings/account").text
    assert "this one" in account
    session = re.search(r"sessions/([^/]+)/end", account)
    assert session
    dialog = f"/settings/account/sessions/{session[1]}/end"
    assert "ending it signs you out here" in pages.get(dialog).text
    assert pages.post(dialog).headers["location"] == "/sign-in"
    assert pages.get("/settings/account").status_code == 303


def test_a_token_of_each_scope_is_made_by_the_form(pages: TestClient) -> None:
    path = "/settings/developer/new"
    shown = pages.post(path, data={"name": "reads", "scope": "read", "days": "7"})
    assert "TIDEGAUGE_TOKEN=tg_" in shown.text
    missing = pages.post(path, data={"name": "events", "scope": "ingest"})
    assert (missing.status_code, "Deployment is missing" in missing.text) == (422, True)
    assert pages.post(path, data={"name": "x", "days": "soon"}).status_code == 422
    listed = pages.get("/settings/developer").text
    assert "reading what you may see" in listed
    assert "never" in listed


def test_users_are_the_operators_alone(pages: TestClient) -> None:
    add(pages, "eve")
    with somebody_else(pages):
        for path in ("/users", "/users/new", "/users/eve", "/users/eve/delete", "/users/eve/sessions/end"):
            assert pages.get(path).status_code == 403, path
        for path in ("/users/new", "/users/eve/role", "/users/eve/access", "/users/eve/password",
                     "/users/eve/delete", "/users/eve/sessions/end"):  # fmt: skip
            assert pages.post(path).status_code == 403, path
