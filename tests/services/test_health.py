"""What is seen of served processes: real HTTP servers with prometheus_client's own process collector."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import HealthConfig, MonitorConfig
from tidegauge.domain.observation import HealthSample
from tidegauge.domain.status import Status
from tidegauge.links.processes import free_port
from tidegauge.services.health import Health, available_memory
from tidegauge.storage.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMIT = 1 << 30


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(database: Database, clock: Clock) -> Iterator[Health]:
    made = Health(database, clock, seconds=0.02, memory_limit=LIMIT)
    yield made
    made.close()


def deploy(database: Database, port: int, name: str = "xray", **changes: object) -> str:
    deployment = Deployment(
        id=new_id(),
        name=name,
        owner="ward",
        model_id="m",
        model_name="m",
        model_version=1,
        logging=True,
        origin=Origin.LOCAL,
        wanted=DeploymentState.RUNNING,
        state=DeploymentState.RUNNING,
        created_at=NOW,
        predict_path="",
        port=port,
    )
    return database.deployments.add(replace(deployment, **changes)).id


@contextlib.contextmanager
def served(*, ready: int = 200, metrics: bytes | None = None, pause: float = 0.0) -> Iterator[int]:
    """Run a server that answers as a model server does; its numbers are those of the test's process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(pause)
            is_ready = self.path == "/v2/health/ready"
            self.send_response(ready if is_ready else 200)
            self.end_headers()
            if not is_ready:
                self.wfile.write(generate_latest(registry) if metrics is None else metrics)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def samples(database: Database, deployment_id: str) -> tuple[HealthSample, ...]:
    return database.health_samples.where(deployment_id=deployment_id, sort="at")


def values(health: Health, deployment_id: str, start: datetime, end: datetime) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in health.of_window(deployment_id, start, end)}


def test_a_look_writes_down_what_the_process_says_of_itself(database: Database, health: Health) -> None:
    with served() as port:
        id_ = deploy(database, port)
        health.look()
    (sample,) = samples(database, id_)
    assert (sample.ready, sample.at) == (True, NOW)
    assert sample.cpu_seconds == pytest.approx(sum(os.times()[:2]), abs=1)
    assert sample.memory_bytes > 10 << 20
    assert abs((datetime.now(UTC) - sample.started_at).total_seconds()) < 24 * 3600


@pytest.mark.parametrize("answer", [b"", b"<html>{not metrics", b"process_cpu_seconds_total NaN\n"])
def test_a_process_without_numbers_of_its_own_is_ready_all_the_same(
    database: Database, health: Health, answer: bytes
) -> None:
    with served(metrics=answer) as port:
        id_ = deploy(database, port)
        health.look()
    (sample,) = samples(database, id_)
    assert (sample.ready, sample.cpu_seconds, sample.memory_bytes) == (True, None, None)


def test_a_process_that_is_away_or_says_no_is_not_ready(database: Database, health: Health) -> None:
    away = deploy(database, free_port(), "away")
    with served(ready=503) as port:
        unready = deploy(database, port, "unready")
        health.look()
    assert [samples(database, id_)[0].ready for id_ in (away, unready)] == [False, False]


def test_the_port_of_a_process_that_has_ended_is_not_asked(database: Database, health: Health) -> None:
    with served() as port:
        id_ = deploy(database, port, state=DeploymentState.FAILED)
        health.look()
    assert not samples(database, id_)[0].ready


@pytest.mark.parametrize(
    "changes", [{"wanted": DeploymentState.STOPPED}, {"origin": Origin.EXTERNAL, "state": "unknown"}]
)
def test_what_ought_not_to_run_here_is_not_looked_at(
    database: Database, health: Health, changes: dict[str, object]
) -> None:
    with served() as port:
        id_ = deploy(database, port, **changes)
        health.look()
    assert samples(database, id_) == ()


