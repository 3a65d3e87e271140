from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request

from parts_collector import build, principal, report
from tidegauge.api import errors
from tidegauge.api.collector import build_router
from tidegauge.domain.cloudevents import STRUCTURED_CONTENT_TYPE
from tidegauge.domain.events import BATCH_CONTENT_TYPE, Event
from tidegauge.domain.users import Principal, Role, Scope
from tidegauge.errors import InvalidInputError, NotSignedInError, TooLargeError
from tidegauge.services.collector import Collector, Limits
from tidegauge.storage.objects import ObjectStore
from tidegauge.web.bodies import Bounding

EVENT = {"specversion": "1.0", "id": "1", "source": "/deployments/d1", "type": "request", "data": {"a": 1}}
FOREVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
BATCH = {"content-type": BATCH_CONTENT_TYPE}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = build(tmp_path / "segments", ObjectStore(str(tmp_path / "store")), {"d1"}.__contains__)
    made.start()
    yield made
    made.close()


@pytest.fixture
def locked() -> list[bool]:
    return []


@contextlib.contextmanager
def serving(
    collector: Collector, sender: Principal | None = None, locked: Sequence[bool] = ()
) -> Iterator[httpx.Client]:
    async def recognise(_: Request) -> Principal:
        if locked:
            raise NotSignedInError("Send a token.")
        return sender or principal()

    app = FastAPI()
    app.include_router(build_router(collector, recognise, max_body=5000))
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


@pytest.fixture
def client(collector: Collector, locked: list[bool]) -> Iterator[httpx.Client]:
    with serving(collector, locked=locked) as made:
        yield made


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
        client.post(
            "/v1/deployments/d1/events", content=batch(second, second | {"type": "x"}), headers=BATCH
        ),
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
        ("2", b"\0\1"),
        ("3", b"raw"),
        ("4", b"in chunks"),
    ]


def test_202_is_answered_only_when_the_event_is_on_the_disk(client: httpx.Client, tmp_path: Path) -> None:
    client.post("/v1/events", content=batch(EVENT), headers=BATCH)
    (segment,) = (tmp_path / "segments").glob("*.segment")
    assert b'{"a":1}' in segment.read_bytes()


def test_a_wrong_event_of_a_batch_is_named_by_index_and_the_others_count(
    client: httpx.Client, collector: Collector
) -> None:
    answer = client.post("/v1/events", content=batch(EVENT, {**EVENT, "id": ""}, 7), headers=BATCH)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert [error["field"] for error in answer.json()["refused"]] == ["events[1].id", "events[2]"]
    unknown = batch({**EVENT, "id": "2"}, {**EVENT, "source": "/deployments/d9"})
    answer = client.post("/v1/events", content=unknown, headers=BATCH)
    assert [error["field"] for error in answer.json()["refused"]] == ["events[1].source"]
    assert [id_ for id_, _ in logged(collector)] == ["1", "2"]
    assert collector.counts().refused == 3


def test_a_batch_in_which_nothing_is_right_is_refused(client: httpx.Client, collector: Collector) -> None:
    for events in ([{**EVENT, "id": ""}], [{**EVENT, "source": "/deployments/d9"}], [1, "a"]):
        answer = client.post("/v1/events", content=batch(*events), headers=BATCH)
        assert (answer.status_code, answer.json()["errors"][0]["field"][:9]) == (422, "events[0]")
    assert client.post("/v1/deployments/d9/events", content=batch(EVENT), headers=BATCH).status_code == 404
    many = client.post("/v1/events", content=batch(*[1] * 1100), headers=BATCH)
    assert (many.status_code, many.json()["errors"][0]["field"]) == (422, "events")
    assert logged(collector) == []


