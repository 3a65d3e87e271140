"""The retraining loop with real parts: live data, a pipeline, two models beside each other, a decision."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parts import running_server, write_model
from retraining_parts import Place, build, plan_of
from tidegauge.client import Client, wait_for
from tidegauge.domain.deployment import DeploymentState
from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.pipeline import PipelineState
from tidegauge.domain.retraining import RetrainingState
from tidegauge.errors import ConflictError, InvalidInputError


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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place with live data, for what ends without a promotion."""
    folder = tmp_path_factory.mktemp("shared")
    with running_server(folder / "home") as client:
        place = build(client, folder)
        place.send(20)
        yield place


@pytest.mark.parametrize(
    ("sabotage", "sentence"),
    [
        ("train", "The pipeline run failed: the gradient is gone What it wrote: tidegauge pipeline log"),
        ("add", "succeeded, but added no version to the model 'tiny'"),
        ("model", "of 'tiny' could not be asked: .*NoSuchOperator"),
    ],
)
def test_a_pipeline_that_goes_wrong_says_why(shared: Place, sabotage: str, sentence: str) -> None:
    found = shared.retrain(parameters={"sabotage": sabotage})
    assert found.state is RetrainingState.FAILED
    assert re.search(sentence, found.message), found.message
    assert shared.client.deployments.get("tiny").model_version == 1


def test_a_refusal_ends_the_pipeline(shared: Place, tmp_path: Path) -> None:
    retrainings = shared.client.retrainings
    retrainings.begin("tiny", plan_of(parameters={"wait_for": str(tmp_path / "never")}))
    wait_for((tmp_path / "never.begun").exists, bool, "the training", 60)
    with pytest.raises(ConflictError, match="A retraining is training"):
        retrainings.begin("tiny", plan_of())
    with pytest.raises(ConflictError, match="The retraining is training; there is nothing to decide"):
        retrainings.promote("tiny")
    refused = retrainings.refuse("tiny", note="wrong data")
    assert (refused.state, refused.message) == (RetrainingState.REFUSED, "wrong data")
    run = shared.client.pipelines.wait(refused.pipeline_run, timeout=20)
    assert run.state is PipelineState.CANCELLED


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"held_out": {"dataset": "absent", "version": 1}}, "held_out: There is no dataset 'absent'"),
        ({"held_out": {"dataset": "chest", "version": 1}}, "held_out is chest v1, the training data"),
        ({"pipeline": {"code": "absent"}}, "pipeline: There is no code 'absent'"),
        ({"pipeline": {"code": "mine", "code_version": 9}}, "pipeline: .* has no version v9"),
        ({"metric": "f1_score", "margin": 2}, "metric is 'f1_score'.* margin is 2"),
        ({"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "end is 2026-03-01"),
        ({"rows": 3}, "rows"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_at_once(
    shared: Place, plan: dict[str, object], sentence: str
) -> None:
    before = len(shared.client.retrainings.list("tiny"))
    with pytest.raises(InvalidInputError, match=sentence):
        shared.client.retrainings.begin("tiny", plan_of() | plan)
    assert len(shared.client.retrainings.list("tiny")) == before


def test_a_span_without_labelled_images_fails_and_says_what_was_left_out(shared: Place) -> None:
    shared.send(3, seed=9, name="unlabelled", label=False)
    shared.send(2, seed=10, name="odd", label=False)
    shared.tell({"odd-0": "TUBERCULOSIS"})
    # The twenty of before are in no version yet: a version of theirs is made only where one succeeds.
    found = shared.retrain(start="2026-03-01T00:00:00Z", end="2026-03-02T00:00:00Z")
    assert found.message == "There is no labelled live image to add: nothing was logged in the span."
    later = shared.retrain(parameters={"sabotage": "train"})
    assert (later.collected.unlabelled, later.collected.unknown_class) == (4, 1)


def test_a_second_promotion_of_what_is_no_longer_served_is_refused(client: Client, tmp_path: Path) -> None:
    place = build(client, tmp_path)
    place.send(20)
    waiting = place.retrain()
    assert waiting.state is RetrainingState.WAITING
    client.models.add_version("tiny", write_model(tmp_path / "by-hand", threshold=120))
    client.deployments.update(place.deployment.id, version=3)
    with pytest.raises(ConflictError, match="serves v3 now, but v1 was compared"):
        client.retrainings.promote("tiny")
    assert client.retrainings.refuse("tiny").state is RetrainingState.REFUSED


def test_an_alarm_begins_a_retraining_that_waits_for_a_decision(shared: Place) -> None:
    client = shared.client
    plan = plan_of()
    rule = {
        "name": "low",
        "type": "performance",
        "conditions": [{"name": "accuracy", "operator": "<", "bound": 0.9}],
        "retrain": {"held_out": plan["held_out"], "pipeline": plan["pipeline"], "pause_hours": 0},
    }
    client.monitors.add_rule("tiny", rule)
    now = datetime.now(UTC)
    run = client.monitors.run("tiny", now - timedelta(hours=2), now)
    assert run.metric("accuracy").value < 0.9
    found = client.retrainings.wait("tiny", timeout=60)
    assert (found.state, found.cause) == (RetrainingState.WAITING, "low"), found.message
    assert found.plan.end - found.plan.start == timedelta(days=30)
    client.retrainings.refuse("tiny")
    # What the last one did is what the next one does.
    again = client.retrainings.begin("tiny")
    assert (again.plan.held_out, again.plan.pipeline.code) == (found.plan.held_out, "mine")
    client.retrainings.refuse("tiny", again.id)
