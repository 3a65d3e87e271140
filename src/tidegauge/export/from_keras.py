"""Models of Keras 3, by its own export."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegauge.errors import InvalidInputError
from tidegauge.export.folder import Described, write
from tidegauge.export.graph import as_shares, keep_output
from tidegauge.export.needs import converting, need
from tidegauge.export.rows import columns_of, shares, tensor_of, texts

_WHY = "Exporting a model of Keras"


def from_keras(
    model: Any,
    folder: str | Path,
    held_out: Any,
    labels: Sequence[Any] | None = None,
    *,
    classes: Sequence[Any] = (),
    logits: bool = False,
    name: str = "",
    positive: str = "",
    features: Sequence[str] = (),
) -> Path:
    """Export a model of Keras 3 that has one input and one output.

    Args:
        model: the ``keras.Model``.
        folder: where to; new, empty, or that of an earlier export.
        held_out: rows that it was not trained on, ``[n, ...]``: the export must answer them as the model
            does, and later predictions are compared with its answers.
        labels: the truth of these rows, as indices or names; accuracy is then estimated before labels come.
        classes: names of its answers, in the order of the scores; none for a regression.
        logits: its scores come before the softmax (of one score: the sigmoid), which is put behind them.
        name: of the model; by default that of the folder.
        positive: class that precision and recall speak of; of two classes by default the second.
        features: names of the columns, of a model that takes rows of a table.

    Returns:
        The folder, for ``client.models.add_version(NAME, folder)``.
    """
    onnx = need("onnx", _WHY)
    keras = need("keras", _WHY)
    need("tf2onnx" if keras.backend.backend() == "tensorflow" else "onnxscript", _WHY)
    rows = tensor_of(held_out)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidInputError.of(
            "model",
            f"The model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one of each can be "
            "exported so. Export it with model.export(FILE, format='onnx'), then tidegauge.export.from_onnx.",
        )
    with tempfile.TemporaryDirectory() as scratch:
        file = str(Path(scratch, "model.onnx"))
        with converting(type(model).__name__):
            model.export(file, format="onnx", verbose=False)
        made = onnx.load(file)
    keep_output(made, made.graph.output[0].name, "output_1")  # the exporter calls it Identity:0
    scores = np.asarray(model.predict(rows, batch_size=32, verbose=0), np.float64)
    if classes and (logits or scores.shape[1:] == (1,)):
        as_shares(made, scores.shape[1], activated=not logits)
        scores = shares(scores, activated=not logits)
    described = Described(
        name, tuple(texts(classes)), positive, tuple(features) or tuple(columns_of(held_out))
    )
    return write(made, folder, described, {made.graph.input[0].name: rows}, labels, lambda: scores)
