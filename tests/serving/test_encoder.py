from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from parts import write_model
from serving.models import save, table_model, value
from tidegauge.errors import InvalidInputError
from tidegauge.serving.encoder import onnx_encoder
from tidegauge.stats.images import fit_baseline

IMAGES = np.random.default_rng(0).integers(0, 255, (70, 8, 8, 1), np.uint8)


def two_outputs(folder: Path) -> Path:
    """A model that exposes the layer before its answer: the mean of each row of pixels."""
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["rows"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["rows"], ["answer"], axes=[1], keepdims=1),
    ]
    inputs = [value("input_1", ["n", 8, 8, 1])]
    return save(folder, nodes, inputs, [value("answer", ["n", 1]), value("rows", ["n", 8])])


def test_the_exposed_layer_is_the_encoding(tmp_path: Path):
    encode = onnx_encoder(two_outputs(tmp_path / "model"))
    assert np.allclose(encode(IMAGES), IMAGES.mean(axis=(2, 3)), atol=1e-3)
    assert encode(IMAGES[:0]).shape == (0, 8)


def test_an_output_can_be_named(tmp_path: Path):
    encode = onnx_encoder(two_outputs(tmp_path / "model"), "answer")
    assert encode(IMAGES).shape == (70, 1)


def test_without_an_exposed_layer_predictions_are_the_encoding(tmp_path: Path):
    encode = onnx_encoder(write_model(tmp_path / "model", side=8))
    assert np.allclose(encode(IMAGES).sum(axis=1), 1)


def test_a_baseline_takes_it(tmp_path: Path):
    baseline = fit_baseline(IMAGES, encoder=onnx_encoder(two_outputs(tmp_path / "model")))
    assert "embedding 8" in baseline.features


def test_models_that_encode_no_images_are_refused(tmp_path: Path):
    with pytest.raises(InvalidInputError, match="one vector an image; its outputs are row"):
        onnx_encoder(table_model(tmp_path / "table"))
    with pytest.raises(InvalidInputError, match="no output 'nowhere'"):
        onnx_encoder(two_outputs(tmp_path / "model"), "nowhere")
