"""Models of XGBoost, by onnxmltools."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegauge.errors import InvalidInputError
from tidegauge.export.folder import Described, write
from tidegauge.export.from_sklearn import INPUT, SCORES
from tidegauge.export.graph import keep_output
from tidegauge.export.needs import converting, need
from tidegauge.export.rows import Array, columns_of, tensor_of, texts

_WHY = "Exporting a model of XGBoost"
_CLASSES = {"binary:logistic": 2, "multi:softprob": 0}  # what a booster learned, and of how many; 0: it says


def from_xgboost(
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
    """Export an ``XGBClassifier``, an ``XGBRegressor`` or a ``Booster``.

    It takes one tensor of numbers, its columns in the order of ``features``. Features that XGBoost itself
    takes as categories cannot be exported: encode them before.

    Args:
        model: the fitted model.
        folder: where to; new, empty, or that of an earlier export.
        held_out: rows that it was not trained on, an array or a table: the export must answer them as the
            model does, and later predictions are compared with its answers.
        labels: the truth of these rows; accuracy is then estimated before labels come.
        classes: names of its classes, in the order of the numbers that it was trained with.
        name: of the model; by default that of the folder.
        positive: class that precision and recall speak of; of two classes by default the second.
        features: names of the columns; by default those of ``held_out``, or of what it was fitted to.

    Returns:
        The folder, for ``client.models.add_version(NAME, folder)``.
    """
    xgboost = need("xgboost", _WHY)
    onnxmltools = need("onnxmltools", _WHY)
    types = need("onnxmltools.convert.common.data_types", _WHY)
    booster = model if isinstance(model, xgboost.Booster) else model.get_booster()
    own = _own_classes(model, booster)
    rows = tensor_of(held_out)
    with _unnamed(booster) as names:
        with converting("This model of XGBoost"):
            made = onnxmltools.convert_xgboost(
                model, initial_types=[(INPUT, types.FloatTensorType([None, rows.shape[1]]))]
            )
        answered = booster.inplace_predict(rows)
    outputs = [output.name for output in made.graph.output]
    keep_output(made, outputs[-1], SCORES if own else "prediction")
    described = Described(
        name,
        tuple(texts(classes) or own),
        positive,
        tuple(features) or tuple(columns_of(held_out)) or tuple(names),
        tuple(own),
    )

    def expected() -> Array:
        found = np.asarray(answered, np.float64)
        return np.column_stack([1 - found, found]) if own and found.ndim == 1 else found

    return write(made, folder, described, {INPUT: rows}, labels, expected)


def _own_classes(model: Any, booster: Any) -> list[str]:
    """Return what the model calls its classes; none for a regression."""
    if hasattr(model, "predict_proba"):
        return texts(model.classes_)
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    if objective.startswith(("binary:", "multi:")) and objective not in _CLASSES:
        raise InvalidInputError.of(
            "model",
            f"The objective is {objective!r}, which gives no probabilities; use {' or '.join(_CLASSES)}.",
        )
    count = _CLASSES.get(objective)
    if count is None:
        return []
    return [str(place) for place in range(count or int(learner["learner_model_param"]["num_class"]))]


@contextlib.contextmanager
def _unnamed(booster: Any) -> Iterator[list[str]]:
    """Take the names of the features off for a while: the converter knows f0, f1, ... alone."""
    names, kinds = booster.feature_names, booster.feature_types
    if "c" in (kinds or ()):
        raise InvalidInputError.of(
            "model",
            "The model takes categories as XGBoost's own, which cannot be exported; encode them before.",
        )
    booster.feature_names = booster.feature_types = None
    try:
        yield names or []
    finally:
        booster.feature_names, booster.feature_types = names, kinds
