"""A stub of the API of Kubeflow Pipelines: what it takes and answers is held against kfp's OpenAPI models.

``kfp_server_api`` is generated from that document: a field that a request or an answer of the stub has and
the document has not fails the test that asked.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kfp_server_api as api

TOKEN = "kfp-token"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def of_document(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON value, once every field of it is one that the document has."""
    model = getattr(api, name)
    known = {key: model.openapi_types[field] for field, key in model.attribute_map.items()}
    for key, part in value.items():
        assert key in known, f"{name} has no {key}"
        inner = re.sub(r"^list\[(.*)\]$", r"\1", known[key])
        for one in part if isinstance(part, list) else [part]:
            if isinstance(one, dict) and inner.startswith(("V2beta1", "GoogleRpc")):
                of_document(inner, one)
            if inner == "V2beta1RuntimeState":
                assert one in api.V2beta1RuntimeState.allowable_values
    return dict(value)


@dataclass
class Stub:
    """A running stub; a test says how its runs are."""

    url: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    status: int = 0  # of every answer, where it is not 0
    faults: list[str] = field(default_factory=list)

    def say(self, run_id: str, state: str, tasks: Mapping[str, str], message: str = "") -> None:
        """Set the state of a run and of its tasks, in the order in which they began."""
        details = [
            {
                "run_id": run_id,
                "task_id": f"id-{name}",
                "display_name": name,
                "state": one,
                "create_time": NOW.isoformat(),
                "start_time": NOW.replace(minute=minute).isoformat(),
                "end_time": NOW.replace(minute=minute + 1).isoformat()
                if one == "SUCCEEDED"
                else "0001-01-01T00:00:00Z",
            }
            for minute, (name, one) in enumerate(tasks.items())
        ]
        if message:
            details[-1]["error"] = {"code": 2, "message": message}
        self.runs[run_id] |= {"state": state, "run_details": {"task_details": details}}

    def answer(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        self.asked.append((method, path))
        if self.status:
            return self.status, {"error": "e", "code": 2, "message": "as the test wants it", "details": []}
        if token != f"Bearer {TOKEN}":
            return 401, {"code": 16, "message": "Request header error: there is no user identity header."}
        if (method, path) == ("POST", "/apis/v2beta1/runs"):
            of_document("V2beta1Run", body)
            run_id = f"run-{len(self.runs)}"
            self.runs[run_id] = {**body, "run_id": run_id, "state": "PENDING", "created_at": NOW.isoformat()}
        elif method == "GET" and path == "/apis/v2beta1/experiments":
            return 200, of_document("V2beta1ListExperimentsResponse", {"experiments": self.experiments})
        elif (method, path) == ("POST", "/apis/v2beta1/experiments"):
            self.experiments.append(of_document("V2beta1Experiment", {**body, "experiment_id": "exp-0"}))
            return 200, self.experiments[-1]
        else:
            found = re.fullmatch(r"/apis/v2beta1/runs/([^/:]+)(:terminate)?", path)
            run_id = found[1] if found else ""
            if run_id not in self.runs:
                return 404, {"code": 5, "message": f"ResourceNotFoundError: Run {run_id} not found."}
            if found and found[2]:
                self.runs[run_id]["state"] = "CANCELING"
                return 200, {}
        return 200, of_document("V2beta1Run", self.runs[run_id])


@contextlib.contextmanager
def kubeflow() -> Iterator[Stub]:
    """Serve the stub until the test is over, and fail where a request was none of the document's."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            try:
                path = self.path.partition("?")[0]
                status, found = stub.answer(self.command, path, body, self.headers.get("Authorization", ""))
            except AssertionError as error:
                stub.faults.append(str(error))
                status, found = 400, {"message": str(error)}
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - as http.server calls them

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert stub.faults == []
