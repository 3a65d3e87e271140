"""What browsers are told about every kind of answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from parts_visits import open_pages
from tidegauge.web.headers import DEFAULTS


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_pages(tmp_path_factory.mktemp("headers") / "home") as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sign-in",
        "/no/such/page",
        "/settings/developer",
        "/help/workflow",
        "/healthz",
        "/metrics",
        "/api/v1/me",
        "/api/v1/openapi.json",
        "/api/v1/none",
        "/serve/none/v1/models/x",
        "/static/app.js",
    ],
)
def test_every_answer_says_what_may_be_made_of_it(pages: TestClient, path: str) -> None:
    headers = pages.get(path).headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-" not in policy
    assert policy.startswith("default-src 'none'")
    for name, value in DEFAULTS.items():
        if name not in ("Content-Security-Policy", "Cache-Control"):
            assert headers[name] == value, name
    assert headers["cache-control"] == "no-store" or path.startswith("/static/")


def test_a_page_for_nobody_is_not_kept_either(pages: TestClient) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    try:
        answer = pages.get("/settings/developer")
        assert answer.status_code == 303
        assert answer.headers["cache-control"] == "no-store"
    finally:
        pages.cookies.update(cookies)
