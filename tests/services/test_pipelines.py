from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from parts import write_images
from tidegauge.app import build_services
from tidegauge.client import Client
from tidegauge.domain.identity import new_id
from tidegauge.domain.pipeline import PipelineRun, PipelineState
from tidegauge.settings import load_settings

SCRIPT = """
from tidegauge.steps import step
with step("train"):
    pass
"""


@pytest.fixture
def ready(client: Client, tmp_path: Path) -> Client:
    """A client with a Code, a Dataset and a Model to run pipelines with."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pipeline.py").write_text(SCRIPT)
    (tmp_path / "code" / "broken.py").write_text("raise SystemExit('no data today')\n")
    client.code.create("mine")
    client.code.add_version("mine", tmp_path / "code")
    client.datasets.create("chest", folder=write_images(tmp_path / "images", 1))
    client.datasets.add_version("chest")
    client.models.create("tiny")
    return client


def run(client: Client, file: str) -> tuple[PipelineState, str, list[tuple[str, str]]]:
    started = client.pipelines.run(code="mine", dataset="chest", model="tiny", deployment="tiny", file=file)
    ended = client.pipelines.wait(started.id, timeout=60)
    return ended.state, ended.message, [(step.name, step.state) for step in ended.steps]


def test_a_run_shows_its_steps(ready: Client) -> None:
    assert run(ready, "pipeline.py") == (PipelineState.SUCCEEDED, "", [("train", "succeeded")])


def test_a_run_that_fails_says_why(ready: Client) -> None:
    assert run(ready, "broken.py") == (PipelineState.FAILED, "no data today", [])


@pytest.mark.parametrize("file", ["absent.py", "../../../outside.py", "/etc/passwd"])
def test_only_a_file_of_the_code_is_run(ready: Client, file: str) -> None:
    state, message, steps = run(ready, file)
    assert (state, steps) == (PipelineState.FAILED, [])
    assert f"file is {file!r}" in message


def test_a_run_that_waited_while_its_owner_was_deleted_ends(tmp_path: Path) -> None:
    services = build_services(load_settings(tmp_path / "home", {"port": 1}, {}))
    services.people.first_start()
    ada = services.accounts.create("ada").user
    waiting = PipelineRun(
        new_id(), "ada", "p.py", "x", 1, "x", 1, "x", "", PipelineState.QUEUED, datetime.now(UTC)
    )
    services.database.pipeline_runs.add(waiting)
    services.accounts.delete(ada, services.people.owner("operator"))
    services.pipelines._run(waiting)
    found = services.database.pipeline_runs.get(waiting.id)
    assert (found.owner, found.state) == ("operator", PipelineState.FAILED)
    services.database.close()
