"""The worker: one job for a subject at a time, and none that was asked for is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tidegauge.services.worker import Worker

SECONDS = 10


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def held(begun: threading.Event, gate: threading.Event) -> Callable[[], None]:
    """Return a job that is under way until the gate opens."""

    def job() -> None:
        begun.set()
        assert gate.wait(SECONDS)

    return job


def test_what_is_asked_for_while_a_job_is_under_way_is_done_after_it(worker: Worker) -> None:
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()
    worker.submit("a", held(begun, gate))
    assert begun.wait(SECONDS)
    order: list[str] = []

    def last() -> None:
        order.append("last")
        done.set()

    worker.submit("a", lambda: order.append("one that is asked for again"))
    worker.submit("a", last)
    worker.submit("b", lambda: order.append("other"))
    gate.set()
    assert done.wait(SECONDS)
    worker.close()
    assert sorted(order) == ["last", "other"]


def test_a_job_that_fails_lets_the_next_have_its_turn(worker: Worker) -> None:
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()

    def fail() -> None:
        held(begun, gate)()
        raise ValueError("a bug")

    worker.submit("a", fail)
    assert begun.wait(SECONDS)
    worker.submit("a", done.set)
    gate.set()
    assert done.wait(SECONDS)


def test_nothing_begins_after_the_end() -> None:
    worker = Worker()
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()
    worker.submit("a", held(begun, gate))
    assert begun.wait(SECONDS)
    worker.submit("a", done.set)
    closing = threading.Thread(target=worker.close)
    closing.start()
    while not worker._is_closed:
        pass
    gate.set()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert not done.is_set()
