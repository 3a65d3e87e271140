"""Model servers as real processes, and a tiny real receiver of the log."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import orjson

from tidegauge.domain.capture import Capture, reported
from tidegauge.domain.cloudevents import decode_json
from tidegauge.domain.events import BATCH_CONTENT_TYPE, SERVED_TYPE, Event
from tidegauge.links.processes import free_port


@dataclass
class Served:
    """A running model server."""

    process: subprocess.Popen[bytes]
    port: int
    http: httpx.Client
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def counts(self) -> dict:
        return self.http.get("/healthz").json()


@contextlib.contextmanager
def serving(folder: Path, scratch: Path, *flags: str, token: str = "secret") -> Iterator[Served]:
    """Start ``python -m tidegauge.serving`` for a folder, wait until it is ready, and end it."""
    port = free_port()
    log_file = scratch / f"server-{port}.log"
    command = [sys.executable, "-m", "tidegauge.serving", "--model-dir", str(folder), "--port", str(port)]
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            [*command, *flags], stderr=output, env={**os.environ, "TIDEGAUGE_LOG_TOKEN": token}
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        served = Served(process, port, client, log_file)
        try:
            wait_until(lambda: is_ready(client) or process.poll() is not None)
            assert process.poll() is None, served.log
            yield served
        finally:
            process.terminate()
            process.wait(20)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@dataclass
class Receiver:
    """Takes batches over HTTP; ``answers`` are the statuses to give, the last one for ever."""

    answers: list[int] = field(default_factory=lambda: [202])
    events: list[Event] = field(default_factory=list)  # of batches that were answered with 202
    posts: list[tuple[int, int]] = field(default_factory=list)  # (status, events) of every batch of pairs
    reports: list[Capture] = field(default_factory=list)  # what was told of and taken, in order
    report_answers: list[int] = field(default_factory=lambda: [202])
    headers: dict[str, str] = field(default_factory=dict)
    refused_ids: set[str] = field(default_factory=set)  # a batch with one of these is answered with 422
    left_out_ids: set[str] = field(default_factory=set)  # are refused, and the rest of their batch is taken
    port: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/deployments/d1/events"

    def of_type(self, ending: str) -> list[Event]:
        return [event for event in self.events if event.type.endswith(ending)]

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.release.wait(20)
        self.headers = headers
        assert headers["content-type"] == BATCH_CONTENT_TYPE
        events = decode_json(body, batch=True, now=datetime.now(UTC)).events
        assert all(
            base64.b64decode(item["data_base64"], validate=True) is not None for item in orjson.loads(body)
        )
        if all(event.type == SERVED_TYPE for event in events):
            status = _next(self.report_answers)
            if status == 202:
                self.reports += [capture for event in events for capture in reported("d1", event)]
            return status, b""
        status = _next(self.answers)
        if self.refused_ids & {event.id for event in events}:
            status = 422
        self.posts.append((status, len(events)))
        places = [place for place, event in enumerate(events) if event.id in self.left_out_ids]
        if status == 202:
            self.events += [event for place, event in enumerate(events) if place not in places]
        refused = [{"field": f"events[{place}].time", "message": "It is wrong."} for place in places]
        return status, orjson.dumps({"accepted": len(events) - len(places), "refused": refused})


def _next(answers: list[int]) -> int:
    return answers.pop(0) if len(answers) > 1 else answers[0]


@contextlib.contextmanager
def receiving(*answers: int, port: int = 0, held: bool = False) -> Iterator[Receiver]:
    """Run a receiver; ``held`` makes it answer nothing until ``release`` is set."""
    receiver = Receiver(list(answers) or [202])
    if not held:
        receiver.release.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, answer = receiver.take({k.lower(): v for k, v in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
