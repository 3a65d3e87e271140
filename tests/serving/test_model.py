from __future__ import annotations

import subprocess
import sys

import numpy as np
import orjson
import pytest
from onnx import TensorProto, helper

from parts import UNSERVABLE
from serving.models import identity_model, image_model, save, value
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.serving.__main__ import parse
from tidegauge.serving.model import load_model
from tidegauge.serving.options import ServeOptions
from tidegauge.serving.server import create_app, serve


def test_options_win_over_model_json_which_wins_over_the_folder(tmp_path):
    folder = image_model(tmp_path / "folder")
    model = load_model(folder, None, None)
    assert (model.name, model.version, model.classes) == ("folder", "1", ())
    described = {"name": "described", "version": 4, "classes": ["a", "b"], "inputs": {}, "other": 1}
    (folder / "model.json").write_bytes(orjson.dumps(described))
    model = load_model(folder, None, None)
    assert (model.name, model.version, model.classes) == ("described", "4", ("a", "b"))
    model = load_model(folder, "given", "7")
    assert (model.name, model.version) == ("given", "7")


def test_free_and_fixed_sizes(tmp_path):
    (spec,) = load_model(image_model(tmp_path), None, None).inputs
    assert (spec.datatype, spec.shape, spec.open_shape) == ("FP32", (None, 8, 8, 1), [-1, 8, 8, 1])


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=f"no model.onnx in {tmp_path}"):
        load_model(tmp_path, None, None)


def test_a_broken_model_is_named_in_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(UNSERVABLE)
    with pytest.raises(InvalidInputError, match="cannot be loaded") as caught:
        load_model(tmp_path, None, None)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ('{"name": 3}', "'name'"),
        ('{"version": [1]}', "'version'"),
        ('{"classes": "ab"}', "'classes'"),
    ],
)
def test_a_wrong_model_json_is_refused(tmp_path, text, says):
    image_model(tmp_path)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        load_model(tmp_path, None, None)


def test_models_with_more_than_tensors_are_refused(tmp_path):
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    out = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    save(tmp_path, [node], [value("x", ["N"])], [out])
    with pytest.raises(InvalidInputError, match="output 'y' is a seq"):
        load_model(tmp_path, None, None)


def test_a_model_that_cannot_take_one_row_of_zeros_is_served_all_the_same(tmp_path):
    node = helper.make_node("Reshape", ["x", "pairs"], ["y"])
    constants = [("pairs", np.array([-1, 2]))]
    save(tmp_path, [node], [value("x", ["N"])], [value("y", ["M", 2])], constants)
    model = load_model(tmp_path, None, None)
    assert model.run({"x": np.arange(4, dtype=np.float32)})["y"].tolist() == [[0, 1], [2, 3]]


def test_a_taken_port_is_named(tmp_path, image_server):
    with pytest.raises(ConflictError, match=f"Port {image_server.port} of 127.0.0.1 cannot be opened"):
        serve(ServeOptions(image_model(tmp_path), port=image_server.port))


def test_a_wrong_log_url_or_port_or_number_of_threads_refuses_to_start(tmp_path):
    folder = image_model(tmp_path)
    for url in ("ftp://x", "127.0.0.1:80/x", "http://x:99999/"):
        with pytest.raises(InvalidInputError, match="log_url is"):
            create_app(ServeOptions(folder, log_url=url))
    with pytest.raises(InvalidInputError, match="port is 70000"):
        serve(ServeOptions(folder, port=70000))
    with pytest.raises(InvalidInputError, match="threads is 0"):
        create_app(ServeOptions(folder, threads=0))
    for share in (0, -0.5, 1.5, float("nan")):
        with pytest.raises(InvalidInputError, match="sampling is"):
            create_app(ServeOptions(folder, sampling=share))


def test_the_command_line_knows_every_option(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEGAUGE_LOG_TOKEN", "secret")
    flags = "--name n --version 2 --host ::1 --port 0 --deployment-id d --namespace s --log-url http://c/"
    flags += " --threads 2 --max-body-bytes 9 --parent-pid 1 --sampling 0.1"
    options = parse(["--model-dir", str(tmp_path), *flags.split()])
    assert options == ServeOptions(
        tmp_path, "n", "2", "::1", 0, "d", "s", "http://c/", "secret", 2, 9, 1, 0.1
    )


def test_a_start_that_fails_says_why_in_its_last_line(tmp_path):
    command = [sys.executable, "-m", "tidegauge.serving", "--model-dir", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip() == f"There is no model.onnx in {tmp_path}; export the model as ONNX into it."


def test_the_server_imports_nothing_heavy():
    code = "import sys, tidegauge.serving.server; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ended.stdout.split()
    assert "onnxruntime" in loaded
    assert not {"fastapi", "sqlalchemy", "polars", "cv2", "httpx", "pyarrow", "pydantic"} & set(loaded)


def test_scalars_are_answered(tmp_path):
    model = load_model(identity_model(tmp_path, TensorProto.FLOAT, ()), None, None)
    assert model.run({"x": np.array(3, np.float32)})["y"].shape == ()
