"""The pages that tell how a model that was trained elsewhere comes here: their code, run as readers do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import parts_docs
from parts import absent, running_server
from tidegauge.client import Client
from tidegauge.domain.monitor import MonitorState
from tidegauge.links.processes import free_port

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("how-to") / "home") as client:
        yield client


@pytest.fixture
def reader(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Somebody who reads a page, in an empty folder, signed in."""
    parts_docs.at(tmp_path, client.url, client.token, monkeypatch)
    return client


def test_scikit_learn(reader: Client) -> None:
    names = parts_docs.run_python("how-to/scikit-learn.md")
    (ill, well) = names["answer"]["predictions"]
    assert ill[0] > 0.9
    assert well[1] > 0.9
    assert reader.monitors.get(names["monitor"].id).state is MonitorState.ACTIVE


def test_xgboost(reader: Client) -> None:
    names = parts_docs.run_python("how-to/xgboost.md")
    assert names["answer"]["predictions"][0][0] == pytest.approx(3 + 6.3, abs=1)
    assert reader.models.version("stay", 1).meta["features"] == ["age", "pressure", "dose"]


@pytest.mark.parametrize(
    ("page", "library", "model"),
    [
        ("keras", "tensorflow", "dark"),
        ("mlflow", "mlflow", "risk-mlflow"),
        ("pytorch", "torch", "small"),
    ],
)
def test_in_a_process_of_its_own(reader: Client, tmp_path: Path, page: str, library: str, model: str) -> None:
    """Libraries of a gigabyte, and those that warn of themselves, stay out of the process of all tests."""
    if importlib.util.find_spec(library) is None:
        if library == "torch":
            pytest.skip("torch is absent, and several GB: pip install torch onnxscript, then run this test")
        absent(library)
    script = f"import parts_docs; print(parts_docs.run_python('how-to/{page}.md')['answer'])"
    path = os.pathsep.join([str(TESTS), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(reader.models.version(model, 1).meta["classes"]) == 2


def test_other_servers(reader: Client, tmp_path: Path) -> None:
    names = parts_docs.run_python("how-to/other-servers.md")
    assert names["answer"].status_code == 202
    (command,) = [
        block.text for block in parts_docs.blocks("how-to/other-servers.md") if block.language == "sh"
    ]
    port = free_port()
    given = {
        "TOKEN": names["token"],
        "SERVER": f"{reader.url}/serve/none",
        "EVENTS": names["events"],
        "PORT": str(port),
    }
    program = f'tidegauge() {{ exec {sys.executable} -m tidegauge "$@"; }}\n{command}'
    recorder = subprocess.Popen(["bash", "-c", program], env={**os.environ, **given}, cwd=tmp_path)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                counts = httpx.get(f"{url}/tidegauge/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert (
            httpx.post(f"{url}/v1/predict", json={"instances": [{"age": 50}]}).status_code == 401
        )  # of the server behind
        while counts.json()["acknowledged"] < 1 and time.monotonic() < deadline:
            time.sleep(0.1)
            counts = httpx.get(f"{url}/tidegauge/healthz")
        assert counts.json()["acknowledged"] == 1
    finally:
        recorder.terminate()
        recorder.wait(20)
