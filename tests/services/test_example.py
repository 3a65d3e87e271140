"""The example, created by a server: with a pipeline that is quick in the place of the one that trains."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parts import running_server, write_images, write_model
from tidegauge.client import Client
from tidegauge.domain.monitor import MonitorState
from tidegauge.errors import ConflictError, UnavailableError
from tidegauge.services import example
from tidegauge.services.example import NAME, Examples, ExampleState, ExampleStatus
from tidegauge.services.example import data as example_data
from tidegauge.services.example import play as example_play
from tidegauge.services.example.play import Step

PIPELINE = """
import argparse, contextlib, pathlib, time
from tidegauge.client import Client
from tidegauge.errors import NotFoundError
from tidegauge.steps import step

parser = argparse.ArgumentParser()
parser.add_argument("verb")
for name in ("root", "code", "code-version", "dataset", "dataset-version", "model", "deployment"):
    parser.add_argument(f"--{name}")
given = parser.parse_args()
client = Client()
here = pathlib.Path(__file__).parent
with step("train"):
    while pathlib.Path(HOLD).exists():
        time.sleep(0.05)
    version = client.models.add_version(given.model, here / "model")
with step("deploy"):
    client.deployments.create(given.deployment, given.model, version.number, logging=True)
    client.deployments.wait(given.deployment)
"""


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """A file that holds the pipeline up as long as it is there."""
    return tmp_path / "hold"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hold: Path) -> None:
    """A small example: few images, a tiny model, and a pipeline that only uploads it."""
    real = example_data.example_folder()
    folder = tmp_path / "example"
    write_model(folder / "model", side=200)
    (folder / "pipeline.py").write_text(PIPELINE.replace("HOLD", repr(str(hold))))
    for name in ("threshold.json", "patients.py"):
        shutil.copy(real / name, folder / name)
    images = write_images(tmp_path / "images", 12, side=200)
    found = example_data.find_data(str(images), tmp_path / "found", 1)
    synthetic = example_data.ExampleData(images, found.traffic, found.shares, "phantoms", True, True)
    for module in (example_data, example_play):
        monkeypatch.setattr(module, "example_folder", lambda: folder)
    monkeypatch.setattr(example, "find_data", lambda *_: synthetic)
    monkeypatch.setattr(example, "missing", list)


@pytest.fixture
def served(quick: None, tmp_path: Path) -> Iterator[tuple[Client, Examples]]:
    with running(tmp_path / "home") as both:
        yield both


@contextlib.contextmanager
def running(home: Path) -> Iterator[tuple[Client, Examples]]:
    """A server, with its examples."""
    built: list[Examples] = []

    class Seen(Examples):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            built.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tidegauge.app.Examples", Seen)
        with running_server(home) as client:
            try:
                yield client, built[0]
            finally:
                built[0].close()


def until(look: Callable[[], Any], seconds: float = 240.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def ended(examples: Examples) -> ExampleStatus:
    def look() -> ExampleStatus | None:
        status = examples.status("operator")
        return status if status.state is not ExampleState.RUNNING else None

    found: ExampleStatus = until(look)
    return found


def tokens_of(examples: Examples) -> list[str]:
    return [token.name for token in examples._people._database.tokens.where()]


def test_it_ends_in_an_active_monitor_that_has_found_a_drift(served: tuple[Client, Examples]) -> None:
    client, examples = served
    assert examples.status("operator").state is ExampleState.NONE
    examples.create("operator")
    status = ended(examples)
    assert (status.state, status.message) == (ExampleState.DONE, "")
    assert [state for _, state in status.steps] == ["succeeded"] * 4
    monitor = client.monitors.get(status.monitor)
    assert (monitor.name, monitor.state) == (NAME, MonitorState.ACTIVE)
    assert {run.metric("image").status for run in client.monitors.runs(monitor.id)} >= {"critical"}
    assert "example of operator" not in tokens_of(examples)


def test_it_is_cancelled_with_its_run_and_goes_on_where_it_was(
    served: tuple[Client, Examples], hold: Path
) -> None:
    client, examples = served
    hold.touch()
    examples.create("operator")
    until(lambda: "train" in examples.status("operator").detail)
    examples.cancel("operator")
    status = ended(examples)
    assert (status.state, status.step) == (ExampleState.CANCELLED, Step.PIPELINE)
    assert [state for _, state in status.steps] == ["succeeded", "cancelled", "waiting", "waiting"]
    assert [run.state for run in client.pipelines.list()] == ["cancelled"]
    with pytest.raises(ConflictError, match="is not being created now"):
        examples.cancel("operator")
    hold.unlink()
    examples.create("operator")
    assert ended(examples).state is ExampleState.DONE
    assert len(client.datasets.versions(NAME)) == 1  # what was there already was used
    assert len(client.code.versions(NAME)) == 1


def test_a_failure_says_why_and_leaves_nothing_running(
    served: tuple[Client, Examples], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, examples = served
    (tmp_path / "example" / "pipeline.py").write_text("raise SystemExit('no room')\n")
    examples.create("operator")
    status = ended(examples)
    assert (status.state, status.step) == (ExampleState.FAILED, Step.PIPELINE)
    assert status.message == "The pipeline failed: no room"
    assert "example of operator" not in tokens_of(examples)


def test_what_a_stop_of_the_server_interrupted_goes_on_at_the_next_start(
    quick: None, hold: Path, tmp_path: Path
) -> None:
    hold.touch()
    with running(tmp_path / "home") as (_, examples):
        examples.create("operator")
        until(lambda: "train" in examples.status("operator").detail)
    assert examples.status("operator").state is ExampleState.RUNNING
    hold.unlink()
    with running(tmp_path / "home") as (client, examples):
        assert ended(examples).state is ExampleState.DONE
        assert len(client.datasets.versions(NAME)) == 1
        assert [run.state.value == "succeeded" for run in client.pipelines.list()] == [True, False]


def test_one_is_created_at_a_time(served: tuple[Client, Examples], hold: Path) -> None:
    _, examples = served
    hold.touch()
    began = examples.create("operator").began_at
    assert examples.create("operator").began_at == began  # asked for twice is once
    with pytest.raises(ConflictError, match="somebody else is being created"):
        examples.create("anna")
    hold.unlink()
    assert ended(examples).state is ExampleState.DONE


def test_without_the_training_extra_it_says_what_to_install(
    served: tuple[Client, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, examples = served
    monkeypatch.setattr(example, "missing", lambda: ["tensorflow", "kfp"])
    with pytest.raises(UnavailableError, match="tensorflow and kfp must be installed on the server"):
        examples.create("operator")
    assert examples.status("operator").state is ExampleState.NONE
