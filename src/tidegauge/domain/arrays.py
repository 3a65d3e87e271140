"""NumPy archives as data sets: ``images`` and ``labels`` of an ``.npz``, never unpickled."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidegauge.domain.content import check_label
from tidegauge.domain.labels import label_text
from tidegauge.errors import InvalidInputError

IMAGE_NAMES = ("x", "images", "X")
LABEL_NAMES = ("y", "labels", "Y")
_MAX_BYTES = 8 * 1024**3  # of one array in memory


@dataclass(frozen=True)
class ImageArrays:
    """Images uint8 ``[n, h, w]`` or ``[n, h, w, c]`` with c of 1 or 3, and n labels or none."""

    images: npt.NDArray[np.uint8]
    labels: tuple[str, ...] | None


def read_npz(data: bytes, name: str) -> ImageArrays:
    """Read an ``.npz`` with images ``x`` (or ``images``) and labels ``y`` (or ``labels``), which may lack.

    Images are uint8, whole numbers of 0 to 255, or floats of [0, 1] or [0, 255]; labels are ``[n]`` or
    ``[n, 1]``. Raises InvalidInputError naming the file, the array and what was expected.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            images = _find(archive, IMAGE_NAMES, name)
            labels = _find(archive, LABEL_NAMES, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidInputError(
            f"{name} is no readable .npz file ({error}); save it with numpy.savez."
        ) from error
    if images is None:
        raise InvalidInputError(
            f"{name} has no array named {', '.join(IMAGE_NAMES)}; save the images as one."
        )
    pixels = _to_uint8(images, name)
    return ImageArrays(pixels, None if labels is None else _to_labels(labels, len(pixels), name))


def _find(archive: zipfile.ZipFile, names: tuple[str, ...], file: str) -> npt.NDArray[np.generic] | None:
    present = set(archive.namelist())
    for name in names:
        if f"{name}.npy" in present:
            return _read_array(archive, name, file)
    return None


def _read_array(archive: zipfile.ZipFile, name: str, file: str) -> npt.NDArray[np.generic]:
    member = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(member) as content:
            version = np.lib.format.read_magic(content)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(content)
        size = math.prod(shape) * dtype.itemsize
        # A small file may claim a huge array, and numpy believes the claim.
        if size > min(member.file_size, _MAX_BYTES):
            raise InvalidInputError(
                f"{file}: the array {name!r} is cut off, or larger than {_MAX_BYTES} bytes; save it in parts."
            )
        with archive.open(member) as content:
            array: npt.NDArray[np.generic] = np.lib.format.read_array(content, allow_pickle=False)
    except ValueError as error:
        raise InvalidInputError(
            f"{file}: the array {name!r} cannot be read ({error}); save numbers or text, not objects."
        ) from error
    return array


def _to_uint8(images: npt.NDArray[np.generic], file: str) -> npt.NDArray[np.uint8]:
    wanted = "[n, h, w] or [n, h, w, c] with c of 1 or 3"
    if images.ndim not in (3, 4) or 0 in images.shape or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise InvalidInputError(f"{file}: the images have shape {list(images.shape)}; expected {wanted}.")
    if images.dtype == np.uint8:
        return np.asarray(images, np.uint8)
    if images.dtype.kind not in "iuf":
        raise InvalidInputError(f"{file}: the images are {images.dtype}; save uint8 or floats.")
    values = np.asarray(images)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # NaN fails too
        raise InvalidInputError(
            f"{file}: the images run from {low:g} to {high:g}; save uint8, or floats of [0, 1] or [0, 255]."
        )
    scale = 255.0 if images.dtype.kind == "f" and high <= 1 else 1.0
    out = np.empty(values.shape, np.uint8)
    for row, image in enumerate(values):  # one at a time: the floats need not be held twice
        out[row] = np.rint(np.asarray(image, np.float64) * scale)
    return out


def _to_labels(labels: npt.NDArray[np.generic], count: int, file: str) -> tuple[str, ...]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != count:
        raise InvalidInputError(
            f"{file}: the labels have shape {list(labels.shape)}; expected one for each of {count} images."
        )
    if labels.dtype.kind not in "biufU":
        raise InvalidInputError(f"{file}: the labels are {labels.dtype}; save whole numbers or text.")
    if labels.dtype.kind == "f" and not np.isfinite(labels.astype(np.float64)).all():
        raise InvalidInputError(f"{file}: some labels are not finite numbers; give every image a label.")
    if labels.dtype in (np.float16, np.float32):
        labels = labels.astype(str)  # the shortest text of that width, as a CSV has it
    values = labels.tolist()
    texts = {value: check_label(label_text(value)) for value in set(values)}
    return tuple(texts[value] for value in values)
