"""The search for the training images that look most like others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tidegauge.phantoms import draw
from tidegauge.stats.images.features import extract
from tidegauge.stats.images.space import Thumbnails, apart

Image = npt.NDArray[np.uint8]


def plain(left: Image, right: Image) -> npt.NDArray[np.float64]:
    """Compare every pixel, in whole numbers."""
    differences = left[:, np.newaxis].astype(np.int64) - right[np.newaxis]
    return np.sqrt((differences**2).mean(axis=2))


@pytest.fixture(scope="module")
def phantoms() -> Image:
    rng = np.random.default_rng(3)
    return extract(np.stack([draw("NORMAL", rng, size=64) for _ in range(60)])).reduced


def others(phantoms: Image, kind: str) -> Image:
    rng = np.random.default_rng(0)
    if kind == "noise":
        return rng.integers(0, 256, (5, phantoms.shape[1])).astype(np.uint8)
    if kind == "black":
        return np.zeros((2, phantoms.shape[1]), np.uint8)
    return np.asarray({"the same": phantoms[:5], "mirrored": phantoms[:5, ::-1]}[kind])


@pytest.mark.parametrize("kind", ["the same", "mirrored", "noise", "black"])
def test_the_nearest_is_that_of_a_comparison_of_every_pixel(phantoms: Image, kind: str) -> None:
    found, wanted = (
        Thumbnails.of(phantoms).near(others(phantoms, kind), 0.0),
        plain(others(phantoms, kind), phantoms),
    )
    assert found.argmin(axis=1).tolist() == wanted.argmin(axis=1).tolist()
    assert found.min(axis=1) == pytest.approx(wanted.min(axis=1), abs=0.1)


def test_all_that_are_near_enough_are_found_with_their_distance(phantoms: Image) -> None:
    wanted = plain(phantoms[:5], phantoms)
    least = float(np.quantile(wanted, 0.05))
    found = Thumbnails.of(phantoms).near(phantoms[:5], least)
    assert found[wanted <= least] == pytest.approx(wanted[wanted <= least], abs=0.1)
    assert (found[wanted > least + 0.1] > least).all()


def test_colour_images_are_compared_channel_by_channel() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (20, 3 * 1024)).astype(np.uint8)
    shifted = np.clip(colours[:4].astype(int) + 2, 0, 255).astype(np.uint8)
    assert Thumbnails.of(colours).near(shifted, 0.0).argmin(axis=1).tolist() == [0, 1, 2, 3]


def test_nothing_is_near_nothing(phantoms: Image) -> None:
    assert Thumbnails.of(phantoms[:0]).near(phantoms[:3], 1.0).shape == (3, 0)
    assert Thumbnails.of(phantoms).near(phantoms[:0], 1.0).shape == (0, len(phantoms))


def test_every_distance_is_that_of_every_pixel(phantoms: Image) -> None:
    assert apart(phantoms[:5], phantoms) == pytest.approx(plain(phantoms[:5], phantoms), abs=0.1)
