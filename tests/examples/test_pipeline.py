from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from parts import absent
from tidegauge.links.processes import free_port
from tidegauge.steps import MARK

PIPELINE = Path(__file__).resolve().parents[2] / "examples" / "chest_xray" / "pipeline.py"


def pipeline(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("kfp") is None:
        absent("kfp")
    return subprocess.run(
        [sys.executable, str(PIPELINE), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file = tmp_path_factory.mktemp("pipeline") / "pipeline.yaml"
    done = pipeline("compile", "-o", str(file), "--secret", "my-secret")
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(file.read_text()))


def test_compiled_pipeline_loads_with_its_parameters(compiled: list[dict[str, Any]]) -> None:
    from kfp.components import load_component_from_text

    loaded = load_component_from_text(yaml.safe_dump_all(compiled))
    assert set(loaded.component_spec.inputs) == {
        "code", "code_version", "dataset", "dataset_version", "model", "deployment", "epochs", "seed",
    }  # fmt: skip
    assert loaded.component_spec.inputs["epochs"].default == 0


def test_steps_follow_each_other_and_are_never_cached(compiled: list[dict[str, Any]]) -> None:
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert set(tasks) == {"preprocess", "train", "deploy"}
    assert tasks["train"]["dependentTasks"] == ["preprocess"]
    assert tasks["deploy"]["dependentTasks"] == ["train"]
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())


def test_only_the_train_step_installs_tensorflow_and_each_gets_the_secret(
    compiled: list[dict[str, Any]],
) -> None:
    executors = compiled[0]["deploymentSpec"]["executors"]
    commands = {name: " ".join(executor["container"]["command"]) for name, executor in executors.items()}
    assert [name for name, command in commands.items() if "tidegauge[train]" in command] == ["exec-train"]
    assert all("pip install" in command for command in commands.values())
    platform = compiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(platform) == set(executors)
    for executor in platform.values():
        (secret,) = executor["secretAsEnv"]
        assert secret["secretName"] == "my-secret"
        assert {key["envVar"] for key in secret["keyToEnv"]} == {"TIDEGAUGE_URL", "TIDEGAUGE_TOKEN"}


def test_a_run_without_a_server_fails_and_names_the_step(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = pipeline("run", "--root", str(tmp_path / "root"), TIDEGAUGE_URL=url, TIDEGAUGE_TOKEN="none")
    assert done.returncode == 1
    records = [json.loads(line.partition(MARK)[2]) for line in done.stdout.splitlines() if MARK in line]
    assert [(record["name"], record["state"]) for record in records] == [
        ("preprocess", "running"),
        ("preprocess", "failed"),
    ]
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("The step 'preprocess' failed: ")
    assert url in last
