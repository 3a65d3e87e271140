"""The recorder: what passes is what was sent, and what is inferred is logged, whatever becomes of the log."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import numpy as np
import orjson
import pytest
import uvicorn

from serving.models import expected_scores, image_model
from serving.running import Served, receiving, serving, wait_until
from tidegauge.domain.inference import decode_event
from tidegauge.errors import InvalidInputError
from tidegauge.links.processes import free_port
from tidegauge.serving.recorder import RecordOptions, create_app

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1))
LIMIT = 100_000


class Upstream(BaseHTTPRequestHandler):
    """A server that shows what it got, and answers as the path says."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, list[tuple[str, str]], bytes]]] = []

    def handle_any(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length) if length else self._chunks()
        Upstream.seen.append((self.command, self.path, self.headers.items(), body))
        if "slow" in self.path:
            time.sleep(1)
        data = gzip.compress(b'{"outputs": [1]}') if "packed" in self.path else b'{"outputs": [1]}'
        if "large" in self.path:
            data = b"y" * (3 * LIMIT)
        self.send_response(418 if "teapot" in self.path else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        if "packed" in self.path:
            self.send_header("Content-Encoding", "gzip")
        if "chunked" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _chunks(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return b""
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any  # noqa: N815 - as the library calls them

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def recording(upstream: str, log_url: str, **more: object) -> Iterator[httpx.Client]:
    """Run a recorder in a thread; yield a client of it."""
    options = RecordOptions(upstream, log_url, "secret", max_logged_bytes=LIMIT, **more)  # type: ignore[arg-type]
    config = uvicorn.Config(create_app(options), log_level="error", server_header=False, date_header=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20, trust_env=False
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    class Server(ThreadingHTTPServer):
        request_queue_size = 200

    server = Server(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = image_model(tmp_path_factory.mktemp("model") / "scan")
    with serving(folder, tmp_path_factory.mktemp("logs")) as served:
        yield served


def log_url(url: str) -> str:
    return f"{url.partition('/v1/')[0]}/v1/deployments/d1/events"


def test_an_inference_of_a_real_server_is_logged_as_its_own_log_would(model: Served) -> None:
    with (
        receiving() as receiver,
        recording(f"http://127.0.0.1:{model.port}", log_url(receiver.url), name="scan") as client,
    ):
        path, body = "/v1/models/scan:predict", {"inputs": PIXELS.tolist()}
        answer = client.post(path, json=body, headers={"ce-id": "mine", "ce-hospital": "west"})
        direct = model.http.post(path, json=body)
        assert answer.content == direct.content
        assert answer.headers["ce-id"] == "mine"
        wait_until(lambda: len(receiver.events) == 2)
        asked, answered = receiver.events
        assert (asked.id, answered.id, asked.time) == ("mine", "mine", answered.time)
        assert asked.extensions["hospital"] == "west"
        assert asked.source == "/deployments/d1"
        assert answered.extensions["status"] == 200
        assert np.array_equal(next(iter(decode_event(asked).values())), PIXELS)
        scores = next(iter(decode_event(answered).values()))
        np.testing.assert_allclose(scores, expected_scores(PIXELS), rtol=1e-5)
        assert client.get("/v2/health/ready").json() == {"ready": True}  # passes, and is no inference
        time.sleep(0.2)
        assert len(receiver.events) == 2
        counts = client.get("/tidegauge/healthz").json()
        assert (counts["served"], counts["acknowledged"], counts["dropped_overflow"]) == (1, 1, 0)
        assert "tidegauge_log_acknowledged_total 1.0" in client.get("/tidegauge/metrics").text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
def test_everything_passes_unchanged(upstream: str, method: str) -> None:
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:
        path = "/a%2Fb/teapot?x=%20y&x=2"
        body = b"\x00\xff" * 50 if method in ("POST", "PUT") else None
        Upstream.seen.clear()
        headers = {"x-mine": "1", "accept-encoding": "identity", "authorization": "Bearer theirs"}
        answer = client.request(method, path, content=body, headers=headers)
        seen_method, seen_path, seen_headers, seen_body = Upstream.seen[0]
        assert (seen_method, seen_path, seen_body) == (method, path, body or b"")
        found = {name.lower(): value for name, value in seen_headers}
        assert found.items() >= {**headers}.items()
        assert found["host"] == upstream.removeprefix("http://")
        assert "transfer-encoding" not in found
        assert answer.status_code == 418
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert answer.content == (b"" if method == "HEAD" else b'{"outputs": [1]}')
        assert receiver.events == []  # the path is none of an inference


def test_a_caller_who_knows_no_encoding_is_asked_for_none(upstream: str) -> None:
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:
        del client.headers["accept-encoding"]
        Upstream.seen.clear()
        client.post("/predict", json={"inputs": [1]})
        assert "accept-encoding" not in {name.lower() for name, _ in Upstream.seen[0][2]}


def test_packed_bodies_pass_packed_and_are_logged_unpacked(upstream: str) -> None:
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:
        packed = gzip.compress(b'{"inputs": [1]}')
        Upstream.seen.clear()
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        with client.stream("POST", "/packed/predict", content=packed, headers=headers) as answer:
            assert gzip.decompress(b"".join(answer.iter_raw())) == b'{"outputs": [1]}'
        assert Upstream.seen[0][3] == packed
        wait_until(lambda: len(receiver.events) == 2)
        assert [orjson.loads(event.data) for event in receiver.events] == [{"inputs": [1]}, {"outputs": [1]}]


def test_what_is_too_large_to_log_passes_and_is_counted_without_content(upstream: str) -> None:
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:
        Upstream.seen.clear()
        chunks = iter([b"x" * LIMIT] * 3)
        answer = client.post("/large/predict", content=chunks)
        assert len(Upstream.seen[0][3]) == len(answer.content) == 3 * LIMIT
        wait_until(lambda: len(receiver.events) == 2)
        assert [len(event.data) for event in receiver.events] == [0, 0]
        assert receiver.events[1].extensions["status"] == 200


def test_a_mark_that_is_none_is_no_reason_to_refuse(upstream: str) -> None:
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:
        answer = client.post("/predict", json={}, headers={"ce-time": "yesterday"})
        assert answer.status_code == 200
        wait_until(lambda: len(receiver.events) == 2)
        assert receiver.events[0].id == answer.headers["ce-id"]


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 12, "-1", "²"])
def test_a_length_of_a_head_that_cannot_be_is_no_reason_to_cut_an_answer_off(
    upstream: str, length: str
) -> None:
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:
        name = b"inference-header-content-length"
        answer = client.post("/predict", json={}, headers={name: length.encode("latin-1")})
        assert answer.content == b'{"outputs": [1]}'
        wait_until(lambda: len(receiver.events) == 2)
        assert "headerlength" not in receiver.events[0].extensions


def test_an_error_of_the_log_is_none_of_the_client(upstream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("tidegauge.serving.recorder.EventLog.put", broken)
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:
        # Whoever reads in chunks waits for the last, which comes after the log was tried.
        assert client.post("/chunked/predict", json={}).content == b'{"outputs": [1]}'


def test_answers_come_without_a_collector(upstream: str) -> None:
    with recording(upstream, f"http://127.0.0.1:{free_port()}/v1/deployments/d1/events") as client:
        started = time.monotonic()
        for _ in range(20):
            assert client.post("/predict", json={"inputs": [1]}).status_code == 200
        assert time.monotonic() - started < 5
        assert client.get("/tidegauge/healthz").json()["queued"] == 20


def test_a_server_that_is_away_is_502_and_logged(upstream: str) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    with receiving() as receiver, recording(gone, log_url(receiver.url)) as client:
        answer = client.post("/predict", json={"inputs": [1]})
        assert answer.status_code == 502
        assert answer.json()["error"].startswith(f"The model server at {gone} does not answer: ")
        wait_until(lambda: len(receiver.events) == 2)
        assert receiver.events[1].extensions["status"] == 502
        assert client.get("/anything").status_code == 502


def test_a_server_that_is_slow_is_502_after_the_time(upstream: str) -> None:
    with (
        receiving() as receiver,
        recording(upstream, log_url(receiver.url), timeout_seconds=0.2) as client,
    ):
        assert client.post("/slow/predict", json={}).status_code == 502
        wait_until(lambda: len(receiver.events) == 2)
        assert "ReadTimeout" in receiver.events[1].data.decode()


def test_many_at_once_are_logged_each_once(upstream: str) -> None:
    with receiving() as receiver, recording(upstream, log_url(receiver.url)) as client:

        async def ask() -> list[str]:
            async with httpx.AsyncClient(base_url=client.base_url, timeout=30, trust_env=False) as many:
                answers = [many.post("/predict", json={"inputs": [k]}) for k in range(100)]
                return [answer.headers["ce-id"] for answer in await asyncio.gather(*answers)]

        ids = asyncio.run(ask())
        wait_until(lambda: len(receiver.events) == 200)
        assert sorted(event.id for event in receiver.events) == sorted(ids * 2)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("upstream", {"upstream": "localhost:8080"}),
        ("log_url", {"log_url": "http://localhost/v1/events"}),
        ("log_url", {"log_url": "ftp://localhost/v1/deployments/d1/events"}),
        ("predictions", {"predictions": "("}),
    ],
)
def test_options_that_cannot_be_are_refused(field: str, options: dict[str, str]) -> None:
    given = {"upstream": "http://a", "log_url": "http://b/v1/deployments/d1/events", **options}
    with pytest.raises(InvalidInputError) as raised:
        create_app(RecordOptions(**given))  # type: ignore[arg-type]
    assert [error.field for error in raised.value.errors] == [field]


def test_the_command_records(upstream: str) -> None:
    with receiving() as receiver:
        command = [sys.executable, "-m", "tidegauge", "record", "--upstream", upstream, "--port", "0"]
        command += ["--log-url", log_url(receiver.url)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                line = process.stdout.readline()
                url = line.split()[-1]
                assert line == f"Recording {upstream} at {url}\n"
                answer = httpx.post(f"{url}/predict", json={"inputs": [1]}, trust_env=False)
                assert answer.status_code == 200
                process.terminate()
                assert process.wait(20) == 0
                assert len(receiver.events) == 2  # sent before the end
            finally:
                process.kill()
