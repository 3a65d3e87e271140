"""Features of images: a reduced image and attributes a person understands; no baseline is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.float32]
#: Takes images, uint8 ``[n, h, w, c]``, to what a model makes of them, ``[n, d]``.
Encoder = Callable[[Image], npt.ArrayLike]

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
    "saturation": 2.0,  # mean of the largest less the smallest channel, in grey levels; 0 where grey
    "compression": 0.5,  # how much larger steps are at borders of 8x8 blocks than beside them, in grey levels
}
_OCTAVES = 4
_SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
#: What has no name of its own, again with the difference that counts as nothing: edges across and down at
#: four scales (logarithms), then quantiles of the grey levels.
DETAILS = np.array([0.1] * 2 * _OCTAVES + [2.0] * len(_SHARES))
EDGES = 2 * _OCTAVES  # of the details

_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# Sizes in grey levels below which logarithms level off: what the eye does not see, encoders throw away.
_FAINT_EDGE = 0.5
_FAINT_NOISE = 1.0  # Gaussian noise of some 0.2 grey levels
_FAINT = 0.1
_BLOCK = 8  # pixels of a JPEG block
_LEAST = 4  # pixels a side: below it an image has no texture


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of n images.

    ``reduced`` uint8 ``[n, 1024 * channels]``, ``attributes`` float ``[n, 10]``, ``details`` float
    ``[n, 15]``, ``embedding`` float ``[n, d]``: what an encoder made of the images, d = 0 without one.
    """

    reduced: Image
    attributes: Floats
    details: Floats
    embedding: Floats

    def __len__(self) -> int:
        return len(self.attributes)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> ImageFeatures:
        """Return the features of some of the images, by index or by mask."""
        return ImageFeatures(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def concatenate(parts: Iterable[ImageFeatures]) -> ImageFeatures:
        """Join the features of several chunks, so that all images need not be in memory at once."""
        chunks = list(parts)
        names = [field.name for field in fields(ImageFeatures)]
        return ImageFeatures(*(np.concatenate([getattr(c, name) for c in chunks]) for name in names))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def extract(images: npt.NDArray[Any], encoder: Encoder | None = None) -> ImageFeatures:
    """Extract the features of images, uint8 or float, ``[n, h, w]`` or ``[n, h, w, c]`` with c 1 or 3.

    Floats are grey levels of 0 to 255, or of 0 to 1 where none is larger. Raises ValueError for others.
    Source of the noise attribute: Immerkaer, "Fast noise variance estimation", Computer Vision and Image
    Understanding 64 (1996).

    >>> features = extract(np.full((2, 50, 50, 1), 90, np.uint8))
    >>> features.reduced.shape, features.attributes[0, :2].tolist()
    ((2, 1024), [90.0, 0.0])
    """
    pixels = _as_bytes(images)
    n, channels = pixels.shape[0], pixels.shape[3]
    reduced = np.empty((n, SIDE * SIDE * channels), np.uint8)
    attributes = np.empty((n, len(ATTRIBUTES)))
    details = np.empty((n, len(DETAILS)))
    for row, image in enumerate(pixels):
        grey = image[:, :, 0] if channels == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        floats = grey.astype(np.float32)
        small = _reduce(floats)
        reduced[row] = (np.rint(small) if channels == 1 else _reduce(image)).ravel()
        attributes[row], details[row] = _describe(grey, floats, small, _saturation(image))
    return ImageFeatures(reduced, attributes, details, _embed(pixels, encoder))


def _as_bytes(images: npt.NDArray[Any]) -> Image:
    pixels = images[..., np.newaxis] if images.ndim == 3 else images
    fine = np.issubdtype(pixels.dtype, np.floating) or pixels.dtype == np.uint8
    if not fine or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise ValueError(
            f"images are {images.dtype} {images.shape}; give uint8 or float [n, h, w] or [n, h, w, 1 or 3]"
        )
    if min(pixels.shape[1:3]) < 1:
        raise ValueError(f"images have {pixels.shape[1]}x{pixels.shape[2]} pixels; give one or more a side")
    if pixels.dtype != np.uint8 and pixels.size:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 255):
            raise ValueError(f"images have values from {low} to {high}; give 0 to 1, or 0 to 255")
        pixels = np.rint(pixels * (255.0 if high <= 1 else 1.0))
    return np.ascontiguousarray(pixels, np.uint8)


