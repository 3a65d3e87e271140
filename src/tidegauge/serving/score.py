"""``python -m tidegauge.serving.score``: what a model answers to many images, in a process of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tidegauge.domain.labels import label_text
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.serving.model import Model, load_model
from tidegauge.serving.parent import watch_parent

_BATCH = 32


@dataclass(frozen=True)
class ScoreOptions:
    """``images`` is an array uint8 ``[n, height, width, channels]``; ``output`` gets a class a line.

    ``channels_first`` and ``unit`` (grey levels from 0 to 1) say how the model's clients send images, and
    ``classes`` what its scores stand for where model.json does not.
    """

    model_dir: Path
    images: Path
    output: Path
    channels_first: bool = False
    unit: bool = False
    classes: tuple[str, ...] = ()
    parent_pid: int | None = None


def score(options: ScoreOptions) -> list[str]:
    """Return the class that the model gives to each image; InvalidInputError where it takes or gives none."""
    model = load_model(options.model_dir, None, None)
    if len(model.inputs) != 1 or model.inputs[0].datatype not in ("FP32", "FP64", "FP16", "UINT8"):
        raise InvalidInputError.of(
            "inputs", "The model does not take one tensor of numbers; only such models can be compared."
        )
    images = np.load(options.images, mmap_mode="r", allow_pickle=False)
    one_by_one = model.inputs[0].shape[:1] == (1,)
    size = 1 if one_by_one else _BATCH
    found: list[str] = []
    for start in range(0, len(images), size):
        found += _classes(model, np.asarray(images[start : start + size]), options)
        print(f"{len(found)} of {len(images)}", flush=True)  # noqa: T201 - the service reads the last line
    return found


def _classes(model: Model, images: npt.NDArray[np.uint8], options: ScoreOptions) -> list[str]:
    spec = model.inputs[0]
    tensor = np.moveaxis(images, -1, 1) if options.channels_first else images
    if len(spec.shape) == 3 and images.shape[-1] == 1:
        tensor = images[..., 0]
    values = tensor.astype(spec.dtype)
    if options.unit:
        values = values / spec.dtype.type(255)
    for output in model.run({spec.name: values}).values():
        if output.ndim == 2 and output.dtype.kind == "f" and output.shape[1] >= 2:
            if np.isnan(output).any():
                raise InvalidInputError.of("outputs", "The model answers some images with NaN.")
            names = model.classes or options.classes
            if names and len(names) != output.shape[1]:
                raise InvalidInputError.of(
                    "classes",
                    f"The model has {len(names)} classes, but answers with {output.shape[1]} scores.",
                )
            best = output.argmax(axis=1).tolist()
            return [label_text(names[place]) if names else str(place) for place in best]
    raise InvalidInputError.of("outputs", "No output of the model has a score for each of its classes.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Score and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tidegauge.serving.score", description=__doc__)
    parser.add_argument("--model-dir", type=Path, required=True, help="folder with model.onnx")
    parser.add_argument("--images", type=Path, required=True, help=".npy of uint8 images")
    parser.add_argument("--output", type=Path, required=True, help="text file to write, a class a line")
    parser.add_argument("--channels-first", action="store_true")
    parser.add_argument("--unit", action="store_true", help="divide grey levels by 255")
    parser.add_argument("--classes", nargs="*", default=(), help="for a model without them in model.json")
    parser.add_argument("--parent-pid", type=int, help="end when this process ends")
    options = ScoreOptions(**vars(parser.parse_args(arguments)))
    if options.parent_pid is not None:
        watch_parent(options.parent_pid, lambda: os._exit(1))
    try:
        found = score(options)
    except TidegaugeError as error:
        print(error.message, flush=True)  # noqa: T201 - the service shows the last line
        return 1
    whole = options.output.with_suffix(".part")
    whole.write_text("".join(f"{name}\n" for name in found))
    whole.replace(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
