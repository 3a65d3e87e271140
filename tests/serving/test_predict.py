"""TensorFlow Serving REST against a real server process."""

from __future__ import annotations

import base64
import gzip

import cv2
import numpy as np
import orjson
import pytest
from onnx import TensorProto
from starlette.testclient import TestClient

from serving.models import expected_scores, identity_model, image_model, two_by_two_model
from tidegauge.serving import app
from tidegauge.serving.app import create_app
from tidegauge.serving.model import load_model

URL = "/v1/models/scan:predict"
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1))


def test_the_request_of_the_example_gets_its_answer(image_server):
    answer = image_server.http.post(URL, json={"inputs": {"input_1": PIXELS[:1].tolist()}})
    assert answer.status_code == 200
    assert list(answer.json()) == ["outputs"]
    np.testing.assert_allclose(answer.json()["outputs"], expected_scores(PIXELS[:1]), rtol=1e-5)


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        ({"instances": PIXELS.tolist()}, "predictions"),
        ({"instances": [{"input_1": image.tolist()} for image in PIXELS]}, "predictions"),
        ({"inputs": PIXELS.tolist()}, "outputs"),
        ({"inputs": {"input_1": PIXELS.tolist()}, "signature_name": "serving_default"}, "outputs"),
    ],
)
def test_rows_get_predictions_and_columns_get_outputs(image_server, request_, key):
    answer = image_server.http.post(URL, json=request_).json()
    assert list(answer) == [key]
    np.testing.assert_allclose(answer[key], expected_scores(PIXELS), rtol=1e-5)


@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("wording", ["row", "named row", "column", "bare column"])
def test_encoded_images_are_decoded_and_brought_to_size(image_server, size, extension, wording):
    picture = np.full((size, size), 90, np.uint8)
    value = {"b64": base64.b64encode(cv2.imencode(extension, picture)[1].tobytes()).decode()}
    request = {
        "row": {"instances": [value, value]},
        "named row": {"instances": [{"input_1": value}, {"input_1": value}]},
        "column": {"inputs": {"input_1": [value, value]}},
        "bare column": {"inputs": [value, value]},
    }[wording]
    answer = image_server.http.post(URL, json=request).json()
    expected = expected_scores(np.full((2, 8, 8), 90))
    np.testing.assert_allclose(next(iter(answer.values())), expected, rtol=1e-5)


def test_colour_images_become_grey_for_a_grey_model(image_server):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 2] = 200  # red in OpenCV's order
    value = {"b64": base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()}
    answer = image_server.http.post(URL, json={"instances": [value]}).json()
    np.testing.assert_allclose(answer["predictions"], expected_scores(np.full((1, 8, 8), 60)), rtol=1e-3)


def test_several_inputs_and_outputs_are_named(tmp_path):
    with TestClient(create_app(load_model(two_by_two_model(tmp_path), "two", None))) as client:
        rows = client.post(
            "/v1/models/two:predict", json={"instances": [{"a": 0.5, "b": 1}, {"a": 2, "b": 3}]}
        )
        assert rows.json() == {"predictions": [{"sum": 1.5, "b_again": 1}, {"sum": 5.0, "b_again": 3}]}
        columns = client.post("/v1/models/two:predict", json={"inputs": {"b": [1, 3], "a": [0.5, 2]}})
        assert columns.json() == {"outputs": {"sum": [1.5, 5.0], "b_again": [1, 3]}}


@pytest.mark.parametrize(
    ("kind", "values"), [(TensorProto.FLOAT, [63.0, 20.5]), (TensorProto.STRING, ["a", "b"])]
)
def test_a_value_of_a_column_needs_no_list_around_it(tmp_path, kind, values):
    bodies = [
        {"instances": [{"x": value} for value in values]},
        {"instances": [{"x": [value]} for value in values]},
        {"inputs": {"x": values}},
    ]
    with TestClient(
        create_app(load_model(identity_model(tmp_path, kind, ("N", 1)), "table", None))
    ) as client:
        for body in bodies:
            (answer,) = client.post("/v1/models/table:predict", json=body).json().values()
            assert answer == [[value] for value in values]


def test_strings_go_in_and_out(tmp_path):
    model = load_model(identity_model(tmp_path, TensorProto.STRING), "text", None)
    with TestClient(create_app(model)) as client:
        text = {"b64": base64.b64encode(b"zwei").decode()}
        answer = client.post("/v1/models/text:predict", json={"instances": ["eins", text]})
        assert answer.json() == {"predictions": ["eins", "zwei"]}


def test_channels_first_models_get_encoded_images_too(tmp_path):
    model = load_model(identity_model(tmp_path, TensorProto.FLOAT, ("N", 3, 4, 5)), "first", None)
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 7  # blue in OpenCV's order
    value = {"b64": base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()}
    with TestClient(create_app(model)) as client:
        answer = np.array(
            client.post("/v1/models/first:predict", json={"instances": [value]}).json()["predictions"]
        )
    assert answer.shape == (1, 3, 4, 5)
    assert answer[0, :, 0, 0].tolist() == [0, 0, 7]


def test_a_packed_body_is_unpacked(image_server):
    body = gzip.compress(orjson.dumps({"instances": PIXELS.tolist()}))
    answer = image_server.http.post(URL, content=body, headers={"content-encoding": "gzip"})
    assert len(answer.json()["predictions"]) == 2


def test_status_and_metadata_are_those_of_tensorflow_serving(image_server):
    for path in ("/v1/models/scan", "/v1/models/scan/versions/3"):
        (status,) = image_server.http.get(path).json()["model_version_status"]
        assert (status["version"], status["state"], status["status"]["error_code"]) == (
            "3",
            "AVAILABLE",
            "OK",
        )
    for path in ("/v1/models/scan/metadata", "/v1/models/scan/versions/3/metadata"):
        document = image_server.http.get(path).json()
        assert document["model_spec"] == {"name": "scan", "signature_name": "", "version": "3"}
        signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["inputs"]["input_1"]["dtype"] == "DT_FLOAT"
        sizes = [dim["size"] for dim in signature["inputs"]["input_1"]["tensor_shape"]["dim"]]
        assert sizes == ["-1", "8", "8", "1"]


def test_a_version_can_be_named(image_server):
    body = {"instances": PIXELS.tolist()}
    assert image_server.http.post("/v1/models/scan/versions/3:predict", json=body).status_code == 200
    answer = image_server.http.post("/v1/models/scan/versions/4:predict", json=body)
    assert answer.status_code == 404
    assert "no version '4'" in answer.json()["error"]


def test_requests_that_leave_the_event_loop_are_answered_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "_INLINE_SECONDS", 0)
    with TestClient(create_app(load_model(image_model(tmp_path), "scan", None))) as client:
        answer = client.post(URL, json={"instances": PIXELS.tolist()}).json()
        np.testing.assert_allclose(answer["predictions"], expected_scores(PIXELS), rtol=1e-5)
        assert client.post(URL, json={"instances": []}).status_code == 400
