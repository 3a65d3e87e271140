"""Random but harmless changes of a film, so that the network learns lungs and not the machine."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [height, width]


def augmented(image: Image, rng: np.random.Generator) -> Image:
    """Turned, moved, scaled, mirrored, exposed, re-encoded and partly covered copy of a grey image."""
    changed = _exposed(_moved(image, rng), rng)
    if rng.random() < 0.5:
        changed = _shaded(changed, rng)
    if rng.random() < 0.5:
        changed = _worse_film(changed, rng)
    return _covered(changed, rng) if rng.random() < 0.6 else changed


def jittered(image: Image, rng: np.random.Generator) -> Image:
    """The same in small: what another machine or day may do; for validation that punishes shortcuts."""
    changed = _exposed(_moved(image, rng, strength=0.5, mirror=False), rng, strength=0.6)
    return _worse_film(changed, rng, strength=0.5)


def _moved(image: Image, rng: np.random.Generator, strength: float = 1.0, *, mirror: bool = True) -> Image:
    height, width = image.shape
    turn = rng.uniform(-14, 14) * strength
    scale = np.exp(rng.uniform(-0.22, 0.26) * strength)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    stretch = np.exp(rng.uniform(-0.13, 0.13) * strength)  # children are narrow and wide
    matrix[0, :] *= stretch
    matrix[0, 2] += (1 - stretch) * width / 2
    matrix[:, 2] += rng.uniform(-0.09, 0.09, 2) * strength * (width, height)
    if mirror and rng.random() < 0.5:
        matrix[0, :] *= -1
        matrix[0, 2] += width - 1
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _exposed(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Another tone curve: any rising one, then brighter or darker, harder or softer."""
    steps = np.exp(rng.normal(0, 0.5 * strength, 6))
    curve = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
    grey = np.interp(np.linspace(0, 6, 256), np.arange(7), curve) ** np.exp(rng.uniform(-0.4, 0.4) * strength)
    grey = (
        (grey - 0.5) * np.exp(rng.uniform(-0.4, 0.3) * strength) + 0.5 + rng.uniform(-0.12, 0.12) * strength
    )
    return np.asarray(cv2.LUT(image, np.clip(grey * 255, 0, 255).astype(np.uint8)), np.uint8)


def _shaded(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Uneven exposure: scatter, a grid, a tilted plate."""
    coarse = rng.normal(0, 22 * strength, (3, 3)).astype(np.float32)
    field = cv2.resize(coarse, image.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image + field, 0, 255), np.uint8)


def _worse_film(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3) * strength + 0.1), np.uint8)
    if kind == 1:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 9) * strength)
        return np.asarray(np.clip(image + noise, 0, 255), np.uint8)
    if kind == 2:
        quality = round(95 - rng.uniform(10, 65) * strength)
        encoded = cv2.imencode(".jpeg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    side = round(image.shape[0] * (1 - rng.uniform(0.1, 0.55) * strength))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _covered(image: Image, rng: np.random.Generator) -> Image:
    """Patches of one grey: markers, tubes and burned-in text must not decide."""
    height, width = image.shape
    changed = image.copy()
    for _ in range(int(rng.integers(1, 4))):
        tall, wide = (rng.uniform(0.06, 0.24, 2) * (height, width)).astype(int)
        top, left = int(rng.integers(-tall // 2, height)), int(rng.integers(-wide // 2, width))
        patch = slice(max(top, 0), top + tall), slice(max(left, 0), left + wide)
        changed[patch] = rng.integers(256)
    return changed
