"""From decoded inputs to what the model takes: names, types, shapes, finite numbers, decoded images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tidegauge.domain.inference import UNNAMED, Form
from tidegauge.domain.tensors import Array, cast, datatype_of
from tidegauge.errors import InvalidInputError
from tidegauge.serving.model import TensorSpec


def bind(inputs: Mapping[str, Array], specs: Sequence[TensorSpec], form: Form) -> dict[str, Array]:
    """Return arrays that fit the model's inputs, in its order and types.

    Encoded images (bytes, or base64 text) for a numeric input are decoded and brought to its size.
    Raises InvalidInputError naming the input and what was expected.
    """
    named = _named(inputs, specs)
    bound = {spec.name: _bind_one(named[spec.name], spec, form) for spec in specs}
    _check_shared_sizes(bound, specs)
    return bound


def _named(inputs: Mapping[str, Array], specs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    expected = [spec.name for spec in specs]
    if UNNAMED in inputs:
        if len(specs) == 1:
            return {expected[0]: inputs[UNNAMED]}
        raise InvalidInputError.of(
            "inputs", f"The model has several inputs; name them: {', '.join(expected)}."
        )
    unknown = [name for name in inputs if name not in expected]
    if unknown:
        raise InvalidInputError.of(
            unknown[0], f"The model has no input {unknown[0]!r}; it takes {', '.join(expected)}."
        )
    missing = [name for name in expected if name not in inputs]
    if missing:
        raise InvalidInputError.of(
            missing[0], f"Input {missing[0]!r} is missing; the model takes {', '.join(expected)}."
        )
    return inputs


def _bind_one(array: Array, spec: TensorSpec, form: Form) -> Array:
    if form is not Form.V2 and array.ndim == 1 and spec.shape[1:] == (1,):
        array = array[:, np.newaxis]  # a column of a table: people write 63, not [63]
    if spec.datatype == "BYTES":
        array = _strings(array, spec)
    elif array.dtype.kind == "O" and array.size:
        array = _images(array, spec)
    elif array.size and form is Form.V2 and datatype_of(array) != spec.datatype:
        raise InvalidInputError.of(
            spec.name,
            f"Input {spec.name!r} has datatype {datatype_of(array)}; the model takes {spec.datatype}.",
        )
    _check_shape(array, spec)
    array = cast(spec.name, array, spec.dtype)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInputError.of(
            spec.name, f"Input {spec.name!r} holds NaN or infinity; expected finite {spec.datatype} numbers."
        )
    return array


def _check_shape(array: Array, spec: TensorSpec) -> None:
    fits = array.ndim == len(spec.shape) and all(
        want is None or want == size for want, size in zip(spec.shape, array.shape, strict=True)
    )
    if fits and array.size:
        return
    expected = f"{spec.open_shape} of {spec.datatype} (-1: any size from 1)"
    if array.size == 0 and array.shape[:1] == (0,):
        raise InvalidInputError.of(
            spec.name, f"Input {spec.name!r} is an empty batch; expected shape {expected}."
        )
    raise InvalidInputError.of(
        spec.name, f"Input {spec.name!r} has shape {list(array.shape)}; expected shape {expected}."
    )


def _check_shared_sizes(bound: Mapping[str, Array], specs: Sequence[TensorSpec]) -> None:
    """Hold inputs whose sizes share a name in the model, such as the batch, to one size."""
    sizes: dict[str, tuple[str, int]] = {}
    for spec in specs:
        for symbol, size in zip(spec.symbols, bound[spec.name].shape, strict=True):
            if symbol is None:
                continue
            first, expected = sizes.setdefault(symbol, (spec.name, size))
            if size != expected:
                raise InvalidInputError.of(
                    spec.name,
                    f"Input {spec.name!r} has {size} for size {symbol!r}; input {first!r} has {expected}.",
                )


def _strings(array: Array, spec: TensorSpec) -> Array:
    if array.dtype.kind != "O":
        raise InvalidInputError.of(spec.name, f"Input {spec.name!r} must hold strings (BYTES).")
    texts = np.empty(array.size, dtype=object)
    for index, item in enumerate(array.reshape(-1).tolist()):
        try:
            texts[index] = item if isinstance(item, str) else bytes(item).decode()
        except UnicodeDecodeError:
            raise InvalidInputError.of(
                spec.name, f"Input {spec.name!r} holds bytes that are not UTF-8 text."
            ) from None
    return texts.reshape(array.shape)


def _images(array: Array, spec: TensorSpec) -> Array:
    """Return the batch of encoded images at the model's size; ``array`` is one image, [n] or [n, 1]."""
    # OpenCV takes longer to import than all else here, and few servers get encoded images.
    from tidegauge.domain.images import decode_batch

    channels_first = len(spec.shape) == 4 and spec.shape[3] not in (1, 3) and spec.shape[1] in (1, 3)
    height, width, channels = _image_size(spec, channels_first=channels_first)
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
        raise InvalidInputError.of(
            spec.name,
            f"Input {spec.name!r} holds strings in shape {list(array.shape)}; expected {spec.datatype} "
            f'numbers of shape {spec.open_shape}, or a list of {{"b64": ...}} images.',
        )
    batch = decode_batch(array.reshape(-1).tolist(), spec.name, height, width, channels)
    return batch.transpose(0, 3, 1, 2) if channels_first else batch


def _image_size(spec: TensorSpec, *, channels_first: bool) -> tuple[int, int, int]:
    sizes = spec.shape[1:]
    if len(sizes) == 2:
        sizes = (*sizes, 1)
    elif channels_first:
        sizes = (*sizes[1:], sizes[0])
    height, width, channels = sizes if len(sizes) == 3 else (None, None, None)
    if not height or not width or channels not in (1, 3) or spec.dtype.kind not in "iuf":
        raise InvalidInputError.of(
            spec.name,
            f"Input {spec.name!r} takes {spec.datatype} numbers of shape {spec.open_shape}, "
            "no strings or encoded images.",
        )
    return height, width, channels
