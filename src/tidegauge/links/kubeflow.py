"""Kubeflow pipelines: how a pipeline file is run on this machine, and what its output says."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from tidegauge.domain.pipeline import PipelineRun, PipelineStep
from tidegauge.steps import MARK

_STEPS = TypeAdapter(tuple[PipelineStep, ...])


def local_command(run: PipelineRun, code: Path, root: Path) -> list[str]:
    """Return the command that runs the pipeline file of ``code`` through kfp's local runner."""
    command = [sys.executable, "-u", str(code / run.file), "run", "--root", str(root)]
    command += ["--code", run.code, "--code-version", str(run.code_version)]
    command += ["--dataset", run.dataset, "--dataset-version", str(run.dataset_version)]
    command += ["--model", run.model, "--deployment", run.deployment]
    for name, value in run.parameters.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def read_steps(lines: Iterable[str]) -> tuple[PipelineStep, ...]:
    """Read the steps from the marked lines of a run's output; other lines are passed over."""
    steps: dict[str, dict[str, Any]] = {}
    for line in lines:
        _, found, text = line.partition(MARK)
        if not found:
            continue
        try:
            record = orjson.loads(text)
            name, state, time = record["name"], record["state"], record["time"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # a user's own print that looks like ours
        step = steps.setdefault(name, {"name": name, "started_at": None, "ended_at": None})
        step["state"] = state
        step["started_at" if state == "running" else "ended_at"] = time
    return _STEPS.validate_python(tuple(steps.values()))
