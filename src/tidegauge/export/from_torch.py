"""Modules of PyTorch, by torch.onnx."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegauge.errors import InvalidInputError
from tidegauge.export.folder import Described, write
from tidegauge.export.graph import as_shares
from tidegauge.export.needs import need
from tidegauge.export.rows import Array, columns_of, shares, tensor_of, texts

INPUT, OUTPUT = "input_1", "output_1"
_WHY = "Exporting a module of PyTorch"


def from_torch(
    model: Any,
    folder: str | Path,
    held_out: Any,
    labels: Sequence[Any] | None = None,
    *,
    classes: Sequence[Any] = (),
    logits: bool = True,
    name: str = "",
    positive: str = "",
    features: Sequence[str] = (),
) -> Path:
    """Export a ``torch.nn.Module`` that takes one tensor and answers with one.

    Args:
        model: the module; it is set to evaluation for the export.
        folder: where to; new, empty, or that of an earlier export.
        held_out: rows that it was not trained on, ``[n, ...]``, as the module takes them: the export must
            answer them as the module does, and later predictions are compared with its answers. At least two.
        labels: the truth of these rows, as indices or names; accuracy is then estimated before labels come.
        classes: names of its answers, in the order of the scores; none for a regression.
        logits: its scores come before the softmax (of one score: the sigmoid), which is put behind them.
        name: of the model; by default that of the folder.
        positive: class that precision and recall speak of; of two classes by default the second.
        features: names of the columns, of a module that takes rows of a table.

    Returns:
        The folder, for ``client.models.add_version(NAME, folder)``.
    """
    torch = need("torch", _WHY)
    need("onnxscript", _WHY)
    rows = tensor_of(held_out)
    if len(rows) < 2:
        raise InvalidInputError.of(
            "held_out", "held_out has one row; give two or more, so that the batch stays free."
        )
    was_training = model.training
    model.train(False)  # for the export; as model.eval() does
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    # The exporter takes a batch of 1 for a fixed one.
    example = torch.from_numpy(rows[:2]).to(device)
    try:
        with torch.no_grad(), Path(os.devnull).open("w") as quiet, contextlib.redirect_stdout(quiet):
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                verbose=False,
            )
            scores = _answers(torch, model, rows, device)
    except Exception as error:
        raise InvalidInputError.of(
            "model", f"{type(model).__name__} cannot be exported: {_first_line(error)}"
        ) from error
    finally:
        model.train(was_training)
    made = program.model_proto
    for node in made.graph.node:
        del node.metadata_props[:]  # where in the source of the module it stands
    if classes and (logits or scores.shape[1:] == (1,)):
        as_shares(made, scores.shape[1], activated=not logits)
        scores = shares(scores, activated=not logits)
    described = Described(
        name, tuple(texts(classes)), positive, tuple(features) or tuple(columns_of(held_out))
    )
    return write(made, folder, described, {INPUT: rows}, labels, lambda: scores)


def _answers(torch: Any, model: Any, rows: Array, device: Any) -> Array:
    parts = [
        model(torch.from_numpy(rows[start : start + 32]).to(device)) for start in range(0, len(rows), 32)
    ]
    return np.asarray(torch.cat(parts).cpu().numpy(), np.float64)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :300
    ]