def test_an_event_that_is_sent_again_is_acknowledged_and_stored_once(
    client: httpx.Client, collector: Collector
) -> None:
    other = {**EVENT, "type": "response"}
    assert client.post("/v1/events", content=batch(EVENT, EVENT), headers=BATCH).json() == {
        "accepted": 1,
        "repeated": 1,
    }
    answer = client.post("/v1/events", content=batch(other, EVENT), headers=BATCH)
    assert answer.json() == {"accepted": 1, "repeated": 1}
    assert len(logged(collector)) == 2
    assert collector.counts().repeated == 2


def test_a_body_without_a_length_holds_room_only_for_what_has_come(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path / "store"))
    with serving(build(tmp_path / "segments", store, limits=Limits(waiting_bytes=6000))) as client:
        going = threading.Event()

        def slow() -> Iterator[bytes]:
            yield batch(EVENT)[:-1]
            going.wait(20)
            yield b"]"

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.post, "/v1/events", content=slow(), headers=BATCH)
            time.sleep(0.3)
            other = client.post("/v1/events", content=batch({**EVENT, "id": "2"}), headers=BATCH)
            going.set()
            assert (other.status_code, waiting.result().status_code) == (202, 202)


def test_a_body_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegauge.api.collector._BODY_SECONDS", 0.3)
    store = ObjectStore(str(tmp_path / "store"))
    with serving(build(tmp_path / "segments", store)) as client:
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address, timeout=20) as connection:
            lines = ["POST /v1/events HTTP/1.1", "Host: x", f"Content-Type: {BATCH_CONTENT_TYPE}"]
            connection.sendall("\r\n".join([*lines, "Content-Length: 100", "", "["]).encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_batch_is_bounded_in_events_and_in_hours(tmp_path: Path) -> None:
    collector = build(tmp_path / "segments", ObjectStore(str(tmp_path / "store")))
    one = Event("1", "/s", "request", datetime(2026, 1, 1, tzinfo=UTC), "a/b", b"")
    with pytest.raises(TooLargeError, match="10001 events; send 10000 at most"):
        report(collector, "d1", [one] * 10_001, datetime.now(UTC))
    spread = [replace(one, id=str(n), time=one.time + timedelta(hours=n)) for n in range(201)]
    with pytest.raises(InvalidInputError, match="lie in 201 hours"):
        report(collector, "d1", spread, datetime.now(UTC))
    assert report(collector, "d1", spread[1:], datetime.now(UTC)).accepted == 200
    unknown = [replace(one, id=str(n), source=f"/deployments/x{n}") for n in range(1001)]
    nobody = build(tmp_path / "others", ObjectStore(str(tmp_path / "store")), lambda _: False)
    with pytest.raises(InvalidInputError, match="More than 1000 events are wrong"):
        report(nobody, None, unknown, datetime.now(UTC))
    collector.close()
    nobody.close()


def test_more_than_a_deployment_may_send_is_429_with_retry_after(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path / "store"))
    with serving(build(tmp_path / "segments", store, limits=Limits(rate=5))) as client:
        events = [{**EVENT, "id": str(n)} for n in range(20)]
        assert client.post("/v1/events", content=batch(*events), headers=BATCH).status_code == 202
        answer = client.post("/v1/events", content=batch(EVENT), headers=BATCH)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")
        assert "'d1' sends more than 5 events a second" in answer.json()["detail"]
        other = client.post("/v1/deployments/d2/events", content=batch(EVENT), headers=BATCH)
        assert other.status_code == 202


def test_a_token_of_one_deployment_reports_for_no_other(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path / "store"))
    only = principal(Role.USER, Scope.INGEST, "d1")
    with serving(build(tmp_path / "segments", store), only) as client:
        answer = client.post(
            "/v1/events", content=batch(EVENT, {**EVENT, "source": "/deployments/d2"}), headers=BATCH
        )
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
        assert [error["field"] for error in answer.json()["refused"]] == ["events[1].source"]
        assert "that this token may report for" in answer.json()["refused"][0]["message"]
        for path in ("/v1/deployments/d2/events", "/v1/deployments/nowhere/events"):
            assert client.post(path, content=batch(EVENT), headers=BATCH).status_code == 403


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
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "repeated": 0})
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