def test_processes_that_hang_delay_the_others_little(database: Database, health: Health) -> None:
    with served(pause=0.5) as slow, served() as quick:
        ids = [deploy(database, port, f"d{n}") for n, port in enumerate([slow] * 6 + [quick])]
        began = time.monotonic()
        health.look()
        assert time.monotonic() - began < 2.5  # one after the other: 6 seconds
    assert all(samples(database, id_)[0].ready for id_ in ids)


def test_it_looks_again_and_again_until_it_is_closed(
    database: Database, clock: Clock, health: Health
) -> None:
    with served() as port:
        id_ = deploy(database, port)
        health.start()
        deadline = time.monotonic() + 20
        while len(samples(database, id_)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
            clock.now += MINUTE
        health.close()
        seen = len(samples(database, id_))
        assert seen >= 3
        time.sleep(0.1)
        assert len(samples(database, id_)) == seen


def test_a_failing_look_does_not_end_the_looking(
    database: Database, health: Health, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    where, failures = database.deployments.where, iter([OSError("the database is away")])

    def flaky(**conditions: object) -> tuple[Deployment, ...]:
        for failure in failures:
            raise failure
        return where(**conditions)

    monkeypatch.setattr(database.deployments, "where", flaky)
    with served() as port:
        id_ = deploy(database, port)
        health.start()
        deadline = time.monotonic() + 20
        while not samples(database, id_) and time.monotonic() < deadline:
            time.sleep(0.02)
        health.close()
    assert samples(database, id_)
    assert "failed for a moment" in caplog.text


def test_a_deployment_deleted_during_a_look_costs_the_others_nothing(
    database: Database, clock: Clock, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served() as port:
        gone, stays = deploy(database, port, "gone"), deploy(database, port, "stays")

        def delete_meanwhile() -> datetime:
            database.deployments.delete(gone)
            return clock()

        monkeypatch.setattr(health, "_now", delete_meanwhile)
        health.look()
    assert (len(samples(database, gone)), len(samples(database, stays))) == (0, 1)


def watch(database: Database, deployment_id: str, config: HealthConfig) -> None:
    database.monitors.add(
        Monitor(
            new_id(),
            deployment_id,
            deployment_id,
            "ward",
            MonitorState.ACTIVE,
            Status.UNKNOWN,
            MonitorConfig(health=config),
            1,
            NOW,
        )
    )


def test_each_deployment_is_looked_at_as_often_as_its_monitor_asks(
    database: Database, clock: Clock, health: Health
) -> None:
    with served() as port:
        unwatched, often, seldom, never = (deploy(database, port, name) for name in "abcd")
        watch(database, often, HealthConfig(frequency_minutes=1))
        watch(database, seldom, HealthConfig(frequency_minutes=3))
        watch(database, never, HealthConfig(enabled=False))
        for _ in range(12):  # a look every half minute
            health.look_in_turn()
            clock.now += MINUTE / 2
    counts = [len(samples(database, id_)) for id_ in (unwatched, often, seldom, never)]
    assert counts == [6, 6, 2, 0]


def test_a_look_holds_until_the_next_one_is_due(database: Database, health: Health) -> None:
    id_ = deploy(database, 1)
    add_samples(database, id_, [NOW])

    def ready(minutes: int, frequency: int) -> float | None:
        start = NOW + minutes * MINUTE
        found = health.of_window(id_, start, start + 5 * MINUTE, frequency)
        return next(metric.value for metric in found if metric.name == "ready")

    assert (ready(5, 10), ready(9, 10), ready(10, 10), ready(5, 1)) == (1.0, 1.0, None, None)


def add_samples(database: Database, deployment_id: str, times: list[datetime]) -> None:
    database.health_samples.add_all(HealthSample(new_id(), deployment_id, at, ready=True) for at in times)


def test_samples_are_kept_for_thirty_days(database: Database, clock: Clock, health: Health) -> None:
    id_ = deploy(database, 1, wanted=DeploymentState.STOPPED)
    month = timedelta(days=30)
    old = [NOW - month - n * MINUTE for n in range(1, 1203)]
    add_samples(database, id_, [*old, NOW - month, NOW])
    health.look()
    assert [sample.at for sample in samples(database, id_)] == [NOW - month, NOW]
    clock.now += timedelta(minutes=59)
    health.look()
    assert len(samples(database, id_)) == 2  # once an hour is enough
    clock.now += MINUTE
    health.look()
    assert [sample.at for sample in samples(database, id_)] == [NOW]


def test_a_window_sums_its_own_samples_up(database: Database, health: Health) -> None:
    id_, other = deploy(database, 1), deploy(database, 2, "other")
    born = NOW - timedelta(hours=1)

    def sample(seconds: int, cpu: float, memory: int, deployment_id: str = id_) -> HealthSample:
        at = NOW + timedelta(seconds=seconds)
        return HealthSample(
            new_id(), deployment_id, at, ready=True, cpu_seconds=cpu, memory_bytes=memory, started_at=born
        )

    database.health_samples.add_all(
        [
            sample(-15, 1.0, LIMIT),
            sample(0, 4.0, LIMIT // 4),
            sample(15, 7.0, LIMIT // 2),
            HealthSample(new_id(), id_, NOW + timedelta(seconds=30), ready=False),
            sample(45, 13.0, LIMIT // 4 * 3),
            sample(60, 60.0, LIMIT),
            sample(30, 500.0, LIMIT, other),
        ]
    )
    found = {metric.name: metric for metric in health.of_window(id_, NOW, NOW + MINUTE)}
    assert {(metric.type, metric.status) for metric in found.values()} == {
        (MetricType.HEALTH, Status.UNKNOWN)
    }
    assert (found["ready"].value, found["ready"].n) == (0.75, 4)
    assert (found["cpu_utilization"].value, found["cpu_utilization"].n) == (pytest.approx(12 / 60), 3)
    assert (found["memory_bytes"].value, found["memory_bytes"].n) == (LIMIT / 2, 3)
    assert found["memory_utilization"].value == 0.5
    assert found["restarts"].value == 0


def test_a_restart_is_seen_in_the_window_in_which_it_was_noticed(database: Database, health: Health) -> None:
    id_ = deploy(database, 1)
    for seconds, cpu, born in ((-15, 100.0, -3600), (15, 2.0, 5), (30, 5.0, 5)):
        database.health_samples.add(
            HealthSample(
                new_id(),
                id_,
                NOW + timedelta(seconds=seconds),
                ready=True,
                cpu_seconds=cpu,
                memory_bytes=1,
                started_at=NOW + timedelta(seconds=born),
            )
        )
    found = values(health, id_, NOW, NOW + MINUTE)
    assert found["restarts"] == 1
    assert found["cpu_utilization"] == pytest.approx((2 + 3) / (10 + 15))


def test_a_window_without_samples_is_unknown(database: Database, health: Health) -> None:
    id_ = deploy(database, 1)
    found = values(health, id_, NOW, NOW + MINUTE)
    assert set(found) == {"ready", "cpu_utilization", "memory_bytes", "memory_utilization", "restarts"}
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("own", "file", "text", "expected"),
    [
        ("0::/ward.slice/tide.service\n", "ward.slice/memory.max", "1048576\n", 1 << 20),
        ("0::/\n", "memory.max", "1048576\n", 1 << 20),
        ("0::/\n", "memory.max", "max\n", None),
        ("4:memory:/box\n0::/\n", "memory/box/memory.limit_in_bytes", "1048576\n", 1 << 20),
        ("4:memory:/box\n", "memory/memory.limit_in_bytes", str(1 << 62), None),
        ("", "memory.max", "1048576\n", None),
    ],
)
def test_memory_is_the_machine_or_the_container(
    tmp_path: Path, own: str, file: str, text: str, expected: int | None
) -> None:
    (tmp_path / "own").write_text(own)
    (tmp_path / "groups" / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "groups" / file).write_text(text)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available_memory(tmp_path / "groups", tmp_path / "own") == (expected or whole)
