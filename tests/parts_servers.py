"""Small real HTTP servers that speak as model servers do, in the words of their own documentation."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | Callable[[BaseHTTPRequestHandler], None]
UNKNOWN: Answer = (404, {"error": "not found"})


@dataclass
class ModelServer:
    """``answers`` are by method and path, and may be changed while it runs."""

    url: str
    answers: dict[str, Answer]
    asked: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextlib.contextmanager
def model_server(
    answers: Mapping[str, Answer], port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[ModelServer]:
    """Serve JSON values (bytes as they are) by ``"GET /path"``; what is not named is 404."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self._answer()

        def _answer(self) -> None:
            key = f"{self.command} {self.path}"
            made.asked.append(key)
            answer = made.answers.get(key, UNKNOWN)
            if callable(answer):
                answer(self)
                return
            status, value = answer
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "https" if tls else "http"
    made = ModelServer(f"{scheme}://127.0.0.1:{server.server_address[1]}", dict(answers))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def redirect(place: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("location", place)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


def silent(seconds: float) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return answer


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\x01 SSH-2.0-OpenSSH\r\n")
    handler.close_connection = True


_TENSORS = {
    "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 200, 200, 1]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 2]}],
}

#: Triton's: models are listed by POST, and a model that is ready is an empty 200.
TRITON: dict[str, Answer] = {
    "GET /v2": (200, {"name": "triton", "version": "2.41.0", "extensions": ["model_repository"]}),
    "POST /v2/repository/index": (
        200,
        [
            {"name": "chest", "version": "1", "state": "READY"},
            {"name": "hand", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        ],
    ),
    "GET /v2/models/chest": (
        200,
        {"name": "chest", "versions": ["1", "2"], "platform": "onnxruntime_onnx", **_TENSORS},
    ),
    "GET /v2/models/chest/ready": (200, b""),
    "GET /v2/models/hand": (400, {"error": "Request for unknown model: 'hand' has no available versions"}),
    "GET /v2/models/hand/ready": (400, b""),
}
MLSERVER: dict[str, Answer] = {
    "GET /v2": (200, {"name": "mlserver", "version": "1.6.1", "extensions": []}),
    "POST /v2/repository/index": (200, [{"name": "Iris_SVM", "version": "v0.1", "state": "READY"}]),
    "GET /v2/models/Iris_SVM": (
        200,
        {
            "name": "Iris_SVM",
            "versions": [],
            "platform": "",
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 4]}],
            "outputs": [],
        },
    ),
    "GET /v2/models/Iris_SVM/ready": (200, b""),
}
_DIMS = [{"size": "-1", "name": ""}, {"size": "784", "name": ""}]
TENSORFLOW: dict[str, Answer] = {
    "GET /v1/models/mnist": (
        200,
        {
            "model_version_status": [
                {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
                {"version": "2", "state": "END", "status": {"error_code": "OK", "error_message": ""}},
            ]
        },
    ),
    "GET /v1/models/mnist/metadata": (
        200,
        {
            "model_spec": {"name": "mnist", "signature_name": "", "version": "3"},
            "metadata": {
                "signature_def": {
                    "signature_def": {
                        "serving_default": {
                            "inputs": {
                                "images": {
                                    "dtype": "DT_FLOAT",
                                    "tensor_shape": {"dim": _DIMS, "unknown_rank": False},
                                    "name": "x:0",
                                }
                            },
                            "outputs": {
                                "scores": {
                                    "dtype": "DT_FLOAT",
                                    "tensor_shape": {"dim": [], "unknown_rank": True},
                                }
                            },
                            "method_name": "tensorflow/serving/predict",
                        }
                    }
                }
            },
        },
    ),
}
KSERVE: dict[str, Answer] = {
    "GET /v1/models": (200, {"models": ["chest-xray"]}),
    "GET /v1/models/chest-xray": (200, {"name": "chest-xray", "ready": "True"}),
}
