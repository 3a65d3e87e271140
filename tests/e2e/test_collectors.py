"""Collectors in processes of their own, beside a server that shares their database and store."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from cli_runs import start
from parts import running_server
from parts_collector import deployment
from tidegauge.domain.deployment import Origin
from tidegauge.domain.events import BATCH_CONTENT_TYPE
from tidegauge.links.processes import free_port
from tidegauge.settings import load_settings
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore


@contextlib.contextmanager
def collecting(home: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start("collector", "--home", str(home), "--port", str(port), *options)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/healthz", trust_env=False).status_code == 200:
                    break
            time.sleep(0.05)
        yield url, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def post(url: str, token: str, *names: str) -> httpx.Response:
    events = [
        {"specversion": "1.0", "id": name, "source": "/deployments/d1", "type": "request", "data": name}
        for name in names
    ]
    headers = {"Content-Type": BATCH_CONTENT_TYPE, "Authorization": f"Bearer {token}"}
    return httpx.post(f"{url}/v1/events", content=json.dumps(events), headers=headers, trust_env=False)


@pytest.mark.parametrize("fleet", [False, True])
def test_collectors_take_events_beside_a_server(tmp_path: Path, store_url: str, fleet: bool) -> None:
    home = tmp_path / "home"
    options = ["--store-url", store_url, *(["--fleet"] if fleet else [])]
    log = InferenceLog(ObjectStore(store_url))

    def logged() -> list[str]:
        now = datetime.now(UTC)
        return sorted(
            event.id for event in log.read("d1", now - timedelta(hours=2), now + timedelta(hours=1))
        )

    with running_server(home, store_url=store_url) as client:
        database = Database(load_settings(home, {}, {}).database)
        database.deployments.add(deployment("d1", owner="operator", origin=Origin.EXTERNAL))
        with collecting(home, *options) as (one, first), collecting(home, *options) as (two, second):
            assert [post(url, client.token, "a", "b").status_code for url in (client.url, one)] == [202, 202]
            assert post(two, client.token, "c").json() == {"accepted": 1, "repeated": 0}
            assert post(two, client.token, "c").json() == {"accepted": 0, "repeated": 1}
            assert post(two, "wrong", "x").status_code == 401
            metrics = httpx.get(f"{two}/metrics", trust_env=False).text
            assert "\ntidegauge_events_received_total 1\n" in metrics
            assert "\ntidegauge_events_repeated_total 1\n" in metrics
            first.send_signal(signal.SIGTERM)
            second.send_signal(signal.SIGINT)
            assert [first.wait(30), second.wait(30)] == [0, 0]
        deadline = time.monotonic() + 20
        while database.log_files.count(deployment_id="d1") < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert database.log_files.count(deployment_id="d1") == 3
        assert logged() == ["a", "b", "c"]
        database.close()


def test_a_killed_collector_goes_on_where_it_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_server(home) as client:
        database = Database(load_settings(home, {}, {}).database)
        database.deployments.add(deployment("d1", owner="operator"))
        port = str(free_port())
        os.environ["TIDEGAUGE_FLUSH_SECONDS"] = "3600"
        try:
            process = start("collector", "--home", str(home), "--port", port)
        finally:
            del os.environ["TIDEGAUGE_FLUSH_SECONDS"]
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if post(url, client.token, "a").status_code == 202:
                    break
            time.sleep(0.05)
        process.kill()
        process.communicate(timeout=30)
        assert len(list((home / "collector" / port).glob("*.segment"))) == 1
        again = start("collector", "--home", str(home), "--port", port)
        try:
            deadline = time.monotonic() + 30
            while database.log_files.count(deployment_id="d1") == 0 and time.monotonic() < deadline:
                time.sleep(0.05)
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    assert post(url, client.token, "a").json() == {"accepted": 0, "repeated": 1}
                    break
                time.sleep(0.05)
        finally:
            again.send_signal(signal.SIGTERM)
            again.communicate(timeout=30)
        assert database.log_files.count(deployment_id="d1") == 1
        database.close()


def test_a_collector_without_a_server_says_what_is_missing(tmp_path: Path) -> None:
    process = start("collector", "--home", str(tmp_path / "home"), "--port", str(free_port()))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (6, "")
    assert "Look at database_url" in err
