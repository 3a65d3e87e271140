"""Our model server against KServe's Python server: same ONNX model, same requests, same run.

    python benchmarks/serving.py            about five minutes, and a minute more to make .venv-kserve once
    python benchmarks/serving.py --quick    within a minute: short rounds

One worker each, one onnxruntime thread each, 200x200x1 images. The server under load has core 0 to itself
(where there are two), everything else has core 1. Rounds of both servers alternate, and each one's quietest
round counts: other work on the machine can only slow a round, never speed it up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import orjson
from onnx import TensorProto, helper, numpy_helper

from _collector import DEPLOYMENT, collecting
from _shared import Claim, report
from tidegauge.domain.tensors import encode_binary
from tidegauge.links.processes import free_port

HERE = Path(__file__).resolve().parent
KSERVE = HERE.parent / ".venv-kserve"
SIDE = 200
SERVER_CORE, OTHER_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
CONNECTIONS = 4
PREDICT = "/v1/models/bench:predict"
INFER = "/v2/models/bench/infer"


def write_cnn(folder: Path) -> None:
    """Write a small CNN: four 3x3 convolutions with stride 2, pooling, softmax of two classes."""
    rng = np.random.default_rng(0)
    constants: dict[str, np.ndarray] = {"scale": np.array(1 / 255, np.float32)}
    nodes = [
        helper.make_node("Mul", ["input_1", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["h0"], perm=[0, 3, 1, 2]),
    ]
    channels = 1
    for layer, width in enumerate((8, 16, 32, 64)):
        weights = rng.normal(size=(width, channels, 3, 3)) / np.sqrt(9 * channels)
        constants[f"w{layer}"] = weights.astype(np.float32)
        conv = helper.make_node(
            "Conv", [f"h{layer}", f"w{layer}"], [f"c{layer}"], strides=[2, 2], pads=[1] * 4
        )
        nodes += [conv, helper.make_node("Relu", [f"c{layer}"], [f"h{layer + 1}"])]
        channels = width
    constants["dense"] = rng.normal(size=(channels, 2)).astype(np.float32)
    constants["bias"] = np.zeros(2, np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", ["h4"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("input_1", TensorProto.FLOAT, ["N", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))


def http(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def write_requests(folder: Path, image: np.ndarray) -> dict[str, Path]:
    """Write one request in each wording; the image is the same."""
    outputs = [{"name": "output", "parameters": {"binary_data": True}}]
    binary, length = encode_binary({"input_1": image}, "inputs", header={"id": "1", "outputs": outputs})
    tensor = {
        "name": "input_1",
        "shape": list(image.shape),
        "datatype": "FP32",
        "data": image.ravel().tolist(),
    }
    json_type = {"Content-Type": "application/json"}
    binary_type = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}
    requests = {
        "binary v2": http(INFER, binary, binary_type),
        "v2 JSON": http(INFER, orjson.dumps({"id": "1", "inputs": [tensor]}), json_type),
        "v1 nested JSON": http(PREDICT, orjson.dumps({"instances": image.tolist()}), json_type),
    }
    files = {name: folder / f"{index}.request" for index, name in enumerate(requests)}
    for name, file in files.items():
        file.write_bytes(requests[name])
    return files


def on_core(core: int, *command: str) -> list[str]:
    return ["taskset", "-c", str(core), *command]


@contextlib.contextmanager
def running(command: list[str], port: int, ready: str, environment: Mapping[str, str]) -> Iterator[int]:
    """Run a server until the block ends; yield its port once ``ready`` answers."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not answers(port, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)} did not start.")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int, path: str) -> bool:
    try:
        get(port, path)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return bytes(answer.read())


def ours(folder: Path, log_url: str | None = None, token: str = "") -> contextlib.AbstractContextManager[int]:
    port = free_port()
    command = [sys.executable, "-m", "tidegauge.serving", "--model-dir", str(folder), "--name", "bench"]
    command += ["--port", str(port), "--threads", "1", "--deployment-id", DEPLOYMENT]
    command += ["--log-url", log_url] if log_url else []
    return running(on_core(SERVER_CORE, *command), port, "/v2/health/ready", {"TIDEGAUGE_LOG_TOKEN": token})


def kserve(folder: Path) -> contextlib.AbstractContextManager[int]:
    port = free_port()
    script = [str(KSERVE / "bin" / "python"), str(HERE / "_kserve.py"), str(folder / "model.onnx"), str(port)]
    return running(on_core(SERVER_CORE, *script), port, "/v2/health/ready", {})


