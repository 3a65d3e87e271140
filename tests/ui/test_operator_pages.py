"""Clusters and Users, for the operator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from parts_visits import open_pages, services_of, somebody_else
from tidegauge import __version__
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, User


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_pages(tmp_path_factory.mktemp("home")) as opened:
        yield opened


def fact(page: str, name: str) -> str:
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", page, re.DOTALL)
    assert found, name
    return found.group(1)


def test_the_cluster_says_what_it_runs_on(pages: TestClient) -> None:
    page = pages.get("/clusters").text
    assert fact(page, "Version") == __version__
    assert fact(page, "Address") == "http://127.0.0.1:1"
    assert fact(page, "Database").startswith("SQLite ")
    assert fact(page, "Store").startswith("a folder ")
    assert fact(page, "Workers") == "2 threads look at windows"
    assert re.match(r"\S+ [GT]B of ", fact(page, "Disk free"))
    assert fact(page, "Windows not looked at yet") == "0"
    assert fact(page, "Lag of the schedule") == "0 s"


def test_cluster_links_say_what_is_and_lead_on(pages: TestClient) -> None:
    page = pages.get("/clusters").text
    assert "There is no link to another cluster" in page
    assert 'href="/help/clusters"' in page
    assert pages.get("/help/clusters").status_code == 200
    assert pages.get("/clusters/links/new").status_code == 200


def test_a_log_that_cannot_be_written_is_told(pages: TestClient) -> None:
    collector = services_of(pages).collector
    collector._add(failure="No space left on device.")
    try:
        assert (
            "The inference log cannot be written.</b> No space left on device." in pages.get("/clusters").text
        )
    finally:
        collector._add(failure="")


def test_users_are_listed_searched_and_sorted(pages: TestClient) -> None:
    database = services_of(pages).database
    for name in ("anna", "zoe"):
        database.users.add(User(new_id(), name, Role.USER, datetime(2026, 3, 1, tzinfo=UTC)))
    page = pages.get("/users").text
    assert page.index("anna") < page.index("operator</a> <span") < page.index("zoe")
    assert re.search(
        r'anna</a></th>\s*<td data-label="Role">user</td>\s*<td data-label="State">enabled</td>', page
    )
    page = pages.get("/users?sort=-name").text
    assert page.index("zoe") < page.index("anna")
    assert "anna" not in pages.get("/users?q=zo").text
    assert "No user has “q&lt;” in the name." in pages.get("/users?q=q<").text
    for name in ("anna", "zoe"):
        database.users.delete_where(name=name)


@pytest.mark.parametrize("path", ["/clusters", "/users"])
def test_who_is_no_operator_is_told_so(pages: TestClient, path: str) -> None:
    with somebody_else(pages):
        answer = pages.get(path)
        assert answer.status_code == 403
        assert "This is the operator&#39;s alone; ask the operator of this cluster." in answer.text
        assert 'href="/clusters"' not in answer.text


@pytest.mark.parametrize("path", ["/clusters", "/users"])
def test_strangers_are_sent_to_the_sign_in(pages: TestClient, path: str) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    try:
        assert pages.get(path).headers["location"] == f"/sign-in?next={path}"
    finally:
        pages.cookies.update(cookies)
