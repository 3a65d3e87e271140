"""Features of images: a reduced image and attributes a person understands; no baseline is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

#: The attributes, in the order of the columns of ``ImageFeatures.attributes``.
ATTRIBUTES = (
    "brightness",
    "contrast",
    "sharpness",
    "noise",
    "entropy",
    "symmetry",
    "orientation",
    "border",
)
_SIDE = 16  # of the reduced image
_SMALL = 1e-6


@dataclass(frozen=True)
class ImageFeatures:
    """Features of n images: ``reduced`` ``[n, 256]`` in 0..1, ``attributes`` ``[n, 8]``, ``digest`` ``[n]``.

    The digest tells whether two images are the same, pixel by pixel.
    """

    reduced: Floats
    attributes: Floats
    digest: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.digest)

    def take(self, rows: npt.NDArray[np.intp]) -> ImageFeatures:
        """Return the features of some of the images."""
        return ImageFeatures(self.reduced[rows], self.attributes[rows], self.digest[rows])

    @staticmethod
    def concatenate(parts: Sequence[ImageFeatures]) -> ImageFeatures:
        """Join the features of several chunks."""
        return ImageFeatures(
            np.concatenate([part.reduced for part in parts]),
            np.concatenate([part.attributes for part in parts]),
            np.concatenate([part.digest for part in parts]),
        )


def extract(images: Image) -> ImageFeatures:
    """Extract the features of images, uint8 ``[n, h, w]`` or ``[n, h, w, c]`` with c 1 or 3, at least 8x8."""
    count = len(images)
    reduced = np.empty((count, _SIDE * _SIDE))
    attributes = np.empty((count, len(ATTRIBUTES)))
    digest = np.empty(count, np.uint64)
    for row, image in enumerate(images):
        grey = _grey(image)
        small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        reduced[row] = small.ravel() / 255.0
        attributes[row] = _attributes(grey, small)
        digest[row] = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest())
    return ImageFeatures(reduced, attributes, digest)


def _grey(image: Image) -> Image:
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _attributes(grey: Image, small: Image) -> tuple[float, ...]:
    pixels = grey.astype(np.float32)
    mean, deviation = (float(value[0][0]) for value in cv2.meanStdDev(grey))
    laplacian = cv2.Laplacian(pixels, cv2.CV_32F)
    across = float(np.abs(np.diff(pixels, axis=1)).mean())
    down = float(np.abs(np.diff(pixels, axis=0)).mean())
    histogram = cv2.calcHist([grey], [0], None, [64], [0, 256]).ravel() / grey.size
    filled = histogram[histogram > 0]
    edge = max(1, min(grey.shape) // 20)
    inner = pixels[edge:-edge, edge:-edge]
    frame = (float(pixels.sum()) - float(inner.sum())) / max(1, pixels.size - inner.size)
    coarse = small.astype(np.float64)
    return (
        mean / 255.0,
        deviation / 255.0,
        float(np.log(np.abs(laplacian).mean() + 0.05)),
        float(np.log(np.median(np.abs(laplacian)) + 0.05)),
        float(-(filled * np.log2(filled)).sum()),
        _correlation(coarse, coarse[:, ::-1]),
        float(np.log((across + 0.05) / (down + 0.05))),
        (frame - mean) / 255.0,
    )


def _correlation(left: Floats, right: Floats) -> float:
    a, b = left - left.mean(), right - right.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + _SMALL))
