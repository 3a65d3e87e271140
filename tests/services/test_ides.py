"""A JupyterLab that the server runs: who gets in, what it is told, when it ends, and that it comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from parts_visits import add_folder, eventually, open_pages, services_of
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.ide import Ide, IdeRequest, IdeState
from tidegauge.domain.users import Principal, Scope
from tidegauge.services import ides as module

SECONDS = 120.0


def caller_of(pages: TestClient) -> Principal:
    return Principal(services_of(pages).people.owner("operator"))


def state_of(pages: TestClient, id_: str, wanted: IdeState = IdeState.RUNNING) -> Ide:
    look = services_of(pages).database.ides
    return eventually(lambda: look.get(id_), lambda ide: ide.state is wanted, SECONDS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ides") / "home"


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[tuple[TestClient, Ide]]:
    """A JupyterLab that was made, and found again when the server came back; it runs."""
    code = home.parent / "code"
    code.mkdir()
    (code / "resources.py").write_text("print(1)\n")
    with open_pages(home) as pages:
        add_folder(pages, RepositoryKind.CODE, "mine", code)
        made = services_of(pages).ides.create(caller_of(pages), IdeRequest("lab", "mine"))
        state_of(pages, made.id)
        assert tokens(pages, made) == ["IDE lab"]
        (home / "ide" / made.id / "files" / "workspace" / "mine" / "own.txt").write_text("kept")
    with open_pages(home) as pages:
        pages.post("/sign-in", data={"token": services_of(pages).people.issue_for("operator", "again")})
        yield pages, state_of(pages, made.id)


def tokens(pages: TestClient, ide: Ide) -> list[str]:
    return [token.name for token in services_of(pages).database.tokens.where(subject=ide.id)]


def test_files_stay_when_the_server_comes_back(lab: tuple[TestClient, Ide]) -> None:
    pages, ide = lab
    listed = pages.get(f"{ide.base}api/contents/workspace/mine").json()["content"]
    assert {file["name"] for file in listed} == {"resources.py", "own.txt"}
    assert tokens(pages, ide) == ["IDE lab"]  # another one than before: the former is revoked


def test_its_pages_hold_no_secret_and_may_ask_only_what_is_below_them(lab: tuple[TestClient, Ide]) -> None:
    pages, ide = lab
    answer = pages.get(ide.lab)
    secret = services_of(pages).ides._running[ide.id].door.secret
    assert secret not in answer.text
    policies = answer.headers.get_list("content-security-policy")
    assert any(f"connect-src testserver{ide.base} ws://testserver{ide.base}" in policy for policy in policies)
    assert answer.headers["cross-origin-opener-policy"] == "unsafe-none"
    assert list(answer.cookies) == ["_xsrf"]
    sandboxed = pages.get(
        f"{ide.base}files/workspace/mine/own.txt", headers={"Referer": "http://testserver/"}
    )
    assert "sandbox" in sandboxed.headers.get_list("content-security-policy")[0]
    icon = f"{ide.base}static/favicons/favicon.ico"
    since = {"If-Modified-Since": pages.get(icon).headers["last-modified"]}
    assert pages.get(icon, headers=since).status_code == 304
    log = services_of(pages).ides.log(ide)
    assert "is running at" in log
    assert secret not in log


def test_changes_need_jupyters_own_sign_and_our_origin(lab: tuple[TestClient, Ide]) -> None:
    pages, ide = lab
    pages.get(ide.lab)
    sign = next(cookie.value for cookie in pages.cookies.jar if cookie.name == "_xsrf")
    path, body = f"{ide.base}api/contents/workspace/mine/big.txt", {"type": "file", "format": "text"}
    large = {**body, "content": "x" * (3 << 20)}  # more than other routes take
    assert pages.put(path, json=large).status_code == 403
    assert pages.put(path, json=large, headers={"X-XSRFToken": sign}).status_code == 201
    theirs = {"X-XSRFToken": sign, "Origin": "http://evil.example"}
    assert pages.put(path, json=large, headers=theirs).status_code == 403
    for site in ("cross-site", "same-site"):
        assert pages.get(f"{ide.base}api/contents", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_a_websocket_is_its_owners_from_our_own_pages(lab: tuple[TestClient, Ide]) -> None:
    pages, ide = lab
    path = f"{ide.base}api/events/subscribe"
    for origin in ("http://evil.example", ""):
        with pytest.raises(WebSocketDisconnect), pages.websocket_connect(path, headers={"Origin": origin}):
            pass
    people, owner = services_of(pages).people, caller_of(pages).user
    with pages.websocket_connect(path, headers={"Origin": "http://testserver"}) as socket:
        socket.close()
    program = TestClient(pages.app, follow_redirects=False)  # without a sign-in
    reading = {"Authorization": f"Bearer {people.issue(owner, 'read', Scope.READ)[1]}"}
    assert program.get(ide.lab, headers=reading).status_code == 403
    with pytest.raises(WebSocketDisconnect), program.websocket_connect(path, headers=reading):
        pass


def test_one_that_is_not_used_is_stopped_and_started_again(
    lab: tuple[TestClient, Ide], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages, ide = lab
    ides = services_of(pages).ides
    monkeypatch.setattr(module, "_ACTIVITY_SECONDS", 0.0)
    monkeypatch.setattr(ides, "_now", lambda: datetime.now(UTC) + timedelta(minutes=121))
    stopped = state_of(pages, ide.id, IdeState.STOPPED)
    assert stopped.message == "It was stopped after 120 minutes without use; its files are kept."
    assert tokens(pages, ide) == []
    assert pages.get(ide.lab).headers["location"] == f"/ide/{ide.id}"
    monkeypatch.undo()
    token, _ = services_of(pages).people.issue(
        caller_of(pages).user, "short", expires_at=datetime.now(UTC) + timedelta(hours=1)
    )
    started = ides.run(replace(caller_of(pages), token=token), stopped)
    assert started.until == token.expires_at
    state_of(pages, ide.id)
    acting = services_of(pages).database.tokens.find(subject=ide.id)
    assert acting
    assert (acting.scope, acting.expires_at) == (Scope.WRITE, token.expires_at)
    monkeypatch.setattr(ides, "_now", lambda: datetime.now(UTC) + timedelta(hours=2))
    ended = state_of(pages, ide.id, IdeState.STOPPED)
    assert "token that it was started by has ended" in ended.message


def test_one_ends_with_the_token_that_started_it(lab: tuple[TestClient, Ide]) -> None:
    pages, ide = lab
    services, owner = services_of(pages), caller_of(pages)
    if services.database.ides.get(ide.id).wanted is IdeState.RUNNING:
        services.ides.halt(ide, owner)
    token, _ = services.people.issue(owner.user, "stolen")
    started = services.ides.run(replace(owner, token=token), services.database.ides.get(ide.id))
    assert started.token_id == token.id
    eventually(lambda: tokens(pages, ide), lambda found: found == ["IDE lab"], SECONDS)
    services.people.revoke_own(owner.user, token.id)
    ended = state_of(pages, ide.id, IdeState.STOPPED)
    assert "token that it was started by has ended" in ended.message
    assert tokens(pages, ide) == []


def test_what_is_deleted_leaves_nothing(lab: tuple[TestClient, Ide], home: Path) -> None:
    pages, ide = lab
    assert pages.post("/ide/lab/delete").headers["location"] == "/ide"
    assert not (home / "ide" / ide.id).exists()
    assert not list((home / "logs").glob("ide-*"))
    assert pages.get(ide.lab).status_code == 404
    entries = json.dumps([entry.action for entry in services_of(pages).database.audit.all()], default=str)
    assert "/ide/{ide_id}/delete" in entries
    assert "/jupyter" not in entries
