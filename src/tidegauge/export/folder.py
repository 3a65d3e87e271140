"""The folder of a model: what is in it, and whether it answers as the model does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidegauge.domain.labels import label_text
from tidegauge.errors import InvalidInputError
from tidegauge.export.needs import need
from tidegauge.export.rows import Array, batched, texts
from tidegauge.serving.model import DESCRIPTION_FILE, MODEL_FILE, Model, load_model

REFERENCE_FILE = "reference.parquet"
_FILES = frozenset({MODEL_FILE, DESCRIPTION_FILE, REFERENCE_FILE})
_AT_ONCE = 32  # rows
_TOLERANCE = 1e-3  # of a probability, or of the spread of numbers
_STRAY = 0.01  # of the rows: float32 moves a few across a split of a tree


@dataclass(frozen=True)
class Described:
    """What is said of a model: ``classes`` in the order of the scores (none: a regression).

    ``own`` are the values by which the model itself calls them, where labels come in these.
    """

    name: str = ""
    classes: tuple[str, ...] = ()
    positive: str = ""
    features: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InvalidInputError for what contradicts itself."""
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise InvalidInputError.of(
                "classes",
                f"classes is {list(self.classes)}; give at least two, each once, in the order of the scores.",
            )
        if self.positive and self.positive not in self.classes:
            raise InvalidInputError.of(
                "positive",
                f"positive is {self.positive!r}; it must be one of "
                f"{', '.join(self.classes) or 'no classes'}.",
            )
        if self.own and len(self.own) != len(self.classes):
            raise InvalidInputError.of(
                "classes",
                f"classes has {len(self.classes)} names, but the model has {len(self.own)} classes "
                f"({', '.join(self.own)}).",
            )


def write(
    onnx_model: Any,
    folder: str | Path,
    described: Described,
    inputs: Mapping[str, Array] | None,
    labels: Sequence[Any] | None = None,
    expected: Callable[[], Array] | None = None,
) -> Path:
    """Write a model's folder.

    Args:
        onnx_model: an ``onnx.ModelProto``.
        folder: where to; it must be new, empty, or that of an earlier export.
        described: what is said of the model.
        inputs: rows that were held out, by the names of the inputs.
        labels: the truth of these rows.
        expected: what the model itself answers to them.

    Returns:
        The folder.

    Raises:
        InvalidInputError: where the export cannot be served, or answers otherwise than the model.
    """
    described.check()
    if labels is not None and inputs is None:
        raise InvalidInputError.of(
            "labels", "labels are given without held_out; give the rows that they belong to."
        )
    target = _target(folder)
    need("onnx", "Writing a model").save(onnx_model, target / MODEL_FILE)
    try:
        model = load_model(target, described.name or target.name, None)
        answers = None if inputs is None else _answers(model, inputs, described.classes)
        if answers is not None and expected is not None:
            _compare(answers, expected(), described.classes)
        if answers is not None:
            _reference(answers, labels, described).write_parquet(target / REFERENCE_FILE)
        (target / DESCRIPTION_FILE).write_text(json.dumps(_description(model, described), indent=2) + "\n")
    except BaseException:
        for name in _FILES:
            (target / name).unlink(missing_ok=True)
        raise
    return target


def _target(folder: str | Path) -> Path:
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise InvalidInputError.of("folder", f"folder is {str(target)!r}, which is a file; give a folder.")
    others = (
        sorted(path.name for path in target.iterdir() if path.name not in _FILES) if target.is_dir() else []
    )
    if others:
        raise InvalidInputError.of(
            "folder",
            f"folder is {str(target)!r}, which holds other files ({others[0]}); give a new or an empty one.",
        )
    target.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        (target / name).unlink(missing_ok=True)
    return target


