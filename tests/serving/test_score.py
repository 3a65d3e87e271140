"""What a model answers to many images, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from serving.models import identity_model, image_model, save, value
from tidegauge.errors import InvalidInputError
from tidegauge.serving.score import ScoreOptions, score

#: Darker and brighter than the middle, at which image_model changes its mind.
IMAGES = np.stack([np.full((8, 8, 1), level, np.uint8) for level in (10, 120, 135, 250)] * 20)
EXPECTED = ["dark", "dark", "bright", "bright"] * 20


def options(tmp_path: Path, model: Path, images: np.ndarray = IMAGES, **changes: object) -> ScoreOptions:
    np.save(tmp_path / "images.npy", images)
    return ScoreOptions(model, tmp_path / "images.npy", tmp_path / "out.txt", **changes)  # type: ignore[arg-type]


def test_it_writes_a_class_a_line(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    model, output = image_model(tmp_path / "model"), tmp_path / "out.txt"
    command = [sys.executable, "-m", "tidegauge.serving.score", "--model-dir", str(model)]
    command += ["--images", str(tmp_path / "images.npy"), "--output", str(output)]
    done = subprocess.run(
        [*command, "--classes", "bright", "dark"], capture_output=True, text=True, check=True
    )
    assert output.read_text().splitlines() == EXPECTED
    assert done.stdout.splitlines()[-1] == "80 of 80"


def test_a_model_that_cannot_be_asked_is_a_sentence_and_no_file(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    command = [sys.executable, "-m", "tidegauge.serving.score", "--model-dir", str(tmp_path / "absent")]
    command += ["--images", str(tmp_path / "images.npy"), "--output", str(tmp_path / "out.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "There is no model.onnx" in done.stdout.splitlines()[-1]
    assert not (tmp_path / "out.txt").exists()


def scaled_model(folder: Path, shape: list[object], axes: list[int]) -> Path:
    """Softmax of the mean of what it is given, and a half."""
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Gemm", ["mean", "weights", "bias"], ["output"]),
    ]
    constants = [("weights", np.array([[1, 0]], np.float32)), ("bias", np.array([0, 0.5], np.float32))]
    return save(folder, nodes, [value("input_1", shape)], [value("output", [None, 2])], constants)


def test_grey_levels_and_channels_come_as_clients_send_them(tmp_path: Path) -> None:
    model = scaled_model(tmp_path / "model", ["N", 1, 8, 8], [2, 3])
    given = options(tmp_path, model, unit=True, channels_first=True, classes=("bright", "dark"))
    assert score(given) == EXPECTED


def test_a_model_for_one_row_is_asked_one_by_one(tmp_path: Path) -> None:
    model = scaled_model(tmp_path / "model", [1, 8, 8, 1], [1, 2])
    assert score(options(tmp_path, model, unit=True, classes=("bright", "dark"))) == EXPECTED


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["output"]),
    ]
    constants = [("nothing", np.array([[np.nan, np.nan]], np.float32))]
    model = save(
        tmp_path / "model", nodes, [value("input_1", ["N", 8, 8, 1])], [value("output", ["N", 2])], constants
    )
    with pytest.raises(InvalidInputError, match="some images with NaN"):
        score(options(tmp_path, model))


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [(("a", "b", "c"), "has 3 classes, but answers with 2 scores")],
)
def test_classes_that_do_not_fit_are_refused(tmp_path: Path, classes: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        score(options(tmp_path, image_model(tmp_path / "model"), classes=classes))


def test_a_model_of_text_is_refused(tmp_path: Path) -> None:
    model = identity_model(tmp_path / "model", TensorProto.STRING)
    with pytest.raises(InvalidInputError, match="does not take one tensor of numbers"):
        score(options(tmp_path, model))
