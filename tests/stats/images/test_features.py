from __future__ import annotations

import cv2
import numpy as np
import pytest

from tidegauge.phantoms import draw
from tidegauge.stats.images.features import ATTRIBUTES, SIDE, ImageFeatures, extract

NAMES = list(ATTRIBUTES)
PHANTOM = draw("NORMAL", np.random.default_rng(0), size=200)


def attributes(image: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, extract(image[np.newaxis]).attributes[0], strict=True))


def change(image: np.ndarray) -> dict[str, float]:
    """How far each attribute moved from the phantom's, in its smallest difference that counts."""
    before, after = attributes(PHANTOM), attributes(np.asarray(image, np.uint8))
    return {name: (after[name] - before[name]) / ATTRIBUTES[name] for name in NAMES}


def test_brightness_and_contrast_are_mean_and_deviation():
    image = np.repeat(np.array([[10, 30]], np.uint8), 20, axis=0).repeat(10, axis=1)
    found = attributes(image)
    assert found["brightness"] == pytest.approx(20)
    assert found["contrast"] == pytest.approx(10)
    assert found["entropy"] == pytest.approx(1)


def test_the_border_is_the_frame_less_the_rest():
    image = np.full((64, 64), 50, np.uint8)
    image[4:-4, 4:-4] = 90
    assert attributes(image)["border"] == pytest.approx(-40)


def test_a_mirrored_half_is_symmetric():
    half = np.random.default_rng(0).integers(0, 255, (64, 32), np.uint8)
    assert attributes(np.hstack([half, half[:, ::-1]]))["symmetry"] == pytest.approx(1, abs=0.01)
    assert attributes(np.hstack([half, 255 - half[:, ::-1]]))["symmetry"] < 0


@pytest.mark.parametrize(
    ("image", "name", "sign"),
    [
        (np.clip(PHANTOM.astype(int) + 20, 0, 255), "brightness", 1),
        (PHANTOM // 2 + 60, "contrast", -1),
        (cv2.blur(PHANTOM, (5, 5)), "sharpness", -1),
        (np.clip(PHANTOM + np.random.default_rng(0).normal(0, 10, (200, 200)), 0, 255), "noise", 1),
        (PHANTOM.T, "orientation", -1),
        (np.clip(PHANTOM, 0, 8) * 8, "entropy", -1),
        (np.roll(PHANTOM, 50, axis=1), "symmetry", -1),
    ],
)
def test_an_attribute_moves_with_what_it_names(image: np.ndarray, name: str, sign: int):
    assert change(image)[name] * sign > 3


def test_encoding_moves_no_attribute_by_more_than_its_floor():
    data = cv2.imencode(".jpeg", PHANTOM, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    moved = change(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    assert max(abs(value) for value in moved.values()) < 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (31, 33), (100, 400)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_have_finite_features(shape: tuple[int, int], channels: int):
    images = np.random.default_rng(0).integers(0, 255, (2, *shape, channels), np.uint8)
    features = extract(images)
    assert features.reduced.shape == (2, SIDE * SIDE * channels)
    assert features.attributes.shape == (2, len(NAMES))
    assert np.isfinite(features.attributes).all()


def test_chunks_join_to_the_same_features():
    images = np.random.default_rng(0).integers(0, 255, (7, 40, 40, 3), np.uint8)
    whole = extract(images)
    joined = ImageFeatures.concatenate(extract(chunk) for chunk in (images[:3], images[3:]))
    assert np.array_equal(joined.reduced, whole.reduced)
    assert np.array_equal(joined.attributes, whole.attributes)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8), np.int64), np.zeros((8, 8), np.uint8), np.zeros((1, 8, 8, 2), np.uint8)]
)
def test_other_arrays_are_refused(images: np.ndarray):
    with pytest.raises(ValueError, match="uint8"):
        extract(images)