def make_kserve() -> None:
    """Make KServe's own environment: its pins do not fit beside ours."""
    if (KSERVE / ".installed").exists():
        return
    print("making .venv-kserve ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(KSERVE)], check=True)
    pip = [str(KSERVE / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "kserve==0.21.0", "uvloop", "httptools", f"onnxruntime=={ort.__version__}"], check=True
    )
    (KSERVE / ".installed").touch()


def load(port: int, request: Path, connections: int, seconds: float) -> dict[str, float]:
    """Load a server from a process on the other core."""
    script = [sys.executable, str(HERE / "_load.py"), str(port), str(request), str(connections), str(seconds)]
    done = subprocess.run(on_core(OTHER_CORE, *script), check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    if result["failed"]:
        sys.exit(f"{result['failed']} requests to port {port} failed.")
    return result


def rate(port: int, request: Path, seconds: float) -> float:
    result = load(port, request, CONNECTIONS, seconds)
    return result["requests"] / result["seconds"]


def against_kserve(model: Path, requests: Mapping[str, Path], rounds: int, seconds: float) -> list[Claim]:
    goals = {"binary v2": 8.0, "v2 JSON": 4.0, "v1 nested JSON": 6.0}
    claims = []
    with ours(model) as our_port, kserve(model) as their_port:
        for name, goal in goals.items():
            pairs = [
                (rate(our_port, requests[name], seconds), rate(their_port, requests[name], seconds))
                for _ in range(rounds)
            ]
            mine, theirs = (max(column) for column in zip(*pairs, strict=True))
            ratio = mine / theirs
            measured = f"{ratio:.1f}x ({mine:.0f}/s against {theirs:.0f}/s)"
            claims.append(Claim(f"{name}, times KServe", measured, f">= {goal:.0f}x", ratio >= goal))
    return claims


def cost_of_logging(model: Path, scratch: Path, request: Path, rounds: int, seconds: float) -> list[Claim]:
    """Compare two servers in turn; a round with the log lasts until the collector has it all."""
    with collecting(scratch, OTHER_CORE) as collector:
        url = f"http://127.0.0.1:{collector.port}/v1/deployments/{DEPLOYMENT}/events"
        with ours(model) as silent, ours(model, url, collector.token) as logging:
            without, with_log, backlog = [], [], []
            for _ in range(rounds):
                without.append(rate(silent, request, seconds))
                result = load(logging, request, CONNECTIONS, seconds)
                ended = time.perf_counter()
                while json.loads(get(logging, "/healthz"))["queued"]:
                    time.sleep(0.01)
                backlog.append(time.perf_counter() - ended)
                with_log.append(result["requests"] / result["seconds"])
            state = json.loads(get(logging, "/healthz"))
    cost = 1 - max(with_log) / max(without)
    lost = state["served"] - state["acknowledged"]
    return [
        Claim(
            "logging, share of binary v2 requests/s",
            f"{cost:.1%} ({max(with_log):.0f}/s against {max(without):.0f}/s)",
            "<= 15%",
            cost <= 0.15,
        ),
        Claim("logged of served", f"{state['acknowledged']} of {state['served']}", "all", not lost),
        Claim(
            "last event durable after the load's end", f"{min(backlog):.2f} s", "<= 1 s", min(backlog) <= 1
        ),
    ]


def added_latency(model: Path, request: Path, image: np.ndarray, rounds: int, seconds: float) -> list[Claim]:
    """Compare one connection's p50 with bare calls of onnxruntime on the same core, in turn."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(model / "model.onnx"), options, providers=["CPUExecutionProvider"])
    before = os.sched_getaffinity(0)
    bares, served = [], []
    with ours(model) as port:
        for _ in range(rounds):
            served.append(load(port, request, 1, seconds)["p50"])
            os.sched_setaffinity(0, {SERVER_CORE})
            bares.append(bare_p50(session, image, seconds))
            os.sched_setaffinity(0, before)
    above = min(served) - min(bares)
    measured = f"{above:.2f} ms ({min(served):.2f} against {min(bares):.2f})"
    return [Claim("p50 of a binary request above bare onnxruntime", measured, "<= 1.5 ms", above <= 1.5)]


def bare_p50(session: ort.InferenceSession, image: np.ndarray, seconds: float) -> float:
    times = []
    until = time.perf_counter() + seconds / 2
    while (start := time.perf_counter()) < until:
        session.run(["output"], {"input_1": image})
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="short rounds")
    quick = parser.parse_args().quick
    rounds, seconds = (3, 1.0) if quick else (10, 3.0)
    make_kserve()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_cnn(scratch)
        image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 1)).astype(np.float32)
        requests = write_requests(scratch, image)
        binary = requests["binary v2"]
        claims = against_kserve(scratch, requests, rounds, seconds)
        claims += cost_of_logging(scratch, scratch / "log", binary, rounds, seconds)
        claims += added_latency(scratch, binary, image, rounds, seconds)
    return report("Model server, 200x200x1, one worker, one thread", claims)


if __name__ == "__main__":
    sys.exit(main())
