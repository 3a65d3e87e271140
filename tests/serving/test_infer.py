"""Open Inference Protocol v2, with the client of Triton (nobody here wrote it) and by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from serving.models import expected_scores, identity_model, two_by_two_model
from serving.running import serving
from tidegauge import __version__

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1)).astype(np.float32)


@pytest.fixture
def client(image_server):
    client = triton.InferenceServerClient(f"127.0.0.1:{image_server.port}")
    yield client
    client.close()


def pixels_input(binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("input_1", PIXELS.shape, "FP32")
    tensor.set_data_from_numpy(PIXELS, binary_data=binary)
    return tensor


def test_health_of_server_and_model(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("scan")
    assert client.is_model_ready("scan", "3")
    assert not client.is_model_ready("scan", "4")
    assert not client.is_model_ready("other")


def test_metadata_of_server_and_model(client):
    server = client.get_server_metadata()
    assert (server["name"], server["version"]) == ("tidegauge", __version__)
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("scan")
    assert model == client.get_model_metadata("scan", "3")
    assert (model["name"], model["versions"]) == ("scan", ["3"])
    assert model["inputs"] == [{"name": "input_1", "datatype": "FP32", "shape": [-1, 8, 8, 1]}]
    assert model["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("outputs", [None, True, False])
@pytest.mark.parametrize("version", ["", "3"])
def test_infer_with_binary_and_json_tensors_in_and_out(client, binary_in, outputs, version):
    wanted = None if outputs is None else [triton.InferRequestedOutput("output", binary_data=outputs)]
    answer = client.infer("scan", [pixels_input(binary_in)], version, wanted, request_id="r-1")
    np.testing.assert_allclose(answer.as_numpy("output"), expected_scores(PIXELS), rtol=1e-5)
    document = answer.get_response()
    assert (document["id"], document["model_name"], document["model_version"]) == ("r-1", "scan", "3")
    (entry,) = document["outputs"]
    assert ("data" in entry) == (outputs is False)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_packed_requests(client, algorithm):
    answer = client.infer("scan", [pixels_input()], request_compression_algorithm=algorithm)
    np.testing.assert_allclose(answer.as_numpy("output"), expected_scores(PIXELS), rtol=1e-5)


def test_encoded_images_as_bytes(client):
    pictures = [cv2.imencode(".png", np.full((20, 20), grey, np.uint8))[1].tobytes() for grey in (10, 200)]
    tensor = triton.InferInput("input_1", [2], "BYTES")
    tensor.set_data_from_numpy(np.array(pictures, dtype=object))
    answer = client.infer("scan", [tensor]).as_numpy("output")
    np.testing.assert_allclose(answer, expected_scores(np.array([[10], [200]])), rtol=1e-5)


def test_refusals_reach_the_client_in_words(client):
    tensor = triton.InferInput("input_1", [1, 8, 8, 1], "FP64")
    tensor.set_data_from_numpy(np.zeros((1, 8, 8, 1)))
    with pytest.raises(InferenceServerException, match="'input_1' has datatype FP64; the model takes FP32"):
        client.infer("scan", [tensor])
    with pytest.raises(InferenceServerException, match="no output 'other'"):
        client.infer("scan", [pixels_input()], outputs=[triton.InferRequestedOutput("other")])


def test_a_subset_of_outputs_some_binary_some_json(tmp_path):
    with serving(two_by_two_model(tmp_path / "two"), tmp_path) as served:
        client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
        a = triton.InferInput("a", [2], "FP32")
        a.set_data_from_numpy(np.array([1, 2], np.float32))
        b = triton.InferInput("b", [2], "INT64")
        b.set_data_from_numpy(np.array([3, 2**53 + 1]), binary_data=False)
        mixed = [
            triton.InferRequestedOutput("b_again", binary_data=False),
            triton.InferRequestedOutput("sum", binary_data=True),
        ]
        both = client.infer("two", [a, b], outputs=mixed)
        assert both.as_numpy("b_again").tolist() == [3, 2**53 + 1]
        assert both.as_numpy("sum")[0] == 4
        one = client.infer("two", [a, b], outputs=[triton.InferRequestedOutput("sum")])
        assert [entry["name"] for entry in one.get_response()["outputs"]] == ["sum"]
        client.close()


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        (TensorProto.FLOAT16, np.array([1.5, -2], np.float16)),
        (TensorProto.DOUBLE, np.array([1e300, 0.1])),
        (TensorProto.UINT8, np.array([0, 255], np.uint8)),
        (TensorProto.INT64, np.array([-(2**63), 2**63 - 1])),
        (TensorProto.UINT64, np.array([2**64 - 1, 0], np.uint64)),
        (TensorProto.BOOL, np.array([True, False])),
        (TensorProto.STRING, np.array(["å", ""], dtype=object)),
    ],
)
def test_every_datatype_survives_the_way_there_and_back(tmp_path, kind, array):
    from starlette.testclient import TestClient

    from tidegauge.domain.inference import decode_response
    from tidegauge.domain.tensors import encode_binary
    from tidegauge.serving.app import create_app
    from tidegauge.serving.model import load_model

    with TestClient(create_app(load_model(identity_model(tmp_path, kind), "same", None))) as client:
        for as_json in (frozenset(), frozenset({"x"})):
            for binary in (True, False):
                header = {"parameters": {"binary_data_output": binary}}
                body, length = encode_binary({"x": array}, "inputs", header=header, as_json=as_json)
                answer = client.post(
                    "/v2/models/same/infer",
                    content=body,
                    headers={"inference-header-content-length": str(length)},
                )
                assert answer.status_code == 200, answer.text
                header_length = answer.headers.get("inference-header-content-length")
                assert (header_length is not None) == binary
                got = decode_response(answer.content, int(header_length) if header_length else None)["y"]
                texts = [item.decode() if isinstance(item, bytes) else item for item in got.tolist()]
                assert texts == array.tolist()
                assert got.dtype == array.dtype
