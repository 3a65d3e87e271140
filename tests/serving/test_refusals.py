"""Bad input of every kind gets a 4xx and a sentence that names it; never a 5xx, and the server lives on."""

from __future__ import annotations

import base64
import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from starlette.testclient import TestClient

from serving.models import identity_model, image_model, table_model, two_by_two_model
from tidegauge.domain.tensors import encode_binary
from tidegauge.serving.app import create_app
from tidegauge.serving.model import load_model

PREDICT = "/v1/models/scan:predict"
INFER = "/v2/models/scan/infer"
IMAGE = np.zeros((1, 8, 8, 1), np.float32)


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def refused(answer, status: int, *says: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    sentence = answer.json()["error"]
    assert sentence.endswith(".")
    for part in says:
        assert part in sentence


def v2(array, **changes: object) -> dict[str, object]:
    tensor = {
        "name": "input_1",
        "shape": list(array.shape),
        "datatype": "FP32",
        "data": array.ravel().tolist(),
    }
    return {"inputs": [{**tensor, **changes}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"inputs": {"other": IMAGE.tolist()}}, ("no input 'other'", "input_1")),
        ({"inputs": {}}, ("'input_1' is missing",)),
        (
            {"inputs": {"input_1": IMAGE[0].tolist()}},
            ("'input_1' has shape [8, 8, 1]", "[-1, 8, 8, 1] of FP32"),
        ),
        (
            {"instances": np.zeros((1, 9, 8, 1)).tolist()},
            ("'input_1' has shape [1, 9, 8, 1]", "[-1, 8, 8, 1]"),
        ),
        ({"instances": []}, ("'input_1' is an empty batch", "[-1, 8, 8, 1]")),
        ({"inputs": {"input_1": []}}, ("'input_1' is an empty batch",)),
        ({"instances": [[[[1], [2]], [[3]]]]}, ("'input_1' is ragged",)),
        ({"instances": np.full((1, 8, 8, 1), "a").tolist()}, ("'input_1' holds strings", "FP32 numbers")),
        (
            {"instances": np.ones((1, 8, 8, 1), bool).tolist()},
            ("'input_1' holds booleans; expected numbers",),
        ),
        ({"instances": np.full((1, 8, 8, 1), 1e300).tolist()}, ("'input_1' holds NaN or infinity",)),
        (
            {"instances": [b64(b"no picture")]},
            ("Image 0 of input 'input_1' cannot be decoded", "JPEG or PNG"),
        ),
        ({"instances": [b64(b"")]}, ("Image 0 of input 'input_1' is empty",)),
        ({"instances": [{"b64": "%%%"}]}, ("'input_1' holds text that is not valid base64",)),
        ({"instances": [{"b64": 3}]}, ("'input_1'", "b64")),
        ({"instances": None}, ("'instances' must be a list",)),
        ({"signature_name": "x", "instances": IMAGE.tolist()}, ("signature_name is 'x'",)),
        ([1], ("must be a JSON object",)),
    ],
)
def test_v1_refusals(image_server, body, says):
    refused(image_server.http.post(PREDICT, json=body), 400, *says)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (v2(IMAGE, name="other"), ("no input 'other'",)),
        (v2(IMAGE[:, :7]), ("'input_1' has shape [1, 7, 8, 1]", "[-1, 8, 8, 1] of FP32")),
        (v2(IMAGE, datatype="INT64"), ("'input_1' has datatype INT64; the model takes FP32",)),
        (v2(IMAGE, datatype="FLOAT"), ("'FLOAT'", "FP32")),
        (v2(IMAGE[:0]), ("'input_1' is an empty batch",)),
        (v2(IMAGE, shape=[1, 8, 8, 2]), ("'input_1'", "[1, 8, 8, 2]")),
        (v2(IMAGE, data=[1e39] * 64), ("'input_1' holds NaN or infinity",)),
        ({**v2(IMAGE), "outputs": [{"name": "x"}]}, ("no output 'x'", "output")),
        ({"inputs": []}, ("'input_1' is missing",)),
        ({}, ("'inputs' must be a list",)),
    ],
)
def test_v2_json_refusals(image_server, body, says):
    refused(image_server.http.post(INFER, json=body), 400, *says)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_v2_binary_values_must_be_finite(image_server, value):
    body, length = encode_binary({"input_1": np.full_like(IMAGE, value)}, "inputs")
    headers = {"inference-header-content-length": str(length)}
    refused(
        image_server.http.post(INFER, content=body, headers=headers), 400, "'input_1' holds NaN or infinity"
    )