def _answers(model: Model, inputs: Mapping[str, Array], classes: Sequence[str]) -> Array:
    """Return the answers: scores ``[n, classes]``, names of classes ``[n]``, or numbers ``[n]``."""
    parts = [next(iter(model.run(part).values())) for part in batched(inputs, _AT_ONCE)]
    found = np.concatenate(parts)
    rows = len(next(iter(inputs.values())))
    if len(found) != rows:
        raise InvalidInputError.of(
            "model",
            f"The model answers {len(found)} rows where it is asked about {rows}; let it keep the batch.",
        )
    if classes and found.dtype.kind == "f" and (found.ndim != 2 or found.shape[1] != len(classes)):
        raise InvalidInputError.of(
            "classes",
            f"The model answers {list(found.shape)}; it must answer a score for each of "
            f"{len(classes)} classes.",
        )
    if classes and found.dtype.kind == "f" and not _are_shares(found):
        raise InvalidInputError.of(
            "logits",
            "The scores of the model do not add up to 1; say logits=True where they come before the softmax.",
        )
    if not classes and found.size != len(found):
        raise InvalidInputError.of(
            "classes",
            f"The model answers {list(found.shape)}; give its classes, or let it answer one number a row.",
        )
    return found if classes and found.dtype.kind == "f" else found.reshape(-1)


def _are_shares(scores: Array) -> bool:
    return bool((scores >= -_TOLERANCE).all() and np.allclose(scores.sum(1), 1, atol=0.01))


def _compare(answers: Array, expected: Array, classes: Sequence[str]) -> None:
    """Raise InvalidInputError where the export answers otherwise than the model."""
    if answers.dtype.kind == "f":
        wanted = np.asarray(expected, np.float64).reshape(answers.shape)
        unit = 1.0 if classes else max(float(np.std(wanted)), float(np.abs(wanted).max()) * 1e-3, 1e-6)
        off = np.abs(answers - wanted).reshape(len(answers), -1).max(1) > _TOLERANCE * unit
    else:
        off = np.array([label_text(value) for value in answers]) != np.array(
            [label_text(value) for value in texts(list(expected))]
        )
    if off.sum() > max(1, _STRAY * len(off)) or off.all():
        place = int(off.argmax())
        raise InvalidInputError.of(
            "model",
            f"The exported model answers otherwise than the model in {off.sum()} of {len(off)} rows, "
            f"first in row "
            f"{place} ({np.asarray(answers)[place].tolist()} in place of "
            f"{np.asarray(expected)[place].tolist()}): "
            "this model cannot be exported so.",
        )


def _reference(answers: Array, labels: Sequence[Any] | None, described: Described) -> pl.DataFrame:
    classes = described.classes
    if not classes:
        columns: dict[str, Any] = {"output": answers.astype(np.float64)}
    elif answers.dtype.kind == "f":
        columns = {"output": [classes[place] for place in answers.argmax(1)]}
        columns |= {f"p_{name}": answers[:, place].astype(np.float64) for place, name in enumerate(classes)}
    else:
        columns = {"output": _named(texts(list(answers)), described, "model")}
    if labels is not None:
        given = texts(list(labels))
        if len(given) != len(answers):
            raise InvalidInputError.of(
                "labels", f"labels has {len(given)} values, and held_out {len(answers)} rows."
            )
        columns["label"] = (
            _named(given, described, "labels") if classes else [float(value) for value in given]
        )
    return pl.DataFrame(columns)


def _named(values: Sequence[str], described: Described, field: str) -> list[str]:
    """Return values as names of classes, also those that the model itself calls otherwise."""
    own = described.own or tuple(str(place) for place in range(len(described.classes)))
    names = {label_text(mine): name for mine, name in zip(own, described.classes, strict=True)}
    names |= {label_text(name): name for name in described.classes}
    wrong = next((value for value in values if label_text(value) not in names), None)
    if wrong is not None:
        raise InvalidInputError.of(
            field, f"{field} has {wrong!r}, which is none of the classes {', '.join(described.classes)}."
        )
    return [names[label_text(value)] for value in values]


def _description(model: Model, described: Described) -> dict[str, Any]:
    classes = described.classes
    said: dict[str, Any] = {"name": model.name, "classes": list(classes) or None}
    said["positive"] = described.positive or (classes[1] if len(classes) == 2 else None)
    said["features"] = list(described.features) or None
    said["inputs"] = [_told(spec) for spec in model.inputs]
    said["outputs"] = [_told(spec) for spec in model.outputs]
    return {key: value for key, value in said.items() if value is not None}


def _told(spec: Any) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.open_shape}