def _embed(pixels: Image, encoder: Encoder | None) -> Floats:
    if encoder is None:
        return np.empty((len(pixels), 0))
    embedding = np.asarray(encoder(pixels), np.float64)
    if embedding.ndim != 2 or len(embedding) != len(pixels):
        raise ValueError(f"the encoder gave shape {embedding.shape} for {len(pixels)} images; give [n, d]")
    return embedding


def _reduce(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def _describe(
    grey: Image, pixels: Pixels, small: Pixels, saturation: float
) -> tuple[tuple[float, ...], list[float]]:
    """Describe an image, given as bytes, as floats and reduced."""
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    levels = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel() / grey.size
    shares = levels.reshape(64, 4).sum(axis=1)
    shares = shares[shares > 0]
    across, down = _steps(pixels)
    rough_across, rough_down = _steps(small)
    attributes = (
        mean,
        deviation,
        _log_size(cv2.Laplacian(pixels, cv2.CV_32F), _FAINT_EDGE),
        _log_size(cv2.filter2D(pixels, cv2.CV_32F, _NOISE_MASK), _FAINT_NOISE),
        float(-(shares * np.log2(shares)).sum()),
        _symmetry(small),
        _log_size(rough_across, _FAINT) - _log_size(rough_down, _FAINT),
        _border(small),
        saturation,
        (_excess(across, 0) + _excess(down, 1)) / 2,
    )
    quantiles = np.searchsorted(np.cumsum(levels), _SHARES).astype(float)
    return attributes, [*_edges(pixels, across, down), *quantiles]


def _steps(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Return how large the steps across and down are."""
    if min(pixels.shape) < 2:  # OpenCV has no empty arrays
        return np.abs(np.diff(pixels, axis=1)), np.abs(np.diff(pixels, axis=0))
    return cv2.absdiff(pixels[:, 1:], pixels[:, :-1]), cv2.absdiff(pixels[1:], pixels[:-1])


def _log_size(values: Pixels, faint: float) -> float:
    return math.log(cv2.norm(values, cv2.NORM_L1) / values.size + faint)


def _symmetry(small: Pixels) -> float:
    centred = small.astype(np.float64)
    centred -= centred.mean()
    power = float(np.vdot(centred, centred))
    # An image without any contrast is its own mirror image.
    return float(np.vdot(centred, centred[:, ::-1])) / power if power > SIDE * SIDE * _FAINT**2 else 1.0


def _border(small: Pixels) -> float:
    edge = SIDE // 16
    inner = small[edge:-edge, edge:-edge]
    whole, within = cv2.sumElems(small)[0], cv2.sumElems(inner)[0]
    return float((whole - within) / (small.size - inner.size) - within / inner.size)


def _saturation(image: Image) -> float:
    return float(np.ptp(image, axis=2).mean()) if image.shape[2] > 1 else 0.0


def _edges(pixels: Pixels, across: Pixels, down: Pixels) -> list[float]:
    """Return the log of the mean step across and down, at each octave that the image has."""
    found: list[float] = []
    for octave in range(_OCTAVES):
        if octave and min(pixels.shape) >= _LEAST:
            half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
            pixels = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)
            across, down = _steps(pixels)
        enough = min(pixels.shape) >= _LEAST
        found += [
            _log_size(steps, _FAINT_EDGE) if enough else math.log(_FAINT_EDGE) for steps in (across, down)
        ]
    return found


def _excess(steps: Pixels, along: int) -> float:
    """Return how much larger steps into every eighth column (``along`` 0) or row are than those beside."""
    if not steps.size:
        return 0.0
    profile = cv2.reduce(steps, along, cv2.REDUCE_AVG).ravel().astype(np.float64)
    borders = np.arange(_BLOCK - 1, len(profile) - 1, _BLOCK)
    if not len(borders):
        return 0.0
    return float((profile[borders] - (profile[borders - 1] + profile[borders + 1]) / 2).mean())
