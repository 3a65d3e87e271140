"""Real parts that tests start themselves and tear down: servers, databases, tiny models."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np
import onnx
import orjson
import polars as pl
import pytest
import uvicorn
from onnx import TensorProto, helper, numpy_helper

from tidegauge.app import build_services, create_app
from tidegauge.client import Client
from tidegauge.domain.images import encode_png
from tidegauge.links.processes import free_port
from tidegauge.phantoms import draw
from tidegauge.services.worker import Worker
from tidegauge.settings import load_settings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SIDE = 32
CLASSES = ("NORMAL", "PNEUMONIA")
UNSERVABLE = b"\x08\x0a\x3a\x00"  # an ONNX file with a graph of nothing, which no server loads


def absent(what: str) -> None:
    """Skip a test whose part is absent, but fail in CI, where every part must be there."""
    message = f"{what} is absent; .ci/run installs it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def running_server(home: Path, **flags: object) -> Iterator[Client]:
    """Run a whole server in a thread; yield a client with the operator's token."""
    port = free_port()
    services = build_services(load_settings(home, {"port": port, "flush_seconds": 1, **flags}, {}))
    token = services.people.first_start() or services.people.issue_for("operator", "test")
    app = create_app(services)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{port}", token) as client:
            deadline = time.monotonic() + 30
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            yield client
    finally:
        app.state.ending.set()
        services.ides.close()
        services.supervisor.close()
        server.should_exit = True
        thread.join()


def write_model(
    folder: Path, side: int = SIDE, reference: dict[str, int] | None = None, threshold: float = 128
) -> Path:
    """Write a tiny model: images darker than ``threshold`` are NORMAL, brighter ones PNEUMONIA."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("ReduceMean", ["input_1", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "weight"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output_1"], axis=1),
    ]
    constants = {
        "axes": np.array([1, 2, 3], np.int64),
        "last": np.array([1], np.int64),
        "weight": np.array([[-0.05, 0.05]], np.float32),
        "bias": np.array([[0.05 * threshold, -0.05 * threshold]], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_1", TensorProto.FLOAT, ["n", side, side, 1])],
        [helper.make_tensor_value_info("output_1", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    (folder / "model.json").write_bytes(
        orjson.dumps({"name": "tiny", "classes": CLASSES, "positive": "PNEUMONIA"})
    )
    counts = reference or {"NORMAL": 10, "PNEUMONIA": 10}
    outputs = [name for name, count in counts.items() for _ in range(count)]
    pl.DataFrame({"file": [f"{i}.png" for i in range(len(outputs))], "output": outputs}).write_parquet(
        folder / "reference.parquet"
    )
    return folder


def write_images(folder: Path, count: int = 30, side: int = SIDE, seed: int = 0) -> Path:
    """Write small phantoms in labelled folders; PNEUMONIA brighter, so that the tiny model is right."""
    rng = np.random.default_rng(seed)
    for label in CLASSES:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / label / f"phantom-{label}-{number}.png").write_bytes(
                encode_png(image(label, rng, side))
            )
    return folder


def image(label: str, rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """Draw one small phantom, uint8 ``[side, side, 1]``."""
    pixels = draw(label, rng, size=side).astype(np.float64).reshape(side, side, 1)
    target = 160 if label == "PNEUMONIA" else 96
    return np.clip(pixels - pixels.mean() + target, 0, 255).astype(np.uint8)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server of its own; yield its URL."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        absent("postgresql")
    folder = Path(tempfile.mkdtemp(prefix="tidegauge-postgres-"))
    # initdb refuses to run as root.
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")
    port = free_port()

    def run(*command: str) -> None:
        subprocess.run([*user, *command], check=True, capture_output=True, cwd=folder)

    data = folder / "data"
    run(str(binaries[-1] / "initdb"), "-D", str(data), "-U", "tidegauge", "-A", "trust", "--no-sync")
    options = f"-p {port} -k {folder} -h 127.0.0.1 -F"
    control = str(binaries[-1] / "pg_ctl")
    run(control, "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://tidegauge@127.0.0.1:{port}"
    finally:
        run(control, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def finish(worker: Worker) -> None:
    """Let a worker do what was asked of it, and close it: closing alone drops what has not begun."""
    deadline = time.monotonic() + 60
    while worker._under_way and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.close()


def meeting(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let two threads meet where this ends; one that is kept from coming is not waited for long."""
    barrier = Barrier(2)

    def met(*args: Any, **kwargs: Any) -> Any:
        found = method(*args, **kwargs)
        with contextlib.suppress(BrokenBarrierError):
            barrier.wait(1)
        return found

    return met
