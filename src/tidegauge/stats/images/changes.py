"""Changes of images: those that a baseline learns to tell by name, and those that are harmless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
#: Takes an image, uint8 ``[h, w, c]``, to a changed one of the same shape.
Change = Callable[[Image, np.random.Generator], Image]


@dataclass(frozen=True)
class Tolerance:
    """A harmless variation: ``variants`` are its extremes; what lies between them is tolerated as well."""

    name: str
    variants: tuple[Change, ...]


def reencoded(quality: int = 90) -> Tolerance:
    """Tolerate JPEG encoding at ``quality`` or better."""
    between = (quality + 100) // 2
    return Tolerance(f"re-encoded at JPEG quality {quality}", (_jpeg(quality), _jpeg(between)))


def resized() -> Tolerance:
    """Tolerate another way to the same size: interpolation that softens or sharpens a little."""
    return Tolerance("resized another way", (_softened, _sharpened))


def brightened(share: float = 0.03) -> Tolerance:
    """Tolerate grey levels multiplied by 1 - ``share`` to 1 + ``share``."""
    return Tolerance(f"brightness within {share:.0%}", (_brightness(1 + share), _brightness(1 - share)))


def contrasted(share: float = 0.03) -> Tolerance:
    """Tolerate contrast about the image's mean multiplied by 1 - ``share`` to 1 + ``share``."""
    return Tolerance(f"contrast within {share:.0%}", (_contrast(1 + share), _contrast(1 - share)))


def rotated(degrees: float = 2.0) -> Tolerance:
    """Tolerate rotation by up to so many degrees either way."""
    return Tolerance(f"rotation within {degrees:g} degrees", (_rotation(degrees), _rotation(-degrees)))


def zoomed(share: float = 0.02) -> Tolerance:
    """Tolerate a frame that is closer or wider by up to ``share``."""
    return Tolerance(f"zoom within {share:.0%}", (_zoom(1 + share), _zoom(1 - share)))


def noisy(deviation: float = 1.0) -> Tolerance:
    """Tolerate added Gaussian noise of up to so many grey levels."""
    return Tolerance(f"noise within {deviation:g} grey levels", (_noise(deviation),))


def _of_pixels(change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating]]) -> Change:
    def apply(image: Image, _: np.random.Generator) -> Image:
        return np.asarray(np.clip(np.rint(change(image.astype(np.float32))), 0, 255), np.uint8)

    return apply


def _brightness(factor: float) -> Change:
    return _of_pixels(lambda pixels: pixels * np.float32(factor))


def _contrast(factor: float) -> Change:
    return _of_pixels(lambda pixels: (pixels - pixels.mean()) * np.float32(factor) + pixels.mean())


def _noise(deviation: float) -> Change:
    def add(image: Image, rng: np.random.Generator) -> Image:
        return np.asarray(np.clip(np.rint(image + rng.normal(0, deviation, image.shape)), 0, 255), np.uint8)

    return add


def _jpeg(quality: int) -> Change:
    def encode(image: Image, _: np.random.Generator) -> Image:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        colour = cv2.IMREAD_COLOR if image.shape[2] == 3 else cv2.IMREAD_GRAYSCALE
        return _shaped(np.asarray(cv2.imdecode(data, colour)), image)

    return encode


def _warp(angle: float, scale: float) -> Change:
    def turn(image: Image, _: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
        return _shaped(
            cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101), image
        )

    return turn


def _rotation(degrees: float) -> Change:
    return _warp(degrees, 1.0)


def _zoom(factor: float) -> Change:
    return _warp(0.0, factor)


def _softened(image: Image, _: np.random.Generator) -> Image:
    """Soften as much as a detour over a slightly larger size does."""
    height, width = image.shape[:2]
    larger = cv2.resize(image, (width * 9 // 8 + 1, height * 9 // 8 + 1), interpolation=cv2.INTER_CUBIC)
    return _shaped(cv2.resize(larger, (width, height), interpolation=cv2.INTER_AREA), image)


def _sharpened(image: Image, _: np.random.Generator) -> Image:
    """Sharpen a little more than Lanczos interpolation does in place of the mean of areas."""
    pixels = image.astype(np.float32)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 0.8).reshape(image.shape)
    return np.asarray(np.clip(np.rint(pixels + 0.6 * (pixels - smooth)), 0, 255), np.uint8)


def _blurred(image: Image, _: np.random.Generator) -> Image:
    return _shaped(cv2.GaussianBlur(image, (0, 0), 1.2), image)


def _transposed(image: Image, _: np.random.Generator) -> Image:
    turned = np.ascontiguousarray(image.swapaxes(0, 1))
    return _shaped(cv2.resize(turned, image.shape[1::-1], interpolation=cv2.INTER_AREA), image)


def _shaped(image: npt.NDArray[np.uint8], like: Image) -> Image:
    return np.asarray(image, np.uint8).reshape(like.shape)


#: What a baseline learns to tell by name. Where there are two, the second is the opposite of the first.
CHANGES: dict[str, tuple[Change, ...]] = {
    "mirrored": (lambda image, _: np.ascontiguousarray(image[:, ::-1]),),
    "upside down": (lambda image, _: np.ascontiguousarray(image[::-1]),),
    "transposed": (_transposed,),
    "rotated": (_rotation(8), _rotation(-8)),
    "zoomed": (_zoom(1.15),),
    "inverted": (lambda image, _: 255 - image,),
    "brightened": (_brightness(1.15), _brightness(0.85)),
    "contrasted": (_contrast(1.2), _contrast(0.8)),
    "noisy": (_noise(7),),
    "blurred": (_blurred,),
    "compressed": (_jpeg(30),),
}
#: Those that move what is where: reduced images are told apart along directions that show these.
GEOMETRIC = ("mirrored", "upside down", "rotated")

#: What any archive or client library does on the way.
HARMLESS = (reencoded(90), resized())
