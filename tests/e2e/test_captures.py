"""Captured against served: a real model server with a tiny queue, a collector that is not always there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import orjson

from cli_runs import environment, start
from parts import SIDE, running_server, write_model
from serving.running import is_ready, wait_until
from tidegauge.client import Client
from tidegauge.domain.capture import Coverage
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.events import SERVED_TYPE
from tidegauge.links.processes import free_port

SERVER = """
import sys
from pathlib import Path
import uvicorn
from tidegauge.serving import served
from tidegauge.serving.app import create_app
from tidegauge.serving.eventlog import EventLog
from tidegauge.serving.exchange import Origin
from tidegauge.serving.model import load_model
from tidegauge.serving.posting import Collector

served.REPORT_SECONDS = 0.3
folder, url, token, deployment, port = sys.argv[1:]
log = EventLog(Collector(url, token), Origin(deployment, "tiny", "1", "ward"), max_count=3)
uvicorn.run(create_app(load_model(Path(folder), None, None), log), port=int(port), log_level="error")
"""
BODY = {"instances": np.zeros((1, SIDE, SIDE, 1)).tolist()}


@dataclass
class Gate:
    """What stands between senders and the collector; it can hold events up, refuse some, and lose reports."""

    upstream: str
    port: int = 0
    is_shut: bool = False
    refuses: set[str] = field(default_factory=set)
    swallows_reports: bool = False
    reports: int = 0

    def pass_on(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        events = orjson.loads(body)
        if events[0]["type"] == SERVED_TYPE:
            self.reports += 1
            if self.swallows_reports:
                return 202, b"{}"
        elif self.is_shut:
            return 503, b"{}"
        elif self.refuses & {event["id"] for event in events}:
            return 422, b"{}"
        answer = httpx.post(f"{self.upstream}{path}", content=body, headers=headers, trust_env=False)
        return answer.status_code, answer.content


@contextlib.contextmanager
def gate(upstream: str) -> Iterator[Gate]:
    made = Gate(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept = {name: self.headers[name] for name in ("content-type", "authorization")}
            status, answer = made.pass_on(self.path, kept, body)
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Served:
    """A model server that is sent requests."""

    process: subprocess.Popen[bytes]
    http: httpx.Client

    def ask(self, *ids: str) -> None:
        for id_ in ids:
            answer = self.http.post("/v1/models/tiny:predict", json=BODY, headers={"ce-id": id_})
            assert answer.status_code == 200, answer.text

    def ask_slowly(self, *ids: str) -> None:
        """Ask one after the other, each once the log is done with the one before."""
        for id_ in ids:
            self.ask(id_)
            wait_until(lambda: self.counts()["queued"] == 0)

    def counts(self) -> dict[str, int]:
        return dict(self.http.get("/healthz").json())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def model_server(folder: Path, opened: Gate, deployment: Deployment, token: str) -> Iterator[Served]:
    port = free_port()
    url = f"http://127.0.0.1:{opened.port}{deployment.events_path}"
    command = [sys.executable, "-c", SERVER, str(folder), url, token, deployment.id, str(port)]
    with (
        subprocess.Popen(command, env=dict(os.environ)) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http,
    ):
        try:
            wait_until(lambda: is_ready(http) or process.poll() is not None)
            yield Served(process, http)
        finally:
            process.kill()


def coverage(client: Client, deployment: Deployment) -> Coverage:
    now = datetime.now(UTC)
    return client.deployments.captures(deployment.name, now - timedelta(hours=1), now).total


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def test_what_is_lost_on_the_way_is_counted_with_its_reason(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    with running_server(tmp_path / "home") as client, gate(client.url) as way:
        deployment = client.deployments.register("elsewhere", classes=("NORMAL", "PNEUMONIA"))
        token = client.deployments.create_token("elsewhere", "sender").secret
        with model_server(folder, way, deployment, token) as served:
            served.ask_slowly(*names("first", 5))
            way.is_shut = True
            served.ask(*names("crowd", 10))
            assert served.counts()["dropped_overflow"] == 7
            way.is_shut = False
            way.refuses = {"bad-0", "bad-1"}
            wait_until(lambda: served.counts()["queued"] == 0)
            served.ask_slowly("bad-0", "bad-1", "good")
            told = Coverage(served=18, captured=9, overflow=7, refused=2)
            wait_until(lambda: coverage(client, deployment) == told)

            way.is_shut = True  # what waits dies with the process; a report says that there was something
            reports = way.reports
            served.ask(*names("dead", 3))
            wait_until(lambda: way.reports > reports)
            wait_until(lambda: coverage(client, deployment).served == 21)
            served.kill()
        way.is_shut = False
        assert coverage(client, deployment) == Coverage(21, 9, 7, 2, missing=3)

        with model_server(folder, way, deployment, token) as served:  # and if no report says so
            way.swallows_reports = True
            served.ask_slowly("early")
            way.is_shut = True
            served.ask(*names("other", 7))
            way.is_shut = False
            wait_until(lambda: served.counts()["queued"] == 0)
            served.ask_slowly("late")
            served.kill()
        second = Coverage(served=9, captured=5, missing=4)
        wait_until(lambda: coverage(client, deployment) == Coverage(21, 9, 7, 2, missing=3) + second)

        found = client.deployments.captures("elsewhere").senders
        assert sorted(found.values(), key=lambda one: one.served) == [second, Coverage(21, 9, 7, 2, 3)]
        said = (
            "16 of 30 served requests are not in the log: "
            "7 overflowed the model server's queue, 2 were refused, 7 never arrived."
        )
        page = httpx.get(
            f"{client.url}/deployments/elsewhere/traffic", cookies={"tidegauge_token": client.token}
        ).text
        assert "14 of 30 served requests" in page
        assert said.replace("'", "&#39;") in page
        env = environment(TIDEGAUGE_URL=client.url, TIDEGAUGE_TOKEN=client.token)
        command = "deployment", "captures", "elsewhere"
        out, err = start(*command, "--last", "1h", env=env).communicate(timeout=60)
        assert "never arrived" in out
        assert said in err.replace("\n", " ")
        out, _ = start(*command, "--json", env=env).communicate(timeout=60)
        assert orjson.loads(out)["total"] == {
            "served": 30,
            "captured": 14,
            "overflow": 7,
            "refused": 2,
            "missing": 7,
        }
