"""Models of MLflow, by their URI."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tidegauge.errors import InvalidInputError, NotFoundError, UnavailableError
from tidegauge.export.from_keras import from_keras
from tidegauge.export.from_onnx import from_onnx
from tidegauge.export.from_sklearn import from_sklearn
from tidegauge.export.from_torch import from_torch
from tidegauge.export.from_xgboost import from_xgboost
from tidegauge.export.needs import in_a_line, need

_WHY = "Reading a model of MLflow"
_CALLS = {
    "sklearn": from_sklearn,
    "xgboost": from_xgboost,
    "pytorch": from_torch,
    "keras": from_keras,
    "tensorflow": from_keras,  # a model of Keras, as MLflow logs it with TensorFlow's backend
}


def from_mlflow(
    uri: str | Path,
    folder: str | Path,
    held_out: Any = None,
    labels: Sequence[Any] | None = None,
    *,
    classes: Sequence[Any] = (),
    name: str = "",
    positive: str = "",
    features: Sequence[str] = (),
    **more: Any,
) -> Path:
    """Export a model of MLflow of the flavour onnx, sklearn, xgboost, pytorch, keras or tensorflow.

    One of the flavour onnx is taken as it is. Any other is loaded here, which runs what is pickled in it:
    take models of people whom you would let run programs on this machine.

    Args:
        uri: ``models:/NAME/VERSION``, ``runs:/RUN/PATH``, ``s3://...``, or a folder; of the tracking server
            that ``MLFLOW_TRACKING_URI`` names.
        folder: where to; new, empty, or that of an earlier export.
        held_out: rows that it was not trained on; by default the example that was logged with the model.
        labels: the truth of these rows; accuracy is then estimated before labels come.
        classes: names of its answers, in the order of the scores; none for a regression.
        name: of the model; by default that of the folder.
        positive: class that precision and recall speak of; of two classes by default the second.
        features: names of the columns; by default those of the signature that was logged.
        **more: of the call for its library, such as ``logits``.

    Returns:
        The folder, for ``client.models.add_version(NAME, folder)``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = _fetched(str(uri), scratch)
        said = _read(place)
        flavours = said.get("flavors") or {}
        wanted = {"classes": classes, "name": name, "positive": positive, **more}
        wanted["features"] = tuple(features) or _features(said)
        rows = _example(place, said) if held_out is None else held_out
        if "onnx" in flavours:
            return from_onnx(
                place / str(flavours["onnx"].get("data", "model.onnx")), folder, rows, labels, **wanted
            )
        flavour = next((each for each in _CALLS if each in flavours), None)
        if flavour is None:
            raise InvalidInputError.of(
                "uri",
                f"The model has the flavours {', '.join(flavours) or 'none'}; one of onnx, "
                f"{', '.join(_CALLS)} "
                "can be exported.",
            )
        if rows is None:
            raise InvalidInputError.of(
                "held_out",
                "The model was logged without an example of its input; give held_out, rows that it "
                "is asked of.",
            )
        return _CALLS[flavour](_loaded(flavour, place), folder, rows, labels, **wanted)


def _loaded(flavour: str, place: Path) -> Any:
    """Load a model, which runs what is pickled in it."""
    library = need(f"mlflow.{flavour}", _WHY)
    try:
        return library.load_model(str(place))
    except ModuleNotFoundError as error:  # of what the model is made of, or how it was saved (skops)
        raise UnavailableError(
            f"Loading the model needs the package {error.name}: pip install {error.name}"
        ) from error


def _fetched(uri: str, scratch: str) -> Path:
    """Return the folder of a model, brought here where it is elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme in ("", "file") or len(parts.scheme) == 1:  # a drive of Windows
        return Path(unquote(parts.path) if parts.scheme == "file" else uri)
    artifacts = need("mlflow.artifacts", _WHY)
    try:
        return Path(artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch))
    except Exception as error:
        raise UnavailableError(f"MLflow does not give {uri!r}: {in_a_line(error)}") from error


def _read(place: Path) -> Mapping[str, Any]:
    file = place / "MLmodel"
    if not file.is_file():
        raise NotFoundError(f"There is no model of MLflow in {str(place)!r}: it has no file MLmodel.")
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(said, dict):
        raise InvalidInputError.of("uri", f"{file} is no description of a model.")
    return said


def _features(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the columns of the signature, where it has columns with names."""
    inputs = json.loads((said.get("signature") or {}).get("inputs") or "[]")
    names = [column.get("name") for column in inputs if column.get("type") != "tensor"]
    return tuple(names) if all(names) else ()


def _example(place: Path, said: Mapping[str, Any]) -> Any:
    """Return the example of the input that was logged; None where there is none that is understood."""
    known = said.get("saved_input_example_info") or {}
    file = place / str(known.get("artifact_path", ""))
    if not known or not file.is_file():
        return None
    example = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(example, dict) and "inputs" in example:
        return example["inputs"]
    if not isinstance(example, dict) or "data" not in example:
        return None
    if not known.get("pandas_orient"):
        return example["data"]
    polars = importlib.import_module("polars")
    return polars.DataFrame(example["data"], schema=[str(name) for name in example["columns"]], orient="row")
