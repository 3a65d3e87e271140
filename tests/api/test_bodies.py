"""Nobody fills the memory or a disk with a body, and who sends too much is told."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Message

from parts_routes import routes_of
from tidegauge.app import build_services, create_app
from tidegauge.settings import load_settings

MB = 1 << 20
SMALL = 6 * MB  # max_upload_bytes here
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://testserver"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("home")
    services = build_services(load_settings(home, {"port": 1, "max_upload_bytes": SMALL}, {}))
    with TestClient(create_app(services), follow_redirects=False) as client:
        client.bearer = {"Authorization": f"Bearer {services.people.first_start()}"}  # type: ignore[attr-defined]
        yield client


async def taken(app: ASGIApp, method: str, path: str) -> int:
    """Return how many megabytes the app takes of a form without end, from somebody without a token."""
    count = 0

    async def receive() -> Message:
        nonlocal count
        if count == 50:
            return {"type": "http.disconnect"}
        count += 1
        return {"type": "http.request", "body": b"x" * MB, "more_body": True}

    async def send(message: Message) -> None:
        pass

    kinds = [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"application/json"]
    most = 0
    for kind in kinds:
        headers = [(b"content-type", kind), (b"origin", b"http://testserver"), (b"host", b"testserver")]
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method}
        where = {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
        ends = {"scheme": "http", "server": ("testserver", 80), "client": ("testclient", 1)}
        count = 0
        await app({**scope, **where, **ends, "headers": headers}, receive, send)
        most = max(most, count)
    return most


def test_a_stranger_is_heard_for_two_megabytes_at_most(api: TestClient) -> None:
    heard = {}
    for route in routes_of(api.app):
        for method in {"POST", "PUT", "PATCH", "DELETE"} & set(route.methods):
            path = re.sub(r"{(\w+)(:\w+)?}", "x", route.path)
            heard[method, path] = asyncio.run(taken(api.app, method, path))
    assert max(heard.values()) <= 3  # the third is the one too many
    assert heard["POST", "/sign-in"] == 2


@pytest.mark.parametrize("path", ["/sign-in", "/api/v1/deployments", "/api/v1/monitors"])
def test_a_body_that_is_too_large_is_refused_in_a_sentence(api: TestClient, path: str) -> None:
    headers = FORM if path == "/sign-in" else api.bearer  # type: ignore[attr-defined]
    answer = api.post(path, content=b"token=" + b"x" * (3 * MB), headers=headers)
    assert answer.status_code == 413
    assert "The body is larger than 2097152 bytes; send less at a time." in answer.text


def test_many_fields_and_files_are_no_way_around(api: TestClient) -> None:
    """A thousand files below a megabyte stay in memory each, as do a thousand fields."""
    parts = [("file", (f"{k}.bin", b"x" * (MB - 1))) for k in range(4)]
    answer = api.post("/sign-in", files=parts, headers={"Origin": "http://testserver"})
    assert answer.status_code == 413


def test_an_archive_of_a_stranger_is_not_put_on_a_disk(
    api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened: list[int] = []
    spooled = tempfile.SpooledTemporaryFile

    def spy(*args: object, **kwargs: object) -> object:
        opened.append(1)
        return spooled(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", spy)
    files = {"archive": ("a.tar", b"x" * (4 * MB))}
    path = "/api/v1/datasets/xrays/versions"
    assert api.post(path, files=files).status_code == 401
    assert opened == []
    assert api.post(path, files=files, headers=api.bearer).status_code == 404  # type: ignore[attr-defined]
    assert opened == [1]


def test_an_archive_is_bounded_by_the_setting(api: TestClient) -> None:
    body = {"name": "xrays", "source": {"type": "upload"}}
    assert api.post("/api/v1/datasets", json=body, headers=api.bearer).status_code == 201  # type: ignore[attr-defined]
    answer = api.post(
        "/api/v1/datasets/xrays/versions",
        files={"archive": ("a.tar", b"x" * (8 * MB))},
        headers=api.bearer,  # type: ignore[attr-defined]
    )
    assert answer.status_code == 413
    assert answer.json()["detail"] == (
        f"The body is larger than {SMALL + MB} bytes; raise max_upload_bytes to allow it."
    )
    assert answer.json()["errors"][0]["field"] == "body"


def test_a_form_whose_archive_is_text_is_refused(api: TestClient) -> None:
    path = "/api/v1/datasets/xrays/versions"
    answer = api.post(path, data={"archive": "text"}, headers=api.bearer)  # type: ignore[attr-defined]
    assert answer.status_code == 422
    assert "archive is a file" in answer.json()["detail"]


def test_a_body_that_nobody_reads_breaks_no_answer(api: TestClient) -> None:
    """Servers look for the end of a connection while they send a file."""
    sent: list[Message] = []

    async def ask() -> None:
        async def receive() -> Message:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"x" * MB, "more_body": len(sent) < 50}

        async def send(message: Message) -> None:
            sent.append(message)
            await asyncio.sleep(0.001)

        where = {"path": "/static/vega.min.js", "raw_path": b"", "query_string": b"", "root_path": ""}
        what = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "GET"}
        ends = {"scheme": "http", "server": ("testserver", 80), "client": ("c", 1), "http_version": "1.1"}
        await api.app({**what, **where, **ends, "headers": [(b"host", b"testserver")]}, receive, send)

    asyncio.run(ask())
    plain = api.get("/static/vega.min.js", headers={"Accept-Encoding": "identity"})
    assert b"".join(message.get("body", b"") for message in sent) == plain.content
    assert sent[-1]["more_body"] is False


@pytest.mark.parametrize("path", ["/nowhere", "/monitors/x/y/z", "/static/nothing.js", "/static/../x"])
def test_people_are_told_by_a_page_that_an_address_is_not_there(api: TestClient, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "There is no page" in answer.text


def test_html_in_an_address_is_text(api: TestClient) -> None:
    assert "<script>alert" not in api.get("/%3Cscript%3Ealert(1)%3C/script%3E").text


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/v1/nothing"])
def test_programs_are_told_by_a_problem_document(api: TestClient, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_method_that_a_page_does_not_have_is_told_by_a_page(api: TestClient) -> None:
    answer = api.put("/sign-in")
    assert answer.status_code == 405
    assert "Method not allowed" in answer.text
    assert answer.headers["allow"]
    assert answer.headers["content-type"].startswith("text/html")
