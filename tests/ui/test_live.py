"""The stream that pages listen to: it tells of changes, ends with its token, and there are not too many."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from parts import running_server
from tidegauge.client import Client
from tidegauge.ui import live
from tidegauge.web.credentials import COOKIE


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(live, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(live, "_ALIVE_LOOKS", 2)
    monkeypatch.setattr(live, "_MOST", 2)
    with running_server(tmp_path / "home") as found:
        yield found


def listen(client: Client, token: str, of: str = "channels"):
    return httpx.stream("GET", f"{client.url}/live?of={of}", cookies={COOKIE: token}, timeout=20)


def test_a_change_is_told_and_a_quiet_stream_says_that_it_lives(client: Client) -> None:
    with listen(client, client.token) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        assert next(line for line in lines if line) == ": alive"
        client.channels.create("hook", "webhook", {"url": "http://127.0.0.1:9"})
        assert next(line for line in lines if line.startswith("event")) == "event: changed"


def test_a_stream_ends_with_its_token(client: Client) -> None:
    def post(path: str, **fields: str) -> httpx.Response:
        cookies, headers = {COOKIE: client.token}, {"Origin": client.url}
        return httpx.post(f"{client.url}{path}", data=fields, cookies=cookies, headers=headers)

    made = post("/settings/developer/new", name="short").text
    secret = made.partition('value="tg_')[2].partition('"')[0]
    with listen(client, f"tg_{secret}") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        listed = httpx.get(f"{client.url}/settings/developer", cookies={COOKIE: client.token}).text
        path = re.findall(r'href="([^"]+/revoke)"[^>]*aria-label="Revoke short"', listed)[0]
        assert post(path).status_code == 303
        assert "event: changed" not in list(lines)  # it ends


def test_a_person_has_so_many_streams_at_most(client: Client) -> None:
    with listen(client, client.token) as one, listen(client, client.token) as two:
        lines = [one.iter_lines(), two.iter_lines()]  # a stream ends with its iterator
        assert [next(line) for line in lines] == ["retry: 2000"] * 2
        with listen(client, client.token) as third:
            assert third.status_code == 503
            third.read()
            assert "2 pages of yours follow what happens already" in third.text
    deadline = time.monotonic() + 10  # the server sees soon that they are gone
    while time.monotonic() < deadline:
        with listen(client, client.token) as again:
            if again.status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("no stream is free again")
