from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from tidegauge.api import errors
from tidegauge.api.collector import build_router
from tidegauge.domain.cloudevents import STRUCTURED_CONTENT_TYPE
from tidegauge.domain.events import BATCH_CONTENT_TYPE
from tidegauge.errors import NotSignedInError
from tidegauge.services.collector import Collector
from tidegauge.storage.objects import ObjectStore
from tidegauge.web.bodies import Bounding

EVENT = {"specversion": "1.0", "id": "1", "source": "/deployments/d1", "type": "request", "data": {"a": 1}}
FOREVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
BATCH = {"content-type": BATCH_CONTENT_TYPE}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    store = ObjectStore(str(tmp_path / "store"))
    made = Collector(tmp_path / "segments", store, {"d1"}.__contains__, lambda *_: None, 3600)
    made.start()
    yield made
    made.close()


@pytest.fixture
def locked() -> list[bool]:
    return []


@pytest.fixture
def client(collector: Collector, locked: list[bool]) -> Iterator[httpx.Client]:
    def require() -> None:
        if locked:
            raise NotSignedInError("Send a token.")

    app = FastAPI()
    app.include_router(build_router(collector, require, max_body=5000))
    app.add_middleware(Bounding)
    errors.install(app)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as made:
            yield made
        server.should_exit = True
        thread.join()


def batch(*events: Any) -> bytes:
    return json.dumps(events).encode()


def logged(collector: Collector) -> list[tuple[str, bytes]]:
    collector.flush()
    return [(event.id, event.data) for event in collector.log.read("d1", *FOREVER)]


def test_events_of_all_modes_are_accepted(client: httpx.Client, collector: Collector) -> None:
    data = base64.b64encode(b"\0\1").decode()
    second = {"specversion": "1.0", "id": "2", "source": "/d", "type": "response", "data_base64": data}
    headers = {f"ce-{name}": str(EVENT[name]) for name in ("specversion", "source", "type")} | {"ce-id": "3"}
    answers = [
        client.post("/v1/events", json=EVENT, headers={"content-type": STRUCTURED_CONTENT_TYPE}),
        client.post("/v1/deployments/d1/events", content=batch(second, second), headers=BATCH),
        client.post("/v1/events", content=b"raw", headers=headers),
        client.post("/v1/events", content=iter([b"in ", b"chunks"]), headers=headers | {"ce-id": "4"}),
    ]
    assert [(answer.status_code, answer.json()["accepted"]) for answer in answers] == [
        (202, 1),
        (202, 2),
        (202, 1),
        (202, 1),
    ]
    assert sorted(logged(collector)) == [
        ("1", b'{"a":1}'),
        ("2", b"\0\1"),
        ("3", b"raw"),
        ("4", b"in chunks"),
    ]


def test_202_is_answered_only_when_the_event_is_on_the_disk(client: httpx.Client, tmp_path: Path) -> None:
    client.post("/v1/events", content=batch(EVENT), headers=BATCH)
    (segment,) = (tmp_path / "segments").glob("*.segment")
    assert b'{"a":1}' in segment.read_bytes()


def test_a_wrong_event_is_named_by_index_and_nothing_is_accepted(
    client: httpx.Client, collector: Collector
) -> None:
    answer = client.post("/v1/events", content=batch(EVENT, {**EVENT, "id": ""}), headers=BATCH)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["events[1].id"]
    unknown = client.post("/v1/events", content=batch({**EVENT, "source": "/deployments/d9"}), headers=BATCH)
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "events[0].source")
    assert client.post("/v1/deployments/d9/events", content=batch(EVENT), headers=BATCH).status_code == 404
    assert logged(collector) == []
    assert collector.counts().refused == 3


@pytest.mark.parametrize("size", [5001, 20_000])
def test_a_large_body_is_413_announced_or_not(client: httpx.Client, collector: Collector, size: int) -> None:
    for content in (bytes(size), iter([bytes(size)])):
        answer = client.post("/v1/events", content=content, headers=BATCH)
        assert answer.status_code == 413
        assert "5000 bytes" in answer.json()["detail"]
    assert collector.counts().refused == 2


def test_a_body_that_is_no_cloudevent_is_415(client: httpx.Client) -> None:
    assert client.post("/v1/events", json=EVENT).status_code == 415
    packed = client.post("/v1/events", content=batch(EVENT), headers=BATCH | {"content-encoding": "br"})
    assert (packed.status_code, packed.json()["errors"][0]["field"]) == (415, "content-encoding")


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_packed_body_is_unpacked(
    client: httpx.Client, collector: Collector, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    headers = BATCH | {"content-encoding": encoding}
    answer = client.post("/v1/events", content=pack(batch(EVENT)), headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    for body, status, said in (
        (pack(bytes(20_000)), 413, "5000 bytes"),  # small until it is unpacked
        (pack(batch(EVENT))[:-9], 422, "ends too early"),
        (batch(EVENT), 422, f"not valid {encoding}"),
    ):
        answer = client.post("/v1/events", content=body, headers=headers)
        assert answer.status_code == status
        assert said in answer.json()["detail"]
    assert collector.counts().refused == 3
    assert collector.counts().received == 1


def test_a_disk_that_refuses_is_503_with_retry_after(
    client: httpx.Client, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        answer = client.post("/v1/events", content=batch(EVENT), headers=BATCH)
    assert (answer.status_code, answer.headers["retry-after"].isdecimal()) == (503, True)
    assert "No space left" in answer.json()["detail"]
    assert client.post("/v1/events", content=batch(EVENT), headers=BATCH).status_code == 202
    assert logged(collector) == [("1", b'{"a":1}')]


def test_every_route_asks_for_leave(client: httpx.Client, locked: list[bool]) -> None:
    locked.append(True)
    for path in ("/v1/events", "/v1/deployments/d1/events"):
        assert client.post(path, content=batch(EVENT), headers=BATCH).status_code == 401


def test_requests_that_come_together_share_fsyncs(
    client: httpx.Client, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, []

    def counted(file: int) -> None:
        calls.append(file)
        time.sleep(0.02)
        fsync(file)

    monkeypatch.setattr(os, "fsync", counted)
    bodies = [batch({**EVENT, "id": str(n)}) for n in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: client.post("/v1/events", content=body, headers=BATCH), bodies))
    assert {answer.status_code for answer in answers} == {202}
    assert len(calls) < 40
    assert len(logged(collector)) == 64
