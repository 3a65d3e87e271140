"""The tutorials: every block of code is run, in its order, against a server that the first one starts."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import parts_docs
from parts import absent
from tidegauge.client import Client
from tidegauge.domain.pipeline import PipelineState
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.links.processes import free_port

ROOT = Path(__file__).parents[2]


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("tensorflow", "kfp"):
        if importlib.util.find_spec(needed) is None:
            absent(needed)
    languages = [block.language for block in parts_docs.blocks("tutorial.md")]
    assert set(languages) == {"sh", "text", "python"}
    up, login = (
        block.text.split() for block in parts_docs.blocks("tutorial.md") if block.language != "python"
    )
    (tmp_path / "examples").symlink_to(ROOT / "examples")  # the reader stands in a checkout
    port = str(free_port())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in [name for name in os.environ if name.startswith("TIDEGAUGE_")]:
        monkeypatch.delenv(name)
    program = [sys.executable, "-m", "tidegauge"]
    server = subprocess.Popen(
        [*program, *up[1:]], env={**os.environ, "TIDEGAUGE_PORT": port}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        lines = [server.stdout.readline(), server.stdout.readline()]
        token = lines[1].split()[-1]
        assert token.startswith("tg_")
        url = login[-1].replace("32222", port)
        done = subprocess.run([*program, "login", "--url", url], input=f"{token}\n", text=True, check=False)
        assert done.returncode == 0
        names = parts_docs.run_python("tutorial.md")
        assert names["run"].state is PipelineState.SUCCEEDED
        assert names["usual"].drift is not Status.CRITICAL
        assert names["turned"].drift is Status.CRITICAL
        with Client() as client:
            assert client.monitors.list() == client.deployments.list() == client.models.list() == []
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        if server.stdout:
            server.stdout.close()


def test_the_file_in_the_tutorial_of_the_screens_loads() -> None:
    (block,) = parts_docs.blocks("workflow.md")  # all of its code; tests/ui walks through its screens
    assert set(parse_thresholds(block.text)) == {"image", "prediction", "accuracy"}
