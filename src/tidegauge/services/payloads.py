"""Payloads of logged events: the images that were asked about, and the scores that were answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.events import Event
from tidegauge.domain.inference import decode_event
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.errors import InvalidInputError

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]


def decode_images(request: Event, shape: ImageShape) -> Image:
    """Return the images of a request, uint8 ``[n, h, w, c]``; InvalidInputError where it has none."""
    return _images(decode_event(request), shape)


def decode_scores(response: Event, classes: int) -> npt.NDArray[np.float32]:
    """Return the scores of a response ``[n, classes]``; with 0 classes any number of them will do."""
    return _scores(decode_event(response), classes)


def _images(tensors: dict[str, Array], shape: ImageShape) -> Image:
    """Find the image tensor: uint8 ``[n, h, w, c]``."""
    size = (shape.height, shape.width, shape.channels)
    for tensor in tensors.values():
        array = tensor
        if array.ndim == 3 and shape.channels == 1:
            array = array[..., np.newaxis]
        elif array.ndim == 4 and shape.channel_order == "channels_first":
            array = np.moveaxis(array, 1, -1)
        if array.ndim == 4 and array.shape[1:] == size:
            return _to_uint8(array)
    found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    raise InvalidInputError(f"No input has images of {size[0]}x{size[1]}x{size[2]}; it has {found}.")


def _to_uint8(array: Array) -> Image:
    with np.errstate(invalid="ignore"):
        whole = np.asarray(array, np.uint8)
    if (whole == array).all():
        return whole
    values = np.asarray(array, np.float64)
    if values.size and values.min() >= 0 and values.max() <= 1 and not np.all(values == np.rint(values)):
        values = values * 255  # scaled to [0, 1] by the client
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _scores(tensors: dict[str, Array], classes: int) -> npt.NDArray[np.float32]:
    for tensor in tensors.values():
        wide = tensor.ndim == 2 and tensor.dtype.kind == "f" and tensor.shape[1] >= 2
        if wide and classes in (0, tensor.shape[1]):
            return np.asarray(tensor, np.float32)
    found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    raise InvalidInputError(f"No output has a score for each of {classes} classes; it has {found}.")
