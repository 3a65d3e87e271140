"""A model that is ONNX already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegauge.domain.onnx_file import check_onnx
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.export.folder import Described, write
from tidegauge.export.graph import as_shares, keep_output
from tidegauge.export.needs import need
from tidegauge.export.rows import Array, columns_of, inputs_of, tensor_of, texts

_WHY = "Reading an ONNX model"


def from_onnx(
    model: str | Path | Any,
    folder: str | Path,
    held_out: Any = None,
    labels: Sequence[Any] | None = None,
    *,
    classes: Sequence[Any] = (),
    logits: bool = False,
    output: str = "",
    name: str = "",
    positive: str = "",
    features: Sequence[str] = (),
) -> Path:
    """Write the folder of a model that is ONNX already.

    Args:
        model: an ONNX file, or an ``onnx.ModelProto``.
        folder: where to; new, empty, or that of an earlier export.
        held_out: rows that it was not trained on: an array, or a table of its inputs. What it answers to them
            is what predictions are compared with later; without them that is unknown.
        labels: the truth of these rows; accuracy is then estimated before labels come.
        classes: names of its answers, in the order of the scores; none for a regression.
        logits: its scores come before the softmax, which is put behind them.
        output: which of several outputs is the answer; by default the first of scores for each class.
        name: of the model; by default that of the folder.
        positive: class that precision and recall speak of; of two classes by default the second.
        features: names of the columns that it takes, in their order; by default those of ``held_out``.

    Returns:
        The folder, for ``client.models.add_version(NAME, folder)``.
    """
    onnx = need("onnx", _WHY)
    if isinstance(model, str | Path):
        if not Path(model).is_file():
            raise NotFoundError(f"There is no file {str(model)!r}; give an ONNX file.")
        check_onnx(Path(model))
        model = onnx.load(str(model))
    graph = model.graph
    keep_output(model, _answer(graph, output, len(classes)))
    if logits:
        as_shares(model, graph.output[0].type.tensor_type.shape.dim[-1].dim_value or len(classes))
    named = [given.name for given in graph.input if given.name not in {i.name for i in graph.initializer}]
    described = Described(
        name, tuple(texts(classes)), positive, tuple(features) or tuple(columns_of(held_out))
    )
    return write(model, folder, described, _inputs(named, held_out), labels)


def _inputs(named: Sequence[str], held_out: Any) -> dict[str, Array] | None:
    if held_out is None:
        return None
    if len(named) == 1:
        return {named[0]: tensor_of(held_out)}
    found = inputs_of(held_out)
    missing = [name for name in named if name not in found]
    if missing:
        raise InvalidInputError.of(
            "held_out", f"held_out has no column {missing[0]!r}; the model takes {', '.join(named)}."
        )
    return {name: found[name] for name in named}


def _answer(graph: Any, wanted: str, classes: int) -> str:
    """Return the output that is the answer."""
    outputs = {output.name: output.type for output in graph.output}
    if wanted and wanted not in outputs:
        raise InvalidInputError.of("output", f"output is {wanted!r}; the model has {', '.join(outputs)}.")
    if wanted or len(outputs) == 1:
        return wanted or next(iter(outputs))
    for name, kind in outputs.items():
        shape = kind.tensor_type.shape.dim
        if classes and kind.HasField("tensor_type") and len(shape) == 2 and shape[1].dim_value == classes:
            return str(name)
    raise InvalidInputError.of(
        "output",
        f"The model has the outputs {', '.join(outputs)}; say by output which of them is its answer.",
    )
