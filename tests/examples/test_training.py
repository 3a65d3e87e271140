"""A real, tiny training; TensorFlow is imported once for all tests here."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

import training
from parts import absent
from tidegauge.phantoms import write_dataset

# TensorFlow and its exporters warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Trained:
    folder: Path
    prepared: training.Prepared
    metrics: dict[str, Any]
    lines: list[str]


@pytest.fixture(scope="module")
def tensorflow() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        absent("tensorflow")


@pytest.fixture(scope="module")
def trained(tensorflow: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("training")
    write_dataset(folder / "images", normal=4, pneumonia=6, seed=1, size=128)
    prepared = training.prepare(folder / "images")
    lines: list[str] = []
    metrics = training.train(prepared, folder / "model", name="tiny", epochs=2, seed=3, log=lines.append)
    return Trained(folder / "model", prepared, metrics, lines)


def test_onnx_takes_any_batch_of_input_1(trained: Trained) -> None:
    session = onnxruntime.InferenceSession(trained.folder / "model.onnx")
    (given,) = session.get_inputs()
    assert given.name == "input_1"
    assert given.type == "tensor(float)"
    assert given.shape[1:] == [200, 200, 1]
    for n in (1, 3):
        (answer,) = session.run(None, {"input_1": np.zeros((n, 200, 200, 1), np.float32)})
        assert answer.shape == (n, 2)


def test_onnx_answers_as_the_saved_model_does(trained: Trained) -> None:
    import tensorflow as tf

    saved = tf.saved_model.load(str(trained.folder / "saved_model"))
    pixels = trained.prepared.images.astype(np.float32)
    answers = training.predict_onnx(trained.folder / "model.onnx", trained.prepared.images, batch=4)
    assert np.allclose(answers, saved.serve(pixels).numpy(), atol=1e-4)
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_reference_predictions_are_the_answers_of_the_exported_model(trained: Trained) -> None:
    reference = pl.read_parquet(trained.folder / "reference.parquet")
    assert reference.columns == ["file", "label", "output", "p_NORMAL", "p_PNEUMONIA"]
    answers = training.predict_onnx(trained.folder / "model.onnx", trained.prepared.images)
    assert np.allclose(reference["p_PNEUMONIA"].to_numpy(), answers[:, 1], atol=1e-6)
    decided = np.where(answers[:, 1] > 0.5, "PNEUMONIA", "NORMAL")
    assert reference["output"].to_list() == decided.tolist()
    assert reference["label"].to_list() == ["NORMAL"] * 4 + ["PNEUMONIA"] * 6


def test_a_set_without_room_for_a_hold_out_says_so(trained: Trained) -> None:
    written = json.loads((trained.folder / "metrics.json").read_text())
    assert written == trained.metrics
    assert written["held_out"] is False
    assert written["n"] == written["n_train"] == 10
    assert written["epochs"] <= 2
    assert 0 < written["threshold"] < 1


def test_model_describes_itself(trained: Trained) -> None:
    described = json.loads((trained.folder / "model.json").read_text())
    assert described["name"] == "tiny"
    assert described["classes"] == ["NORMAL", "PNEUMONIA"]
    assert described["positive"] == "PNEUMONIA"
    assert described["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}]
    assert described["inputs"] == [{"name": "input_1", "datatype": "FP32", "shape": [-1, 200, 200, 1]}]


def test_training_tells_every_epoch(trained: Trained) -> None:
    assert sum(line.startswith("epoch ") for line in trained.lines) == trained.metrics["epochs"]


def test_threshold_becomes_one_half_when_folded(tensorflow: None) -> None:
    import network

    model = network.build(2, 40, 40, widths=(4, 4))
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 1), dtype=np.uint8)
    before = network.probabilities(model, images)[:, 1]
    threshold = float(np.median(before))
    network.fold_threshold(model, threshold)
    after = network.probabilities(model, images)[:, 1]
    assert np.array_equal(after > 0.5, before > threshold)


def test_exposure_hardly_moves_the_answer(tensorflow: None) -> None:
    import network

    model = network.build(3, 40, 40, widths=(4, 4))
    images = np.random.default_rng(0).integers(60, 120, (5, 40, 40, 1), dtype=np.uint8)
    answers = network.probabilities(model, images)
    assert answers.shape == (5, 3)
    assert np.allclose(network.probabilities(model, 2 * images), answers, atol=1e-2)


def test_coarse_and_fine_stages_train_one_model(tensorflow: None) -> None:
    import network
    from augmentation import jittered

    model = network.build(3, widths=(4, 4))
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 1), dtype=np.uint8)
    lines: list[str] = []
    run = network.fit(
        model,
        images,
        np.array([0, 1, 2, 0, 1, 2]),
        classes=3,
        stages=[(24, 2), (40, 1)],
        batch=4,
        seed=0,
        change=jittered,
        learned=None,
        log=lines.append,
    )
    assert run == 3
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    fixed = network.sized(model, 40, 40)
    assert np.allclose(network.probabilities(fixed, images), network.probabilities(model, images), atol=1e-5)


def test_images_that_cannot_be_read_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_dataset(tmp_path, normal=1, pneumonia=1, seed=0, size=64)
    (tmp_path / "NORMAL" / "broken.jpeg").write_bytes(b"no picture")
    prepared = training.prepare(tmp_path)
    assert len(prepared.files) == 2
    assert prepared.images.shape == (2, 200, 200, 1)
    (problem,) = prepared.problems
    assert problem.startswith("NORMAL/broken.jpeg is left out")
    training.save_prepared(prepared, tmp_path / "prepared.npz")
    again = training.load_prepared(tmp_path / "prepared.npz")
    assert np.array_equal(again.images, prepared.images)
    assert (again.files, again.classes, again.problems) == (prepared.files, prepared.classes, [problem])


def test_one_class_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, normal=2, pneumonia=0, seed=0, size=64)
    with pytest.raises(ValueError, match="these classes: NORMAL; give one folder per class"):
        training.prepare(tmp_path)
