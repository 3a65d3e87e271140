"""Models and pipelines of scikit-learn, by skl2onnx."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegauge.export.folder import Described, write
from tidegauge.export.graph import keep_output
from tidegauge.export.needs import converting, need
from tidegauge.export.rows import Array, columns_of, inputs_of, is_mixed, tensor_of, texts

INPUT = "x"  # of a model that takes one tensor
SCORES = "probabilities"
_OPSETS = {"": 18, "ai.onnx.ml": 3}  # what the converter of XGBoost knows, too


def from_sklearn(
    model: Any,
    folder: str | Path,
    held_out: Any,
    labels: Sequence[Any] | None = None,
    *,
    classes: Sequence[Any] = (),
    name: str = "",
    positive: str = "",
    features: Sequence[str] = (),
) -> Path:
    """Export a fitted classifier, regressor or pipeline of scikit-learn.

    It takes one tensor of numbers, its columns in the order of ``features``; where ``held_out`` is a table
    with columns of text, each column is an input of its own.

    Args:
        model: the fitted estimator.
        folder: where to; new, empty, or that of an earlier export.
        held_out: rows that it was not trained on, an array or a table: the export must answer them as the
            model does, and later predictions are compared with its answers.
        labels: the truth of these rows; accuracy is then estimated before labels come.
        classes: other names for its classes, in the order of ``model.classes_``.
        name: of the model; by default that of the folder.
        positive: class that precision and recall speak of; of two classes by default the second.
        features: names of the columns; by default those of ``held_out``, or of what it was fitted to.

    Returns:
        The folder, for ``client.models.add_version(NAME, folder)``.
    """
    skl2onnx = need("skl2onnx", "Exporting a model of scikit-learn")
    types = need("skl2onnx.common.data_types", "Exporting a model of scikit-learn")
    _with_xgboost()
    own = texts(getattr(model, "classes_", ()))
    scored = bool(own) and hasattr(model, "predict_proba")
    mixed = is_mixed(held_out)
    inputs = inputs_of(held_out) if mixed else {INPUT: tensor_of(held_out)}
    initial = [(key, _type(types, array)) for key, array in inputs.items()]
    options = {"zipmap": False} if scored else None
    with converting(type(model).__name__):
        made = skl2onnx.convert_sklearn(model, initial_types=initial, options=options, target_opset=_OPSETS)
    outputs = [output.name for output in made.graph.output]
    keep_output(made, outputs[1] if scored else outputs[0], SCORES if scored else "prediction")
    described = Described(
        name,
        tuple(texts(classes) or own),
        positive,
        tuple(features)
        or tuple(columns_of(held_out))
        or tuple(texts(getattr(model, "feature_names_in_", ()))),
        tuple(own),
    )
    given = held_out if mixed or columns_of(held_out) else np.asarray(inputs[INPUT], np.float64)

    def expected() -> Array:
        return np.asarray(model.predict_proba(given) if scored else model.predict(given))

    return write(made, folder, described, inputs, labels, expected)


def _type(types: Any, array: Array) -> Any:
    text = array.dtype.kind == "O"
    return (types.StringTensorType if text else types.FloatTensorType)([None, array.shape[1]])


def _with_xgboost() -> None:
    """Let a pipeline end in an estimator of XGBoost, where that is imported."""
    if "xgboost" not in sys.modules or importlib.util.find_spec("onnxmltools") is None:
        return
    xgboost = sys.modules["xgboost"]
    skl2onnx = need("skl2onnx", "Exporting a pipeline with XGBoost")
    shapes = need("skl2onnx.common.shape_calculator", "Exporting a pipeline with XGBoost")
    convert = need(
        "onnxmltools.convert.xgboost.operator_converters.XGBoost", "Exporting a pipeline with XGBoost"
    ).convert_xgboost
    for kind, called, shape in (
        ("XGBClassifier", "XGBoostXGBClassifier", shapes.calculate_linear_classifier_output_shapes),
        ("XGBRegressor", "XGBoostXGBRegressor", shapes.calculate_linear_regressor_output_shapes),
    ):
        options = (
            {"nocl": [True, False], "zipmap": [True, False, "columns"]} if "Classifier" in kind else None
        )
        skl2onnx.update_registered_converter(getattr(xgboost, kind), called, shape, convert, options=options)
