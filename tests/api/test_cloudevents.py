"""What the ``cloudevents`` package makes of events goes over HTTP to a collector that runs, into its log."""

from __future__ import annotations

import json
import socket
import threading
import time as clock
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion
from cloudevents.v1 import http as v1
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parts_malformed import Door
from tidegauge.domain.events import BATCH_CONTENT_TYPE, Event

DEPLOYMENT = "/v1/deployments/d1/events"
HASTE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
INTEGERS = {"status", "latencyus", "headerlength", "sampledrate"}  # always, in all modes
TAKEN = {"specversion", "id", "source", "type", "time", "datacontenttype", "data", "subject", "dataschema"}

text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=20)
times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2026, 3, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, datetime.strptime("+0530", "%z").tzinfo]),
)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in TAKEN | INTEGERS
)
values = text | st.integers(-(2**31), 2**31 - 1)
strings = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
)


class Running:
    """A collector that serves, and its log."""

    def __init__(self, door: Door, url: str) -> None:
        self._door = door
        self._client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {door.token}"})

    def send(self, headers: Mapping[str, str], body: bytes, events: int = 1) -> None:
        answer = self._client.post(DEPLOYMENT, content=body, headers=dict(headers))
        assert (answer.status_code, answer.json()) == (202, {"accepted": events, "repeated": 0})

    def logged(self, event_id: str, time: datetime) -> Event:
        """Return the only event of this time with this id."""
        self._door.collector.flush()
        found = list(self._door.collector.log.read("d1", time, time + timedelta(microseconds=1)))
        (event,) = [event for event in found if event.id == event_id]
        return event

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Door(tmp_path_factory.mktemp("door")) as door:
        server = uvicorn.Server(uvicorn.Config(door.app, log_level="warning", lifespan="off"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            while not server.started:
                clock.sleep(0.01)
            made = Running(door, f"http://127.0.0.1:{listener.getsockname()[1]}")
            yield made
            made.close()
            server.should_exit = True
            thread.join()


@given(text, text, text, times, st.dictionaries(names, values, max_size=4), st.binary() | json_values)
@HASTE
def test_all_modes_are_taken_and_read_back_equal(
    running: Running,
    event_id: str,
    source: str,
    kind: str,
    time: datetime,
    extensions: dict[str, str | int],
    data: Any,
) -> None:
    media = "application/octet-stream" if isinstance(data, bytes) else "application/json"
    attributes = {"source": source, "type": kind, "time": time, "datacontenttype": media, "subject": "s%41"}
    ids = [f"{event_id}{uuid4()}" for _ in range(4)]  # else they were repeats
    sent = [CloudEvent({**attributes, "id": id_, **extensions}, data) for id_ in ids]
    bodies = [http.to_structured(event, JSONFormat()) for event in sent]
    running.send(bodies[0].headers, bodies[0].body)
    running.send({"content-type": BATCH_CONTENT_TYPE}, b"[%b,%b]" % (bodies[1].body, bodies[2].body), 2)
    binary = http.to_binary(sent[3], JSONFormat())
    running.send(binary.headers, binary.body)
    for id_ in ids:
        event = running.logged(id_, time)
        assert (event.source, event.type, event.time, event.content_type) == (source, kind, time, media)
        if id_ == ids[3]:  # headers are texts; what the package makes of data is its own affair
            expected = {name: str(value) for name, value in extensions.items()}
            assert event.data == binary.body
        else:
            expected = dict(extensions)
            # The package leaves out data that are None.
            read = event.data if isinstance(data, bytes) else json.loads(event.data or b"null")
            assert (read, type(read)) == (data, type(data))
        assert event.extensions == {"subject": "s%41", **expected}


plain = st.text("abcdefghijklmnopqrstuvwxyz0123456789-./", min_size=1, max_size=20)


@given(plain, plain, times, st.dictionaries(names, plain, max_size=4), json_values)
@HASTE
def test_its_older_interface_too(
    running: Running, source: str, kind: str, time: datetime, extensions: dict[str, str], data: Any
) -> None:
    attributes = {"source": source, "type": kind, "time": time.isoformat(), **extensions}
    attributes["datacontenttype"] = "application/json"
    ids = [str(uuid4()), str(uuid4())]
    running.send(*conversion.to_structured(v1.CloudEvent({**attributes, "id": ids[0]}, data)))
    headers, body = conversion.to_binary(v1.CloudEvent({**attributes, "id": ids[1]}, data))
    running.send(headers, body or b"")
    for id_ in ids:
        event = running.logged(id_, time)
        assert (event.source, event.type, event.time, event.extensions) == (source, kind, time, extensions)
        read = json.loads(event.data or b"null")
        assert (read, type(read)) == (data, type(data))
