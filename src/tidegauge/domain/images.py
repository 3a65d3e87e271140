"""Images: decoding, and the one preprocessing path from any picture to a model's input shape."""

from __future__ import annotations

import re
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from tidegauge.domain.nested import decode_b64
from tidegauge.errors import InvalidInputError, TooLargeError

Image = npt.NDArray[np.uint8]

MAX_PIXELS = 100_000_000  # a small file can unfold to gigabytes

_JPEG = b"\xff\xd8\xff"
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame
_JPEG_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_GREY_ALPHA = 4


def decode_image(data: bytes, name: str = "image") -> Image:
    """Decode a picture to uint8 ``[h, w]`` (grey) or ``[h, w, 3]`` (RGB).

    16-bit pictures are scaled to 8 bits, alpha is dropped, EXIF orientation is applied.
    Raises InvalidInputError naming the image when it is empty, cut off or no picture, and TooLargeError
    beyond MAX_PIXELS.
    """
    if not data:
        raise InvalidInputError.of(name, f"{name} is empty; send a JPEG or PNG image.")
    _check_container(data, name)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.size == 0:
        raise InvalidInputError.of(name, f"{name} cannot be decoded; send a JPEG or PNG image.")
    if pixels.dtype == np.uint16:
        pixels = np.asarray((pixels.astype(np.uint32) + 128) // 257, np.uint8)
    elif pixels.dtype != np.uint8:
        raise InvalidInputError.of(name, f"{name} has {pixels.dtype} pixels; send an 8- or 16-bit image.")
    if pixels.ndim == 3 and (pixels.shape[2] == 1 or _is_grey_with_alpha(data)):
        pixels = np.ascontiguousarray(pixels[:, :, 0])
    return np.asarray(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def to_shape(image: Image, height: int, width: int, channels: int) -> Image:
    """Bring a decoded picture to uint8 ``[height, width, channels]``; channels is 1 or 3.

    Averages areas along a side that shrinks and interpolates linearly along one that grows.
    """
    pixels = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if channels == 1 and pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    elif channels == 3 and pixels.ndim == 2:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    # OpenCV averages areas only where no side grows, so the sides that shrink come first.
    smaller = (min(width, pixels.shape[1]), min(height, pixels.shape[0]))
    for size, method in ((smaller, cv2.INTER_AREA), ((width, height), cv2.INTER_LINEAR)):
        if pixels.shape[1::-1] != size:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)
    return np.ascontiguousarray(pixels).reshape(height, width, channels)


def decode_batch(encoded: Iterable[bytes | str], name: str, height: int, width: int, channels: int) -> Image:
    """Decode pictures (bytes, or base64 text) to uint8 ``[n, height, width, channels]``; errors as above."""
    pixels = []
    for index, item in enumerate(encoded):
        data = decode_b64(item, name) if isinstance(item, str) else item
        picture = decode_image(data, f"Image {index} of input {name!r}")
        pixels.append(to_shape(picture, height, width, channels))
    return np.stack(pixels)


def is_picture(data: bytes) -> bool:
    """Tell whether data begin as a JPEG or PNG does."""
    return data.startswith((_JPEG, _PNG))


def encode_png(image: Image) -> bytes:
    """Encode uint8 ``[h, w]``, ``[h, w, 1]`` or RGB ``[h, w, 3]`` as PNG, without loss."""
    colour = image.ndim == 3 and image.shape[2] == 3
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
    return bytes(cv2.imencode(".png", np.asarray(pixels))[1])


def _check_container(data: bytes, name: str) -> None:
    """Refuse what OpenCV would fill up with grey and call a success, and what would not fit in memory.

    OpenCV itself refuses BMP, TIFF and WebP files that are cut off.
    """
    if data.startswith(_JPEG):
        size, whole = _walk_jpeg(data)
    elif data.startswith(_PNG):
        size, whole = _walk_png(data)
    else:
        return
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise TooLargeError.of(
            name, f"{name} has {size[0]} x {size[1]} pixels; send at most {limit} megapixels."
        )
    if not whole:
        raise InvalidInputError.of(name, f"{name} is cut off before its end; send the whole file.")


def _walk_jpeg(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Return (width, height) and whether the end marker is there: the picture's, not an EXIF thumbnail's."""
    size = None
    at = 2
    while at + 2 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == _JPEG_END:
            return size, True  # what the standard does not have here is the decoder's to judge
        if marker == 0xFF or marker in _JPEG_BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_SIZES:
            size = (int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7]))
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == _JPEG_SCAN:
            found = _JPEG_AFTER_SCAN.search(data, at)
            at = found.start() if found else len(data)
    return size, False


def _walk_png(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Return (width, height) and whether the end chunk is there."""
    size = (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) if data[12:16] == b"IHDR" else None
    at = len(_PNG)
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return size, True
        at += 12 + int.from_bytes(data[at : at + 4])
    return size, False


def _is_grey_with_alpha(data: bytes) -> bool:
    return data.startswith(_PNG) and data[25] == _PNG_GREY_ALPHA
