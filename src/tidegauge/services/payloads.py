"""Payloads of logged events: the images that were asked about, and the scores that were answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.domain.events import Event
from tidegauge.domain.images import decode_batch, is_picture
from tidegauge.domain.inference import UNNAMED, decode_event
from tidegauge.domain.monitor_config import ImageShape
from tidegauge.domain.packing import unpacked
from tidegauge.errors import InvalidInputError

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]


def decode_images(request: Event, shape: ImageShape) -> Image:
    """Return the images of a request, uint8 ``[n, h, w, c]``; InvalidInputError where it has none."""
    return _images(_inputs(request), shape)


def scores_of(tensors: Mapping[str, Array], classes: int) -> npt.NDArray[np.float32] | None:
    """Return the scores ``[n, classes]`` among the outputs of a response; with 0 classes any number will do.

    None where there are none.
    """
    for tensor in tensors.values():
        wide = tensor.ndim == 2 and tensor.dtype.kind == "f" and tensor.shape[1] >= 2
        if wide and classes in (0, tensor.shape[1]):
            return np.asarray(tensor, np.float32)
    return None


def decode_scores(response: Event, classes: int) -> npt.NDArray[np.float32]:
    """Return the scores of a response, as ``scores_of`` does; InvalidInputError where it has none."""
    tensors = decode_event(response)
    found = scores_of(tensors, classes)
    if found is None:
        raise InvalidInputError(
            f"No output has a score for each of {classes} classes; it has {described(tensors)}."
        )
    return found


def is_unit(request: Event, shape: ImageShape) -> bool:
    """Tell whether a client sends grey levels from 0 to 1; InvalidInputError where there are no images."""
    return _is_unit(np.asarray(_tensor(_inputs(request), shape), np.float64))


def described(tensors: Mapping[str, Array]) -> str:
    """Say in an error sentence what a request or response has."""
    return (
        ", ".join(f"{name or 'values'} {list(tensor.shape)}" for name, tensor in tensors.items()) or "nothing"
    )


def _inputs(request: Event) -> dict[str, Array]:
    """Return the tensors of a request; a picture that was sent as it is, is one of a single image."""
    data = unpacked(request.data)
    if is_picture(data):
        return {UNNAMED: np.array([data], object)}
    return decode_event(replace(request, data=data))


def _images(tensors: Mapping[str, Array], shape: ImageShape) -> Image:
    return _to_uint8(_tensor(tensors, shape))


def _tensor(tensors: Mapping[str, Array], shape: ImageShape) -> Array:
    """Find the first image tensor, ``[n, h, w, c]``, or the encoded pictures, ``[n]`` or ``[n, 1]``.

    A model may take more than images: texts that are no pictures are passed over for an input that has some.
    """
    size = (shape.height, shape.width, shape.channels)
    fault: InvalidInputError | None = None
    for name, tensor in tensors.items():
        array = tensor
        if array.dtype.kind == "O" and array.size and (array.ndim < 2 or array.shape[1:] == (1,)):
            try:
                return decode_batch(array.reshape(-1).tolist(), name or "image", *size)
            except InvalidInputError as error:
                fault = fault or error
        if array.ndim == 3 and shape.channels == 1:
            array = array[..., np.newaxis]
        elif array.ndim == 4 and shape.channel_order == "channels_first":
            array = np.moveaxis(array, 1, -1)
        if array.ndim == 4 and array.shape[1:] == size:
            return array
    if fault:
        raise fault
    raise InvalidInputError(
        f"No input has images of {size[0]}x{size[1]}x{size[2]}; it has {described(tensors)}."
    )


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
