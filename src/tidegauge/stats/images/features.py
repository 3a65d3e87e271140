"""Features of images: a reduced image and attributes a person understands; no baseline is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

SIDE = 32  # of the reduced image

#: The attributes, in the order of the columns of ``ImageFeatures.attributes``, each with the difference that
#: a mere change of encoding can make; smaller ones count as nothing, even where a baseline never varies.
ATTRIBUTES = {
    "brightness": 2.0,  # mean, in grey levels of 0 to 255
    "contrast": 2.0,  # standard deviation, in grey levels
    "sharpness": 0.15,  # log of the mean size of the Laplacian
    "noise": 0.3,  # log of the mean size of Immerkaer's noise mask
    "entropy": 0.1,  # of the histogram of 64 bins, in bits
    "symmetry": 0.02,  # correlation of the image with its mirror image, left to right
    "orientation": 0.05,  # log of the ratio of edges across to edges down
    "border": 2.0,  # mean of the outer sixteenth less that of the rest, in grey levels
}
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# Sizes in grey levels below which logarithms level off: what the eye does not see, encoders throw away.
_FAINT_EDGE = 0.5
_FAINT_NOISE = 1.0  # Gaussian noise of some 0.2 grey levels
_FAINT = 0.1


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of n images: ``reduced`` uint8 ``[n, 1024 * channels]``, ``attributes`` float ``[n, 8]``."""

    reduced: Image
    attributes: Floats

    def __len__(self) -> int:
        return len(self.attributes)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> ImageFeatures:
        """Return the features of some of the images, by index or by mask."""
        return ImageFeatures(self.reduced[rows], self.attributes[rows])

    @staticmethod
    def concatenate(parts: Iterable[ImageFeatures]) -> ImageFeatures:
        """Join the features of several chunks, so that all images need not be in memory at once."""
        chunks = list(parts)
        return ImageFeatures(
            np.concatenate([chunk.reduced for chunk in chunks]),
            np.concatenate([chunk.attributes for chunk in chunks]),
        )


def extract(images: Image) -> ImageFeatures:
    """Extract the features of images, uint8 ``[n, h, w]`` or ``[n, h, w, c]`` with c 1 or 3.

    Source of the noise attribute: Immerkaer, "Fast noise variance estimation", Computer Vision and Image
    Understanding 64 (1996).

    >>> features = extract(np.full((2, 50, 50, 1), 90, np.uint8))
    >>> features.reduced.shape, features.attributes[0, :2].tolist()
    ((2, 1024), [90.0, 0.0])
    """
    if (
        images.dtype != np.uint8
        or images.ndim not in (3, 4)
        or (images.ndim == 4 and images.shape[3] not in (1, 3))
    ):
        raise ValueError(
            f"images are {images.dtype} {images.shape}; give uint8 [n, h, w] or [n, h, w, 1 or 3]"
        )
    channels = images.shape[3] if images.ndim == 4 else 1
    reduced = np.empty((len(images), SIDE * SIDE * channels), np.uint8)
    attributes = np.empty((len(images), len(ATTRIBUTES)))
    for row, image in enumerate(images):
        colour = image[:, :, 0] if image.ndim == 3 and channels == 1 else image
        reduced[row] = cv2.resize(colour, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()
        attributes[row] = _attributes(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY) if channels == 3 else colour)
    return ImageFeatures(reduced, attributes)


def _attributes(grey: Image) -> tuple[float, ...]:
    pixels = grey.astype(np.float32)
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(pixels))
    shares = cv2.calcHist([grey], [0], None, [64], [0, 256]).ravel() / grey.size
    shares = shares[shares > 0]
    return (
        mean,
        deviation,
        _log_size(cv2.Laplacian(pixels, cv2.CV_32F), _FAINT_EDGE),
        _log_size(cv2.filter2D(pixels, cv2.CV_32F, _NOISE_MASK), _FAINT_NOISE),
        float(-(shares * np.log2(shares)).sum()),
        _symmetry(small),
        _log_size(np.diff(small, axis=1), _FAINT) - _log_size(np.diff(small, axis=0), _FAINT),
        _border(small),
    )


def _log_size(values: npt.NDArray[np.floating], faint: float) -> float:
    return float(np.log(np.abs(values).mean() + faint))


def _symmetry(small: Floats) -> float:
    centred = small - small.mean()
    power = float((centred * centred).sum())
    # An image without any contrast is its own mirror image.
    return float((centred * centred[:, ::-1]).sum()) / power if power > SIDE * SIDE * _FAINT**2 else 1.0


def _border(small: Floats) -> float:
    edge = SIDE // 16
    inner = small[edge:-edge, edge:-edge]
    return float((small.sum() - inner.sum()) / (small.size - inner.size) - inner.mean())
