"""kill -9 in the middle: what was acknowledged is there, what was running runs again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest

from parts import image, write_model
from parts_server import Server
from tidegauge.app import utc_now
from tidegauge.client import Client, wait_for
from tidegauge.domain.deployment import DeploymentState
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "home")
    yield server
    server.process.kill()
    server.process.wait()


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()  # the kernel lists children by the thread that made them
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def event(number: int) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": f"direct-{number}",
        "source": "/test",
        "type": "org.kubeflow.serving.inference.request",
        "time": (START + timedelta(seconds=number)).isoformat(),
        "data": {"number": number},
    }


def test_kill_minus_nine_loses_nothing_acknowledged(server: Server, tmp_path: Path) -> None:
    client = server.start()
    client.models.create("tiny")
    client.models.add_version("tiny", write_model(tmp_path / "model"))
    deployment = client.deployments.create("tiny", "tiny", 1)
    deployment = client.deployments.wait(deployment.id)
    rng = np.random.default_rng(0)
    acknowledged: set[str] = set()

    def post(client: Client, numbers: range) -> None:
        for number in numbers:
            body = orjson.dumps([event(number)])
            headers = {"Content-Type": "application/cloudevents-batch+json"}
            path = f"/v1/deployments/{deployment.id}/events"
            assert client.request("POST", path, content=body, headers=headers).status_code == 202
            acknowledged.add(f"direct-{number}")

    for number in range(20):
        body = {"inputs": {"input_1": [image("NORMAL", rng).tolist()]}}
        client.deployments.predict(deployment, body, event_id=f"served-{number}", time=START)
    log = f"/serve/{deployment.id}/healthz"
    wait_for(lambda: client.request("GET", log).json()["queued"], lambda queued: queued == 0, "log", 10)
    acknowledged |= {f"served-{number}" for number in range(20)}
    post(client, range(30))
    served = children(server.process.pid)
    assert served

    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    client.close()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in served) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in served), "the model server outlived its supervisor"

    client = server.start()
    again = client.deployments.wait(deployment.id)
    assert again.state is DeploymentState.RUNNING
    assert again.predict_path == deployment.predict_path
    post(client, range(30, 40))
    body = {"inputs": {"input_1": [image("NORMAL", rng).tolist()]}}
    client.deployments.predict(again, body, event_id="served-20", time=START)
    client.close()
    server.process.terminate()
    assert server.process.wait(30) == 0, server.log.read_text()

    events = list(
        InferenceLog(ObjectStore(str(server.home / "store"))).read(
            deployment.id, START - timedelta(days=1), utc_now()
        )
    )
    keys = [(e.id, e.type) for e in events]
    assert len(keys) == len(set(keys)), "an event came twice"
    found = {e.id for e in events}
    # A clean end hands over what the model server still held.
    assert acknowledged | {"served-20"} <= found
    assert sum(e.id.startswith("served-") for e in events) == 2 * 21


def test_a_model_server_that_dies_is_started_again(server: Server, tmp_path: Path) -> None:
    with server.start() as client:
        try:
            client.models.create("tiny")
            client.models.add_version("tiny", write_model(tmp_path / "model"))
            deployment = client.deployments.wait(client.deployments.create("tiny", "tiny", 1).id)
            (child,) = children(server.process.pid)
            os.kill(child, signal.SIGKILL)
            wait_for(
                lambda: client.deployments.get(deployment.id),
                lambda d: d.restarts == 1 and d.state is DeploymentState.RUNNING,
                "the restart",
                20,
            )
        finally:
            server.process.terminate()
            server.process.wait(30)