@pytest.mark.parametrize(
    ("cut", "length", "says"),
    [
        (4, None, "bytes are left in the body"),
        (0, "999999", "the body has"),
        (0, "0", "Inference-Header-Content-Length is 0"),
        (0, "-3", "must be a number of bytes"),
        (0, "many", "must be a number of bytes"),
        (0, "7", "not valid JSON"),
    ],
)
def test_wrong_binary_sizes(image_server, cut, length, says):
    body, right = encode_binary({"input_1": IMAGE}, "inputs")
    headers = {"inference-header-content-length": length or str(right)}
    refused(image_server.http.post(INFER, content=body[: len(body) - cut], headers=headers), 400, says)


@pytest.mark.parametrize("url", [PREDICT, INFER])
@pytest.mark.parametrize("body", [b"", b"{", b'{"inputs": [NaN]}', b"\xff\xfe", b"[" * 5000])
def test_bodies_that_are_no_json(image_server, url, body):
    refused(image_server.http.post(url, content=body), 400, "not valid JSON")


@pytest.mark.parametrize("url", [PREDICT, INFER])
def test_oversized_bodies(image_server, url):
    refused(image_server.http.post(url, content=b" " * 65537), 413, "larger than 65536 bytes")
    chunks = (b" " * 4096 for _ in range(40))
    refused(image_server.http.post(url, content=chunks), 413, "larger than 65536 bytes")
    packed = gzip.compress(b" " * 10_000_000)
    refused(image_server.http.post(url, content=packed, headers={"content-encoding": "gzip"}), 413, "larger")


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("br", b"x", 415, "'br'"),
        ("gzip", b"no gzip", 400, "not valid gzip"),
        ("deflate", zlib.compress(b"{}" * 50)[:-5], 400, "ends too early"),
    ],
)
def test_wrong_content_encodings(image_server, encoding, body, status, says):
    answer = image_server.http.post(PREDICT, content=body, headers={"content-encoding": encoding})
    refused(answer, status, says)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v2/models/scan/versions/9/ready", 404),
        ("GET", "/nothing", 404),
        ("POST", "/v1/models/scan:classify", 405),
        ("GET", "/v2/models/scan/infer", 405),
    ],
)
def test_wrong_paths_and_methods(image_server, method, path, status):
    refused(image_server.http.request(method, path), status)


@pytest.mark.parametrize("header", ["yesterday", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"])
def test_a_malformed_event_time(image_server, header):
    answer = image_server.http.post(PREDICT, json={"instances": IMAGE.tolist()}, headers={"ce-time": header})
    refused(answer, 400, "ce-time", "RFC 3339")


@pytest.mark.parametrize("header", ["", "x" * 201])
def test_a_malformed_event_id(image_server, header):
    answer = image_server.http.post(PREDICT, json={"instances": IMAGE.tolist()}, headers={"ce-id": header})
    refused(answer, 400, "ce-id")


def test_inputs_that_differ_in_their_batch(tmp_path):
    with TestClient(create_app(load_model(two_by_two_model(tmp_path), "two", None))) as client:
        answer = client.post("/v1/models/two:predict", json={"inputs": {"a": [1, 2], "b": [1]}})
        refused(answer, 400, "'b' has 1", "'a' has 2")
        refused(client.post("/v1/models/two:predict", json={"inputs": [1]}), 400, "name them: a, b")
        answer = client.post("/v1/models/two:predict", json={"inputs": {"a": [1], "b": [1.5]}})
        refused(answer, 400, "'b' must hold whole numbers")


def test_what_only_the_model_can_refuse(tmp_path):
    with TestClient(create_app(load_model(table_model(tmp_path), "table", None))) as client:
        refused(
            client.post("/v1/models/table:predict", json={"instances": [7]}), 400, "cannot process", "index"
        )


def test_strings_for_a_model_without_images(tmp_path):
    model = load_model(identity_model(tmp_path, TensorProto.FLOAT), "numbers", None)
    with TestClient(create_app(model)) as client:
        answer = client.post("/v1/models/numbers:predict", json={"instances": ["a"]})
        refused(answer, 400, "'x' takes FP32 numbers of shape [-1]", "no strings")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    model = load_model(image_model(tmp_path_factory.mktemp("fuzzed"), 2), "scan", None)
    with TestClient(create_app(model)) as client:
        yield client


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["input_1", "b64", "name", "data", "shape"]), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["instances", "inputs"]), value=JSON, url=st.sampled_from([PREDICT, INFER]))
def test_no_json_makes_the_server_fail(fuzzed, key, value, url):
    answer = fuzzed.post(url, content=json.dumps({key: value}))
    assert answer.status_code in {200, 400}


def test_the_server_lives_on(image_server):
    answer = image_server.http.post(PREDICT, json={"instances": IMAGE.tolist()})
    assert answer.status_code == 200
    assert "Traceback" not in image_server.log
