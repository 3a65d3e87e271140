"""Images: decoding, and the one preprocessing path from any picture to a model's input shape."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tidegauge.errors import InvalidInputError

Image = npt.NDArray[np.uint8]

_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_TAIL = 4096  # bytes in which an end marker is looked for; cameras append padding


def decode_image(data: bytes, name: str = "image") -> Image:
    """Decode a picture to uint8 ``[h, w]`` (grey) or ``[h, w, 3]`` (RGB).

    16-bit pictures are scaled to 8 bits, alpha is dropped, EXIF orientation is applied.
    Raises InvalidInputError naming the image when it is empty, cut off or no picture.
    """
    if not data:
        raise InvalidInputError.of(name, f"{name} is empty; send a JPEG or PNG image.")
    # OpenCV fills the rest of a cut-off picture with grey and calls that a success.
    for head, end in ((_JPEG, _JPEG_END), (_PNG, _PNG_END)):
        if data.startswith(head) and end not in data[-_TAIL:]:
            raise InvalidInputError.of(name, f"{name} is cut off before its end; send the whole file.")
    buffer = np.frombuffer(data, np.uint8)
    try:
        pixels = cv2.imdecode(buffer, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.size == 0:
        raise InvalidInputError.of(name, f"{name} cannot be decoded; send a JPEG or PNG image.")
    if pixels.dtype == np.uint16:
        pixels = np.asarray((pixels.astype(np.uint32) + 128) // 257, np.uint8)
    elif pixels.dtype != np.uint8:
        raise InvalidInputError.of(name, f"{name} has {pixels.dtype} pixels; send an 8- or 16-bit image.")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return np.asarray(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def to_shape(image: Image, height: int, width: int, channels: int) -> Image:
    """Bring a decoded picture to uint8 ``[height, width, channels]``; channels is 1 or 3.

    Averages areas where it shrinks and interpolates linearly where it grows.
    """
    pixels = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if channels == 1 and pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    elif channels == 3 and pixels.ndim == 2:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    if pixels.shape[:2] != (height, width):
        shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)
    return np.ascontiguousarray(pixels).reshape(height, width, channels)


def encode_png(image: Image) -> bytes:
    """Encode uint8 ``[h, w]``, ``[h, w, 1]`` or RGB ``[h, w, 3]`` as PNG, without loss."""
    colour = image.ndim == 3 and image.shape[2] == 3
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
    return bytes(cv2.imencode(".png", np.asarray(pixels))[1])
