"""What is found out of model servers that are not ours, on small real servers and on our own."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from parts import write_model
from parts_receivers import certificate
from parts_servers import (
    KSERVE,
    MLSERVER,
    TENSORFLOW,
    TRITON,
    Answer,
    garbage,
    model_server,
    redirect,
    silent,
)
from tidegauge.domain.served import ServedModel, ServedState, Tensor
from tidegauge.errors import InvalidInputError, TidegaugeError, UnavailableError
from tidegauge.links import servers
from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.links.processes import free_port
from tidegauge.serving.app import create_app
from tidegauge.serving.model import load_model

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Gate(private=True, resolve=lambda _host, _port: ["127.0.0.1"])


def look(url: str, model: str = "", gate: Gate = HERE) -> ServedModel:
    return servers.look(gate, url, NOW, model)


@pytest.mark.parametrize("path", ["", "/", "/v2", "/v2/models/chest", "/v2/models/chest/infer"])
def test_triton_is_described(path: str) -> None:
    with model_server(TRITON) as server:
        found = look(server.url + path, "" if "chest" in path else "chest")
    assert found == ServedModel(
        f"{server.url}/v2/models/chest/infer",
        ServedState.READY,
        NOW,
        NOW,
        protocol="v2",
        server="triton 2.41.0",
        model="chest",
        platform="onnxruntime_onnx",
        versions=("1", "2"),
        inputs=(Tensor("image", "FP32", (-1, 200, 200, 1)),),
        outputs=(Tensor("scores", "FP32", (-1, 2)),),
    )


def test_the_only_model_need_not_be_named() -> None:
    with model_server(MLSERVER) as server:
        found = look(server.url)
    assert (found.model, found.server, found.inputs) == (
        "Iris_SVM",
        "mlserver 1.6.1",
        (Tensor("x", "FP64", (-1, 4)),),
    )


def test_of_several_models_one_is_to_be_named() -> None:
    with model_server(TRITON) as server:
        with pytest.raises(
            InvalidInputError, match="model is missing; the server at url has 'chest', 'hand'"
        ):
            look(server.url)
        with pytest.raises(InvalidInputError, match="model is 'foot'; the server at url has 'chest', 'hand'"):
            look(server.url, "foot")
        with pytest.raises(InvalidInputError, match="model is 'hand', but url names 'chest'"):
            look(f"{server.url}/v2/models/chest/infer", "hand")


def test_a_model_that_is_listed_and_does_not_answer_is_not_ready() -> None:
    with model_server(TRITON) as server:
        found = look(server.url, "hand")
    assert (found.state, found.server) == (ServedState.NOT_READY, "triton 2.41.0")
    assert found.message == "The server answers, but its model 'hand' is not ready."


@pytest.mark.parametrize("path", ["/v1/models/mnist:predict", "/v1/models/mnist", ""])
def test_tensorflow_serving_is_described(path: str) -> None:
    with model_server(TENSORFLOW) as server:
        found = look(server.url + path, "mnist")
    assert (found.server, found.protocol, found.state) == ("TensorFlow Serving", "v1", ServedState.READY)
    assert (found.versions, found.inputs) == (("3", "2"), (Tensor("images", "FLOAT", (-1, 784)),))
    assert found.outputs == (Tensor("scores", "FLOAT", ()),)
    assert found.predict_url == f"{server.url}/v1/models/mnist:predict"


def test_a_version_in_the_url_stays_in_it() -> None:
    answers = {
        "GET /v1/models/mnist/versions/3": TENSORFLOW["GET /v1/models/mnist"],
        "GET /v1/models/mnist/versions/3/metadata": TENSORFLOW["GET /v1/models/mnist/metadata"],
    }
    with model_server(answers) as server:
        found = look(f"{server.url}/v1/models/mnist/versions/3:predict")
    assert found.predict_url == f"{server.url}/v1/models/mnist/versions/3:predict"
    assert found.inputs


def test_kserve_is_known_by_its_words_and_its_host() -> None:
    with model_server(KSERVE) as server:
        found = look(f"http://chest-xray.radiology.models.example:{server.port}")
        assert (found.server, found.model, found.state) == ("KServe", "chest-xray", ServedState.READY)
        assert (found.service, found.namespace) == ("chest-xray", "radiology")
        server.answers["GET /v1/models/chest-xray"] = (503, {"error": "Model chest-xray is not ready."})
        found = look(f"http://chest-xray-predictor.radiology.svc.cluster.local:{server.port}")
        assert (found.state, found.service) == (ServedState.NOT_READY, "chest-xray")


@pytest.mark.parametrize("path", ["", "/v1/models/tiny:predict", "/v2/models/tiny/infer"])
def test_our_own_model_server_is_one(own: str, path: str) -> None:
    found = look(own + path, "tiny")
    assert (found.server.split()[0], found.model, found.state) == ("tidegauge", "tiny", ServedState.READY)
    assert found.predict_url == own + (path or "/v2/models/tiny/infer")
    assert found.inputs[0].shape[1:] == (32, 32, 1)
    with pytest.raises(InvalidInputError, match="model is 'other'"):
        look(own, "other")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[str]:
    app = create_app(load_model(write_model(tmp_path / "model"), name="tiny", version="1"))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({}, "url is that of no model server that is known"),
        ({"GET /v2": (200, b"<html>welcome</html>")}, "url is that of no model server that is known"),
        ({"GET /v2/models/x/ready": (200, b"")}, "url is that of no model server that is known"),
        ({"GET /v2": (200, [1, 2])}, "url is that of no model server that is known"),
        ({"GET /v2": (200, b"[" * 100_000)}, "url is that of no model server that is known"),
        ({"GET /v2": (200, b"x" * (2 << 20))}, "url answers with more than a megabyte"),
        ({"GET /v2": (401, {})}, r"url is refused by its server \(401\): it wants to know who asks"),
        ({"GET /v2/models/x": (500, {})}, r"url leads to a server that fails \(500\)"),
        ({"GET /v2": garbage}, "url breaks the connection off, or answers with something else than HTTP"),
        ({"GET /v2": redirect("/v2")}, "url leads from one address to the next without end"),
        ({"GET /v2": redirect("http://169.254.169.254/latest")}, "url leads to '169.254.169.254', which is"),
        ({"GET /v2": silent(3)}, "url does not answer within 0.3 s"),
    ],
)
def test_what_is_no_model_server_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, Answer], sentence: str
) -> None:
    if "0.3" in sentence:
        monkeypatch.setattr(servers, "_TIMEOUT_SECONDS", 0.3)
    with model_server(answers) as server, pytest.raises(TidegaugeError, match=sentence) as caught:
        look(server.url, "x")
    assert [error.field for error in caught.value.errors] == ["url"]


def test_an_answer_that_drips_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    monkeypatch.setattr(servers, "_WHOLE_SECONDS", 0.4)
    with (
        model_server({"GET /v2": drip}) as server,
        pytest.raises(UnavailableError, match=r"too slowly: 0\.4 s"),
    ):
        look(server.url, "x")


def test_nobody_answers() -> None:
    with pytest.raises(UnavailableError, match=r"url cannot be reached; look whether the server runs"):
        look(f"http://127.0.0.1:{free_port()}", "x")
    nameless = Gate(private=True, resolve=_no_address)
    with pytest.raises(UnavailableError, match="url cannot be reached"):
        look("http://nowhere.example", "x", nameless)


def _no_address(_host: str, _port: int) -> list[str]:
    raise socket.gaierror(-2, "Name or service not known")


def test_a_certificate_has_to_be_trusted(tmp_path: Path) -> None:
    _, context = certificate(tmp_path)
    with model_server(TRITON, tls=context) as server:
        with pytest.raises(UnavailableError, match=r"url shows a certificate that is not trusted \(.+\)"):
            look(server.url, "chest")
        with pytest.raises(UnavailableError, match="url breaks the connection off"):
            look(server.url.replace("https", "http"), "chest")
    with model_server(TRITON) as server, pytest.raises(UnavailableError, match="does not speak TLS"):
        look(server.url.replace("http", "https"), "chest")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/v2",
        "http://10.1.2.3:8000",
        "http://127.0.0.1:1",
        "http://2130706433",
        "http://[::1]",
    ],
)
def test_what_may_not_be_asked_is_not(url: str) -> None:
    with pytest.raises(RefusedAddressError):
        look(url, "x", Gate(private=False))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("triton:8000", "url is no http or https URL"),
        ("http://a@host", "url holds a user name or password"),
        ("http://host/v2?x=1", "url has a query or a fragment"),
        ("", "url is no http or https URL"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        look(url, "x")


def test_what_a_server_says_is_bounded_and_fit_to_be_shown() -> None:
    answers: dict[str, Answer] = {
        "GET /v2": (200, {"name": "x" * 5000, "version": {"no": "text"}}),
        "GET /v2/models/m": (
            200,
            {
                "name": "m",
                "platform": "a\x00b\n<script>",
                "versions": [None, 7, "8", *map(str, range(500))],
                "inputs": [
                    {"name": f"i{n}", "datatype": 5, "shape": ["4", None, 1e400, -7]} for n in range(999)
                ],
                "outputs": {"no": "list"},
            },
        ),
        "GET /v2/models/m/ready": (200, {"name": "m", "ready": False}),
    }
    answers["GET /v2/models/m"] = (200, _text(answers["GET /v2/models/m"]))
    with model_server(answers) as server:
        found = look(server.url, "m")
    assert (len(found.server), found.platform, found.state) == (200, "ab<script>", ServedState.NOT_READY)
    assert (len(found.inputs), len(found.versions), found.outputs) == (256, 99, ())
    assert found.inputs[0] == Tensor("i0", "5", (4, -1, -1, -1))


def _text(answer: Any) -> bytes:
    return json.dumps(answer[1]).replace("Infinity", "1e308").encode()
