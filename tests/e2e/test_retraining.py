"""The retraining loop with real parts: live data, a pipeline, two models beside each other, a decision."""

from __future__ import annotations

from pathlib import Path

import pytest

from retraining_parts import Place, build
from tidegauge.client import Client
from tidegauge.domain.deployment import DeploymentState
from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.retraining import RetrainingState


@pytest.fixture
def place(client: Client, tmp_path: Path) -> Place:
    return build(client, tmp_path)


def test_a_better_candidate_is_promoted_by_hand(place: Place) -> None:
    client = place.client
    place.send(40)
    found = place.retrain(note="many misses")
    assert found.state is RetrainingState.WAITING, found.message
    collected = found.collected
    assert collected.added + collected.tested == 40
    assert 0 < collected.tested < 20
    assert str(collected.data) == "chest v2"
    assert found.comparison.passes
    held_out, live = found.comparison.sets
    assert (held_out.images, held_out.worse, live.judged) == (120, 0, False)
    assert held_out.difference.value == pytest.approx(0.5, abs=0.05)
    # Nothing is served before somebody has decided.
    assert client.deployments.get("tiny").model_version == 1
    assert client.monitors.get("tiny").config.drift.train_data.version == 1

    client.retrainings.promote("tiny", note="looks right")
    done = client.retrainings.wait("tiny", timeout=60)
    assert done.state is RetrainingState.PROMOTED, done.message
    assert [(step.after, step.by) for step in done.history] == [
        ("training", "tidegauge"),
        ("comparing", "tidegauge"),
        ("waiting", "tidegauge"),
        ("promoting", "operator"),
        ("promoted", "tidegauge"),
    ]
    served = client.deployments.get("tiny")
    assert (served.model_version, served.state) == (2, DeploymentState.RUNNING)
    monitor = client.monitors.get("tiny")
    assert monitor.state is MonitorState.ACTIVE
    assert (monitor.config.drift.train_data.version, monitor.config_version) == (2, 2)
    (spent,) = client.monitors.acknowledgements("tiny")
    assert (spent.spent, spent.by) == (0.002, "operator")
    lineage = client.datasets.version("chest", 2).meta["lineage"]
    assert lineage["retraining"] == found.id
    assert lineage["collected"]["before"] == {"dataset": "chest", "version": 1}
    model = client.models.version("tiny", 2).meta["lineage"]
    assert (model["retraining"], model["pipeline_run"]) == (found.id, done.pipeline_run)


def test_a_worse_candidate_is_refused_by_the_rule(client: Client, tmp_path: Path) -> None:
    place = build(client, tmp_path, threshold=128)
    place.send(20)
    found = place.retrain(promote="auto", parameters={"threshold": 250})
    assert found.state is RetrainingState.REFUSED
    assert "On held-out v1 the candidate is surely worse: accuracy -0.500" in found.message
    assert client.deployments.get("tiny").model_version == 1
    monitor = client.monitors.get("tiny")
    assert (monitor.config_version, monitor.state) == (1, MonitorState.ACTIVE)
    assert client.monitors.acknowledgements("tiny") == []
