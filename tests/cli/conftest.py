from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli_runs import Outcome, Run
from parts import running_server
from tidegauge.cli.main import app
from tidegauge.client import Client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("cli") / "home") as client:
        yield client


@pytest.fixture
def run_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, without address and token."""
    for name in ("URL", "TOKEN", "HOME", "PORT"):
        monkeypatch.delenv(f"TIDEGAUGE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def call(*arguments: str, **environment: str) -> Outcome:
        done = CliRunner().invoke(app, arguments, env=environment)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Outcome(done.exit_code, done.stdout, done.stderr)

    return call


@pytest.fixture
def run(run_anywhere: Run, server: Client) -> Run:
    """Run a command in this process, with the server's address and token in the environment."""

    def call(*arguments: str, **environment: str) -> Outcome:
        given = {"TIDEGAUGE_URL": server.url, "TIDEGAUGE_TOKEN": server.token, **environment}
        return run_anywhere(*arguments, **given)

    return call
