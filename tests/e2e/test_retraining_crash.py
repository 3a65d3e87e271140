"""A server that ends in the middle of a retraining: it goes on, and nothing is made or promoted twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts_server import Server
from retraining_parts import build, plan_of
from tidegauge.client import Client, wait_for
from tidegauge.domain.deployment import DeploymentState
from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.pipeline import PipelineState
from tidegauge.domain.retraining import RetrainingState


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "home")
    yield server
    server.process.kill()
    server.process.wait()


def end_and_restart(server: Server, client: Client, how: signal.Signals) -> Client:
    server.process.send_signal(how)
    server.process.wait()
    client.close()
    return server.start()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_retraining_outlives_its_server(server: Server, tmp_path: Path, how: signal.Signals) -> None:
    client = server.start()
    build(client, tmp_path).send(30)
    go = tmp_path / "go"
    client.retrainings.begin("tiny", plan_of(parameters={"wait_for": str(go)}))
    begun = go.with_suffix(".begun")
    wait_for(begun.exists, bool, "the training", 60)
    interrupted = client.retrainings.get("tiny").pipeline_run

    client = end_and_restart(server, client, how)
    go.touch()  # for what was left of the first run, too: its token is good for nothing any more
    waiting = client.retrainings.wait("tiny", timeout=60)
    assert waiting.state is RetrainingState.WAITING, waiting.message
    assert client.pipelines.get(interrupted).state is PipelineState.FAILED
    assert client.pipelines.get(waiting.pipeline_run).state is PipelineState.SUCCEEDED
    assert [step.after for step in waiting.history] == ["training", "training", "comparing", "waiting"]
    assert [version.number for version in client.datasets.versions("chest")] == [2, 1]
    assert [version.number for version in client.models.versions("tiny")] == [2, 1]

    client.retrainings.promote("tiny")
    client = end_and_restart(server, client, how)
    done = client.retrainings.wait("tiny", timeout=60)
    assert done.state is RetrainingState.PROMOTED, done.message
    assert len(client.monitors.acknowledgements("tiny")) == 1
    monitor = client.monitors.get("tiny")
    assert (monitor.config_version, monitor.config.drift.train_data.version) == (2, 2)
    assert monitor.state is MonitorState.ACTIVE
    served = client.deployments.wait("tiny")
    assert (served.model_version, served.state) == (2, DeploymentState.RUNNING)
    client.close()
