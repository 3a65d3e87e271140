"""Small ONNX models for the tests of the model server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(folder: Path, nodes, inputs, outputs, constants=()) -> Path:
    """Write a model as model.onnx; ``constants`` are (name, array)."""
    folder.mkdir(parents=True, exist_ok=True)
    initializers = [numpy_helper.from_array(array, name) for name, array in constants]
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def value(name: str, shape, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def image_model(folder: Path, size: int = 8) -> Path:
    """Softmax of (mean, 255 - mean) / 255: one image input ``input_1`` and one output ``output``."""
    nodes = [
        helper.make_node("ReduceMean", ["input_1"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["mean", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ]
    constants = [
        ("weights", np.array([[1 / 255, -1 / 255]], np.float32)),
        ("bias", np.array([0, 1], np.float32)),
    ]
    return save(
        folder, nodes, [value("input_1", ["N", size, size, 1])], [value("output", ["N", 2])], constants
    )


def expected_scores(images: np.ndarray) -> np.ndarray:
    """What image_model answers, by numpy."""
    mean = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64) / 255
    logits = np.stack([mean, 1 - mean], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def two_by_two_model(folder: Path) -> Path:
    """Inputs ``a`` [N] float, ``b`` [N] int64; outputs ``sum`` [N] float and ``b_again`` [N] int64."""
    nodes = [
        helper.make_node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "b_float"], ["sum"]),
        helper.make_node("Identity", ["b"], ["b_again"]),
    ]
    inputs = [value("a", ["N"]), value("b", ["N"], TensorProto.INT64)]
    outputs = [value("sum", ["N"]), value("b_again", ["N"], TensorProto.INT64)]
    return save(folder, nodes, inputs, outputs)


def identity_model(folder: Path, kind: int, shape=("N",)) -> Path:
    """One input ``x`` of any type, and the same again as ``y``."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return save(folder, [node], [value("x", list(shape), kind)], [value("y", list(shape), kind)])


def table_model(folder: Path) -> Path:
    """A lookup in a table of three rows: an index past it is refused by the runtime."""
    node = helper.make_node("Gather", ["table", "index"], ["row"], axis=0)
    inputs = [value("index", ["N"], TensorProto.INT64)]
    return save(folder, [node], inputs, [value("row", ["N"])], [("table", np.arange(3, dtype=np.float32))])
