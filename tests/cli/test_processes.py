"""What only shows in a process of its own: signals, pipes, terminals, start-up."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from cli_runs import Run, environment, start
from parts import write_model
from tidegauge.client import Client
from tidegauge.links.processes import free_port


def begin(*arguments: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Start a server; return it and its first three lines."""
    process = start("up", *arguments)
    assert process.stdout is not None
    return process, [process.stdout.readline() for _ in range(3)]


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)


def test_up_prints_the_token_once_and_ends_in_order(tmp_path: Path) -> None:
    home, port = str(tmp_path / "home"), free_port()
    url = f"http://127.0.0.1:{port}"
    process, (where, secret, how) = begin("--home", home, "--port", str(port))
    try:
        assert where == f"Tidegauge is at {url}\n"
        label, _, token = secret.strip().partition(": ")
        assert label == "Operator token (shown once)"
        assert f"tidegauge login --url {url}" in how
        wait_until_ready(f"{url}/readyz")
        with Client(url, token) as client:
            assert client.me().name == "operator"
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")

    # The second start, for others to reach.
    again = start("up", "--home", home, "--host", "0.0.0.0", "--port", str(port))
    assert again.stdout is not None
    assert again.stdout.readline() == where
    wait_until_ready(f"{url}/readyz")
    again.send_signal(signal.SIGINT)
    out, err = again.communicate(timeout=30)
    assert (again.returncode, out) == (0, "")
    assert "0.0.0.0 can be reached from other machines and nothing is encrypted" in err


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (("--database-url", "words"), 2, "database_url 'words' is not a URL"),
        (("--database-url", "sqlite:////nowhere/x"), 6, "cannot be opened or migrated: unable to open"),
        (("--port", "70000"), 2, "port is 70000; use a number from 1 to 65535."),
        (("--store-url", "ftp://x"), 2, "store_url 'ftp://x' cannot be opened"),
        (("--home", "/dev/null/home"), 1, "/dev/null/home: Not a directory."),
    ],
)
def test_up_refuses_in_a_sentence(
    run_anywhere: Run, tmp_path: Path, flags: tuple[str, str], code: int, sentence: str
) -> None:
    outcome = run_anywhere("up", "--home", str(tmp_path), *flags)
    assert (outcome.code, outcome.out) == (code, "")
    assert sentence in outcome.err


def test_up_prints_no_token_where_the_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = start("up", "--home", str(tmp_path), "--port", str(port))
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (6, "")
    assert f"port is {port}, which is taken" in err


def test_ctrl_c_is_exit_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = start("dataset", "list", env=environment(TIDEGAUGE_URL=url, TIDEGAUGE_TOKEN="tg_x"))
        silent.settimeout(20)
        connection, _ = silent.accept()
        connection.recv(1)  # it waits for the answer now
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        connection.close()
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    process = start("doctor", "--home", str(tmp_path), "--json", stdout=writable)
    os.close(writable)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Broken pipe" not in err
    assert "Traceback" not in err


def answer_on_terminal(answer: str, *arguments: str, url: str, token: str) -> tuple[int, str]:
    """Run a command whose input is a terminal and answer its question."""
    master, slave = pty.openpty()
    process = start(
        *arguments,
        env=environment(TIDEGAUGE_URL=url, TIDEGAUGE_TOKEN=token),
        stdin=slave,
        start_new_session=True,
    )
    os.close(slave)
    os.write(master, answer.encode())
    _, err = process.communicate(timeout=30)
    os.close(master)
    return process.returncode, err


def test_a_deletion_asks_and_takes_no_for_an_answer(server: Client) -> None:
    server.datasets.create("precious")
    code, err = answer_on_terminal("n\n", "dataset", "delete", "precious", url=server.url, token=server.token)
    assert code == 1
    assert "This deletes the dataset 'precious' with its 0 versions. Go ahead?" in err
    assert server.datasets.get("precious").name == "precious"
    code, _ = answer_on_terminal("y\n", "dataset", "delete", "precious", url=server.url, token=server.token)
    assert (code, server.datasets.list()) == (0, [])


def test_serve_is_one_model_without_the_platform(tmp_path: Path) -> None:
    port = free_port()
    process = start("serve", str(write_model(tmp_path / "model")), "--name", "mine", "--port", str(port))
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/v1/models/mine")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    heavy = "{'httpx', 'pydantic', 'numpy', 'fastapi', 'sqlalchemy', 'cv2', 'onnxruntime'}"
    code = f"import sys; from tidegauge.cli.main import app; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_mistake_of_ours_is_a_sentence(debug: str) -> None:
    code = (
        "import sys; sys.argv = ['tidegauge', 'logout']; import tidegauge.client;"
        "tidegauge.client.credentials_file = lambda: 1 / 0;"
        "from tidegauge.cli.main import run; run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(TIDEGAUGE_DEBUG=debug),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "This is a mistake in Tidegauge" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert ("Traceback" in done.stderr) == bool(debug)
