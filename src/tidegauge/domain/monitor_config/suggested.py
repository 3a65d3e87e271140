"""What a new monitor is told to do, as far as its model tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tidegauge.domain.monitor_config import DriftConfig, ImageShape, MonitorConfig, TrainData

_IMAGE_DIMENSIONS = 4  # of a batch: number, height, width and channels
_CHANNELS = (1, 3)


def suggest(model: Mapping[str, Any]) -> MonitorConfig:
    """Return a configuration from what a model version says of itself; anything else has its default.

    >>> said = {"classes": ["a", "b"], "inputs": [{"shape": [-1, 200, 100, 1]}]}
    >>> suggest(said).drift.image
    ImageShape(height=200, width=100, channels=1, channel_order='channels_last')
    >>> suggest({"features": ["age"], "inputs": [{"shape": [-1, 1]}]}).input_data_type
    'tabular'
    """
    image = _image(model)
    is_table = image is None and bool(model.get("features") or input_shape(model))
    return MonitorConfig(
        model_type="classification" if model.get("classes") or not input_shape(model) else "regression",
        input_data_type="tabular" if is_table else "image",
        drift=DriftConfig(image=image, train_data=_train_data(model)),
    )


def input_shape(model: Mapping[str, Any]) -> list[int]:
    """Return the shape of the first input of a model, -1 for any size; empty where it is not told."""
    inputs = model.get("inputs")
    first = inputs[0] if isinstance(inputs, Sequence) and inputs else None
    shape = first.get("shape") if isinstance(first, Mapping) else None
    known = isinstance(shape, Sequence) and all(isinstance(size, int) for size in shape)
    return list(shape) if known and shape is not None else []


def _image(model: Mapping[str, Any]) -> ImageShape | None:
    shape = input_shape(model)
    if len(shape) != _IMAGE_DIMENSIONS or min(shape[1:]) < 1:
        return None
    _, first, middle, last = shape
    if last in _CHANNELS:
        return ImageShape(first, middle, last, "channels_last")
    order: Literal["channels_first"] = "channels_first"
    return ImageShape(middle, last, first, order) if first in _CHANNELS else None


def _train_data(model: Mapping[str, Any]) -> TrainData | None:
    """Return the Dataset version that a pipeline run has trained on."""
    lineage = model.get("lineage")
    dataset = lineage.get("dataset") if isinstance(lineage, Mapping) else None
    if not isinstance(dataset, Mapping):
        return None
    name, version = dataset.get("name"), dataset.get("version")
    return TrainData(name, version) if isinstance(name, str) and isinstance(version, int) else None
