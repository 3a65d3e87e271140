"""Encoders: what a model makes of images, from an ONNX file, as `tidegauge.stats` takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.errors import InvalidInputError
from tidegauge.serving.model import Model, TensorSpec, load_model

_CHUNK = 64
_VECTORS = 2  # dimensions of an output that holds one vector an image


def onnx_encoder(
    folder: Path, output: str | None = None
) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]:
    """Return a function from images, uint8 ``[n, h, w, c]``, to vectors ``[n, d]``.

    ``output`` names the output to take. Without it a model that exposes its penultimate layer gives that: the
    widest of its outputs that hold a vector an image; with a single output that is what it predicts. Raises
    InvalidInputError for a model with several inputs, or without such an output.
    """
    model = load_model(folder, None, None)
    if len(model.inputs) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise InvalidInputError(f"The model takes {names}; an encoder takes images alone. Export one input.")
    source, chosen = model.inputs[0], _choose(model, output)

    def encode(images: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        chunks = [images[start : start + _CHUNK] for start in range(0, max(1, len(images)), _CHUNK)]
        found = [model.run({source.name: chunk.astype(source.dtype)})[chosen.name] for chunk in chunks]
        return np.concatenate(found)

    return encode


def _choose(model: Model, output: str | None) -> TensorSpec:
    vectors = [spec for spec in model.outputs if len(spec.shape) == _VECTORS and spec.datatype != "BYTES"]
    if output is not None:
        vectors = [spec for spec in vectors if spec.name == output]
    if not vectors:
        names = ", ".join(spec.name for spec in model.outputs)
        wanted = f"no output {output!r} that holds" if output else "no output that holds"
        raise InvalidInputError(f"The model has {wanted} one vector an image; its outputs are {names}.")
    return max(vectors, key=lambda spec: spec.shape[1] or 0)
