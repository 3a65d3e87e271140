"""The inference log as a receiver over HTTP sees it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from serving.models import expected_scores, image_model
from serving.running import Receiver, receiving, serving, wait_until
from tidegauge.domain.capture import Capture
from tidegauge.domain.inference import decode_event
from tidegauge.links.processes import free_port
from tidegauge.serving import served as served_module
from tidegauge.serving.eventlog import EventLog, LogCounts
from tidegauge.serving.exchange import Exchange, Origin, RawBody
from tidegauge.serving.posting import Answer, Collector

PREDICT = "/v1/models/scan:predict"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORIGIN = Origin("d1", "scan", "3", "alice")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return image_model(tmp_path_factory.mktemp("model") / "scan")


@pytest.fixture(scope="module")
def logging_server(folder, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("logs")
    with receiving() as receiver, serving(folder, scratch, *logging_to(receiver.url)) as served:
        yield receiver, served


@pytest.fixture
def logged(logging_server):
    """A receiver without events yet, and a server that logs to it."""
    receiver, served = logging_server
    receiver.events.clear()
    return receiver, served


def logging_to(url: str) -> tuple[str, ...]:
    return ("--log-url", url, "--deployment-id", "d1", "--namespace", "alice", "--version", "3")


def exchange(number: int, size: int = 4) -> Exchange:
    outputs = {"y": np.array([number], np.float32)}
    return Exchange(f"e{number}", NOW, 1500, 200, {"x": np.zeros(size, np.float32)}, outputs)


def test_a_request_becomes_two_events_with_one_id(logged):
    receiver, served = logged
    headers = {"ce-id": "mine", "ce-time": "2026-03-01T12:00:00+02:00"}
    answer = served.http.post(PREDICT, json={"inputs": PIXELS.tolist()}, headers=headers)
    assert answer.headers["ce-id"] == "mine"
    wait_until(lambda: len(receiver.events) == 2)
    request, response = receiver.events
    assert receiver.headers["authorization"] == "Bearer secret"
    assert request.type == "org.kubeflow.serving.inference.request"
    assert response.type == "org.kubeflow.serving.inference.response"
    for event in (request, response):
        assert (event.id, event.source) == ("mine", "/deployments/d1")
        assert event.time == datetime(2026, 3, 1, 10, tzinfo=UTC)
        assert event.content_type == "application/octet-stream"
        assert event.extensions["inferenceservicename"] == "scan"
        assert (event.extensions["namespace"], event.extensions["endpoint"]) == ("alice", "3")
    np.testing.assert_array_equal(decode_event(request)["input_1"], PIXELS.astype(np.float32), strict=True)
    assert len(request.data) < 2 * 64 + 200  # a byte for each pixel
    np.testing.assert_allclose(decode_event(response)["output"], expected_scores(PIXELS), rtol=1e-5)
    assert response.extensions["status"] == 200
    assert 0 < response.extensions["latencyus"] < 10_000_000


def test_without_headers_id_and_time_are_made(logged):
    receiver, served = logged
    before = datetime.now(UTC)
    answers = [served.http.post(PREDICT, json={"instances": PIXELS.tolist()}) for _ in range(2)]
    wait_until(lambda: len(receiver.events) == 4)
    ids = [answer.headers["ce-id"] for answer in answers]
    assert len(set(ids)) == 2
    assert [event.id for event in receiver.of_type("request")] == ids
    assert all(before < event.time < datetime.now(UTC) for event in receiver.events)


def test_refused_requests_are_logged_with_status_and_body(logged):
    receiver, served = logged
    small = served.http.post(PREDICT, content=b'{"x": 1}')
    large = served.http.post(PREDICT, content=b" " * 70_000)
    wrong_time = served.http.post("/v2/models/scan/infer", content=b"{}", headers={"ce-time": "now"})
    wait_until(lambda: len(receiver.events) == 6)
    requests, responses = receiver.of_type("request"), receiver.of_type("response")
    assert [event.data for event in requests] == [b'{"x": 1}', b"", b""]
    assert [event.data for event in responses] == [small.content, large.content, wrong_time.content]
    assert {event.extensions["status"] for event in responses} == {400}
    assert {event.content_type for event in responses} == {"application/json"}
    assert [event.id for event in responses] == [a.headers["ce-id"] for a in (small, large, wrong_time)]


def test_counts_are_shown_as_json_and_as_metrics(folder, tmp_path):
    with receiving() as receiver, serving(folder, tmp_path, *logging_to(receiver.url)) as served:
        served.http.post(PREDICT, json={"instances": PIXELS.tolist()})
        served.http.post("/v2/models/scan/infer", json={})
        wait_until(lambda: served.counts()["acknowledged"] == 2)
        counts = served.counts()
        metrics = served.http.get("/metrics").text
    assert (counts["status"], counts["served"], counts["logging"]) == ("ok", 2, True)
    assert (counts["queued"], counts["dropped_overflow"], counts["refused"]) == (0, 0, 0)
    assert 'tidegauge_inference_requests_total{code="200",protocol="v1"} 1.0' in metrics
    assert 'tidegauge_inference_requests_total{code="400",protocol="v2"} 1.0' in metrics
    assert 'tidegauge_inference_seconds_count{protocol="v1"} 1.0' in metrics
    assert "tidegauge_log_acknowledged_total 2.0" in metrics
    assert "tidegauge_log_dropped_overflow_total 0.0" in metrics


def test_sigterm_sends_what_is_queued(folder, tmp_path):
    with receiving(held=True) as receiver, serving(folder, tmp_path, *logging_to(receiver.url)) as served:
        for _ in range(20):
            served.http.post(PREDICT, json={"instances": PIXELS.tolist()})
        assert receiver.events == []
        served.process.terminate()
        threading.Timer(0.5, receiver.release.set).start()
        assert served.process.wait(15) == 0
        assert len(receiver.events) == 40


def test_an_end_without_a_collector_is_bounded_and_says_what_is_lost(folder, tmp_path):
    url = f"http://127.0.0.1:{free_port()}/v1/deployments/d1/events"
    parent = subprocess.Popen(["sleep", "100"])
    flags = (*logging_to(url), "--parent-pid", str(parent.pid))
    with serving(folder, tmp_path, *flags) as served:
        served.http.post(PREDICT, json={"instances": PIXELS.tolist()})
        wait_until(lambda: served.counts()["queued"] == 1)
        parent.kill()
        parent.wait()
        assert served.process.wait(5) == 0
        assert "1 inferences could not be logged" in served.log


def started(url: str, **limits: int) -> EventLog:
    log = EventLog(Collector(url, "t"), ORIGIN, **limits)
    log.start()
    return log


@pytest.mark.parametrize(("limits", "kept"), [({"max_count": 3}, 3), ({"max_bytes": 5 * 3000}, 5)])
def test_overflow_is_counted_never_silent(limits, kept):
    with receiving(held=True) as receiver:
        log = EventLog(Collector(receiver.url, "t"), ORIGIN, **limits)
        for number in range(10):
            log.put(exchange(number, size=235))
        assert log.counts == LogCounts(queued=kept, dropped_overflow=10 - kept)
        log.start()
        receiver.release.set()
        wait_until(lambda: log.counts.acknowledged == kept)
        log.put(exchange(99))
        wait_until(lambda: log.counts.acknowledged == kept + 1)
        log.close(5)
    assert [event.id for event in receiver.of_type("request")] == [*(f"e{n}" for n in range(kept)), "e99"]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_collector_that_is_busy_is_asked_again(status):
    with receiving(status, status, 202) as receiver:
        log = started(receiver.url)
        log.put(exchange(1))
        wait_until(lambda: log.counts.acknowledged == 1)
        assert log.close(5) == LogCounts(acknowledged=1)
    assert receiver.posts == [(status, 2), (status, 2), (202, 2)]


def test_a_collector_that_comes_back_gets_everything_in_order():
    port = free_port()
    log = started(f"http://127.0.0.1:{port}/v1/deployments/d1/events")
    for number in range(600):
        log.put(exchange(number))
    wait_until(lambda: log.counts.queued == 600)
    with receiving(port=port) as receiver:
        wait_until(lambda: log.counts.acknowledged == 600)
        log.close(5)
    assert [event.id for event in receiver.of_type("request")] == [f"e{number}" for number in range(600)]
    assert len(receiver.posts) < 10


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_collector_that_refuses_is_counted_and_not_asked_again(status):
    with receiving(status) as receiver:
        log = started(receiver.url)
        for number in range(3):
            log.put(exchange(number))
        wait_until(lambda: log.counts.refused == 3)
        assert log.close(5) == LogCounts(refused=3)
    assert sum(events for _, events in receiver.posts) == 6


def test_one_bad_event_does_not_take_its_batch_with_it():
    with receiving(held=True) as receiver:
        receiver.refused_ids = {"e5"}
        log = started(receiver.url)
        for number in range(16):
            log.put(exchange(number))
        receiver.release.set()
        wait_until(lambda: not log.counts.queued)
        assert log.close(5) == LogCounts(acknowledged=15, refused=1)
    assert [event.id for event in receiver.of_type("request")] == [f"e{n}" for n in range(16) if n != 5]


def test_an_exchange_that_cannot_be_written_does_not_stop_the_log():
    with receiving() as receiver:
        log = started(receiver.url)
        nothing = RawBody("application/json", b"")
        log.put(Exchange("\ud800", NOW, 1, 400, nothing, nothing))
        log.put(exchange(1))
        wait_until(lambda: not log.counts.queued)
        assert log.close(5) == LogCounts(acknowledged=1, refused=1)


def test_raw_bodies_keep_their_header_length():
    with receiving() as receiver:
        log = started(receiver.url)
        body = RawBody("application/octet-stream", b"{}\0\0", 2)
        log.put(Exchange("e", NOW, 1, 400, body, RawBody("application/json", orjson.dumps({"error": "x"}))))
        wait_until(lambda: log.counts.acknowledged == 1)
        log.close(5)
    (request,) = receiver.of_type("request")
    assert (request.data, request.extensions["headerlength"]) == (b"{}\0\0", 2)


def test_closing_takes_no_longer_than_it_may():
    with receiving(held=True) as receiver:
        log = started(receiver.url)
        log.put(exchange(1))
        wait_until(lambda: log.counts.queued == 1)
        assert log.close(0.2) == LogCounts(dropped_overflow=1)


def test_what_is_acknowledged_after_the_end_is_not_counted_as_dropped(monkeypatch: pytest.MonkeyPatch):
    asked = threading.Event()

    class Lasting(Collector):
        def post(self, batch: Sequence[bytes]) -> Answer:
            asked.set()
            return super().post(batch)

        def close(self) -> None:
            """Let what is on its way come through."""

    monkeypatch.setattr(served_module, "REPORT_SECONDS", 1e6)  # no report goes ahead
    with receiving(held=True) as receiver:
        collector = Lasting(receiver.url, "secret")
        log = EventLog(collector, ORIGIN)
        log.start()
        log.put(exchange(1))
        assert asked.wait(20)
        try:
            assert log.close(0.1) == LogCounts(dropped_overflow=1)
            receiver.release.set()
            wait_until(lambda: log.counts.acknowledged == 1)
            assert log.counts == LogCounts(acknowledged=1)
        finally:
            Collector.close(collector)


def merged(receiver: Receiver) -> dict[str, Capture]:
    """Return what the reports tell, by sender and minute."""
    found: dict[str, Capture] = {}
    for capture in receiver.reports:
        found[capture.id] = found.get(capture.id, capture).merged(capture)
    return found


def test_both_events_of_an_inference_have_its_number():
    with receiving() as receiver:
        log = started(receiver.url)
        for number in range(3):
            log.put(exchange(number))
        log.close(5)
    for kind in ("request", "response"):
        assert [event.extensions["sequence"] for event in receiver.of_type(kind)] == [1, 2, 3]
        assert {event.extensions["sender"] for event in receiver.of_type(kind)} == {log.sender}


def test_dropped_inferences_are_numbered_and_reported_as_overflow():
    with receiving(held=True) as receiver:
        log = EventLog(Collector(receiver.url, "t"), ORIGIN, max_count=3)
        for number in range(10):
            log.put(exchange(number))
        log.start()
        receiver.release.set()
        wait_until(lambda: log.counts.acknowledged == 3)
        log.put(exchange(10))
        log.close(5)
    assert [event.extensions["sequence"] for event in receiver.of_type("response")] == [1, 2, 3, 11]
    (capture,) = merged(receiver).values()
    assert (capture.sender, capture.minute) == (log.sender, NOW.replace(second=0))
    assert (capture.served, capture.overflow, capture.refused) == (11, 7, 0)


def test_refused_inferences_are_reported_whoever_refuses():
    with receiving(held=True) as receiver:
        receiver.refused_ids = {"e5"}
        log = started(receiver.url)
        nothing = RawBody("application/json", b"")
        log.put(Exchange("\ud800", NOW, 1, 400, nothing, nothing))
        for number in range(8):
            log.put(exchange(number))
        receiver.release.set()
        wait_until(lambda: not log.counts.queued)
        log.close(5)
    (capture,) = merged(receiver).values()
    assert (capture.served, capture.overflow, capture.refused) == (9, 0, 2)


def test_events_that_a_batch_lost_are_counted_one_by_one():
    with receiving() as receiver:
        receiver.left_out_ids = {"e1", "e3"}
        log = EventLog(Collector(receiver.url, "t"), ORIGIN)
        for number in range(5):
            log.put(exchange(number))
        log.start()
        wait_until(lambda: not log.counts.queued)
        assert log.close(5) == LogCounts(acknowledged=3, refused=2)
    (capture,) = merged(receiver).values()
    assert (capture.served, capture.refused) == (5, 2)
    assert [event.id for event in receiver.of_type("response")] == ["e0", "e2", "e4"]


def test_a_report_is_sent_by_the_clock_and_ahead_of_what_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(served_module, "REPORT_SECONDS", 0.2)
    with receiving(503) as receiver:
        log = started(receiver.url)
        for number in range(3):
            log.put(exchange(number))
        wait_until(lambda: receiver.reports)
        assert receiver.events == []
        log.put(exchange(3))
        wait_until(lambda: len(receiver.reports) > 1)
        receiver.answers = [202]
        log.close(5)
    assert [capture.served for capture in receiver.reports] == [3, 4]


def test_a_report_that_the_collector_cannot_take_now_is_sent_again():
    with receiving() as receiver:
        receiver.report_answers = [503, 503, 202]
        log = started(receiver.url)
        log.put(exchange(1))
        log.close(5)
    assert [capture.served for capture in receiver.reports] == [1]


def test_a_report_that_is_refused_does_not_stop_the_log():
    with receiving() as receiver:
        receiver.report_answers = [422]
        log = started(receiver.url)
        log.put(exchange(1))
        assert log.close(5) == LogCounts(acknowledged=1)
    assert receiver.reports == []


def test_clients_cannot_number_what_they_send(logged):
    receiver, served = logged
    headers = {"ce-sender": "me", "ce-sequence": "9", "ce-hospital": "west"}
    served.http.post(PREDICT, json={"inputs": PIXELS.tolist()}, headers=headers)
    wait_until(lambda: len(receiver.events) == 2)
    extensions = receiver.events[0].extensions
    assert (extensions["hospital"], extensions["sender"] != "me") == ("west", True)
    assert served.counts()["sender"] == extensions["sender"]
