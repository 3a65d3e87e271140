"""A cluster that only serves or only monitors, by command."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from cli_runs import Run, environment, start
from parts import running_server
from tidegauge import __version__
from tidegauge.links.processes import free_port


@pytest.mark.parametrize(
    ("role", "command", "code", "sentence"),
    [
        ("monitoring", "pipeline list", 3, "This cluster only monitors; train on the serving cluster."),
        (
            "monitoring",
            "deployment create more --model tiny --version 1",
            5,
            "This cluster only monitors; deploy on the serving cluster.",
        ),
        ("serving", "monitor list", 3, "This cluster only serves; monitor on the monitoring cluster."),
        ("serving", "channel list", 3, "This cluster only serves; monitor on the monitoring cluster."),
    ],
)
def test_a_command_says_what_the_cluster_is_for(
    run_anywhere: Run, tmp_path: Path, role: str, command: str, code: int, sentence: str
) -> None:
    with running_server(tmp_path / "home", role=role) as client:
        done = run_anywhere(*command.split(), TIDEGAUGE_URL=client.url, TIDEGAUGE_TOKEN=client.token)
    assert (done.code, done.err.strip()) == (code, sentence)


def test_status_tells_the_role_and_the_parts(run_anywhere: Run, tmp_path: Path) -> None:
    with running_server(tmp_path / "home", role="monitoring") as client:
        done = run_anywhere("status", "--json", TIDEGAUGE_URL=client.url, TIDEGAUGE_TOKEN=client.token)
    told = {"version": __version__, "role": "monitoring", "parts": ["monitoring"], "resting": []}
    assert json.loads(done.out) == told


def test_up_and_doctor_tell_the_role(tmp_path: Path) -> None:
    port = str(free_port())
    given = ["--home", str(tmp_path / "home"), "--port", port]
    server = start("up", *given, env=environment(TIDEGAUGE_ROLE="serving"))
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == f"Tidegauge is at http://127.0.0.1:{port}\n"
        for _ in range(2):
            server.stdout.readline()
        doctor = start("doctor", *given, "--role", "serving", "--json")
        found = {check["name"]: check["found"] for check in json.loads(doctor.communicate(timeout=120)[0])}
        assert found["role"] == "serving"
        assert found[f"port {port}"] == f"a running Tidegauge {__version__}, role serving"
    finally:
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=60)
    assert "The role of this cluster is serving." in told
    assert server.returncode == 0


def test_a_worker_and_the_demo_refuse_where_nothing_is_to_do(run_anywhere: Run, tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    done = run_anywhere("worker", *home, TIDEGAUGE_ROLE="serving")
    assert (done.code, done.err.strip()) == (
        5,
        "This cluster only serves; monitor on the monitoring cluster.",
    )
    done = run_anywhere("demo", *home, TIDEGAUGE_ROLE="monitoring")
    assert done.code == 5
    assert "create the example on a cluster that has both roles." in done.err
    done = run_anywhere("up", *home, "--role", "watching")
    assert (done.code, done.err.strip()) == (
        2,
        "role is 'watching' in --role; use both, serving, monitoring.",
    )
