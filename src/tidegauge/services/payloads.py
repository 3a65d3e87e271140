"""Payloads of logged events: the images that were asked about, and the scores that were answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.events import Event
from tidegauge.domain.images import decode_batch, is_picture
from tidegauge.domain.inference import UNNAMED, decode_event
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.errors import InvalidInputError

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]


def decode_images(request: Event, shape: ImageShape) -> Image:
    """Return the images of a request, uint8 ``[n, h, w, c]``; InvalidInputError where it has none."""
    return _images(_inputs(request), shape)


def decode_scores(response: Event, classes: int) -> npt.NDArray[np.float32]:
    """Return the scores of a response ``[n, classes]``; with 0 classes any number of them will do."""
    return _scores(decode_event(response), classes)


def is_unit(request: Event, shape: ImageShape) -> bool:
    """Tell whether a client sends grey levels from 0 to 1; InvalidInputError where there are no images."""
    return _is_unit(np.asarray(_tensor(_inputs(request), shape), np.float64))


def _inputs(request: Event) -> dict[str, Array]:
    """Return the tensors of a request; a picture that was sent as it is, is one of a single image."""
    if is_picture(request.data):
        return {UNNAMED: np.array([request.data], object)}
    return decode_event(request)


def _images(tensors: dict[str, Array], shape: ImageShape) -> Image:
    return _to_uint8(_tensor(tensors, shape))


def _tensor(tensors: dict[str, Array], shape: ImageShape) -> Array:
    """Find the image tensor, ``[n, h, w, c]``, or the encoded pictures, ``[n]`` or ``[n, 1]``."""
    size = (shape.height, shape.width, shape.channels)
    for name, tensor in tensors.items():
        array = tensor
        if array.dtype.kind == "O" and array.size and (array.ndim < 2 or array.shape[1:] == (1,)):
            return decode_batch(array.reshape(-1).tolist(), name or "image", *size)
        if array.ndim == 3 and shape.channels == 1:
            array = array[..., np.newaxis]
        elif array.ndim == 4 and shape.channel_order == "channels_first":
            array = np.moveaxis(array, 1, -1)
        if array.ndim == 4 and array.shape[1:] == size:
            return array
    found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    raise InvalidInputError(f"No input has images of {size[0]}x{size[1]}x{size[2]}; it has {found}.")


def _to_uint8(array: Array) -> Image:
    with np.errstate(invalid="ignore"):
        whole = np.asarray(array, np.uint8)
    if (whole == array).all():
        return whole
    values = np.asarray(array, np.float64)
    if _is_unit(values):
        values = values * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _is_unit(values: npt.NDArray[np.float64]) -> bool:
    if not values.size or values.min() < 0 or values.max() > 1:
        return False
    return not bool(np.all(values == np.rint(values)))


def _scores(tensors: dict[str, Array], classes: int) -> npt.NDArray[np.float32]:
    for tensor in tensors.values():
        wide = tensor.ndim == 2 and tensor.dtype.kind == "f" and tensor.shape[1] >= 2
        if wide and classes in (0, tensor.shape[1]):
            return np.asarray(tensor, np.float32)
    found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    raise InvalidInputError(f"No output has a score for each of {classes} classes; it has {found}.")
