"""Drift of images: how strange they are to a baseline, and which attributes moved.

Strangeness of an image is its mean distance to its nearest neighbours among the baseline's images, in a
space of whitened principal components of the reduced image and standardised attributes. The score of a window
is the Kolmogorov-Smirnov distance between its strangeness and the baseline's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.stats.images.features import ATTRIBUTES, Image, ImageFeatures, extract
from tidegauge.stats.images.space import Space, apart, span
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_MINIMUM = 5  # images; with fewer there is nothing to be strange to
_SPLIT_FROM = 400  # images from which fit and ranked part are disjoint
_FOLDS = 20  # below it
_MOST = 4096  # images in either part, so that a huge baseline stays quick
_SAME = 0.05  # of the usual way to the nearest image: closer is the same image, encoded again
_SAME_AT_LEAST = 0.25  # grey levels
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class ImageBaseline:
    """What n training images look like.

    ``home`` ``[n]`` tells in which of ``spaces`` an image of the baseline is compared: one that it does not
    span itself. The first space is for images never seen. ``strangeness`` ``[n]`` is NaN for images that are
    not ranked. Images less than ``same`` grey levels apart are the same image.
    """

    reduced: Image
    attribute_mean: Floats
    attribute_deviation: Floats
    home: Indices
    strangeness: Floats
    same: float
    spaces: tuple[Space, ...]

    @property
    def n(self) -> int:
        """Number of training images."""
        return len(self.home)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        spaces = {
            f"space.{i}.{name}": a
            for i, space in enumerate(self.spaces)
            for name, a in space.to_arrays().items()
        }
        return {
            "reduced": self.reduced,
            "attribute_mean": self.attribute_mean,
            "attribute_deviation": self.attribute_deviation,
            "home": self.home,
            "strangeness": self.strangeness,
            "same": np.array(self.same),
            **spaces,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ImageBaseline:
        """Build a baseline from what ``to_arrays`` gave."""
        spaces: dict[int, dict[str, npt.NDArray[Any]]] = {}
        for key, array in arrays.items():
            if key.startswith("space."):
                _, number, name = key.split(".")
                spaces.setdefault(int(number), {})[name] = array
        return cls(
            reduced=arrays["reduced"],
            attribute_mean=arrays["attribute_mean"],
            attribute_deviation=arrays["attribute_deviation"],
            home=arrays["home"],
            strangeness=arrays["strangeness"],
            same=float(arrays["same"]),
            spaces=tuple(Space.from_arrays(spaces[number]) for number in sorted(spaces)),
        )


@dataclass(frozen=True, eq=False)
class ImageDrift:
    """A window of n images against a baseline.

    ``score`` in [0, 1] and ``p_value`` are None where the window is empty or the baseline has fewer than 5
    images; then strangeness is NaN and nearest -1. ``strangeness`` and ``nearest`` (index of the training
    image that looks most alike) are in the order of the images; ``ranking`` has the strangest first.
    ``attributes``: the window's mean less the baseline's, in the baseline's standard deviations.
    """

    score: float | None
    p_value: float | None
    n: int
    strangeness: Floats
    nearest: Indices
    ranking: Indices
    attributes: Mapping[str, float]


def fit_baseline(images: Image | ImageFeatures) -> ImageBaseline:
    """Fit a baseline on training images, uint8 ``[n, h, w, c]``, or on their features.

    From 400 images on, one half spans the space and the other half is ranked in it, since images are never
    strange to a space that they span themselves; with fewer, each is ranked in a space that the other 19 of
    20 parts span. Chance decides the parts, by a hash of the image, so that their order does not matter.
    """
    features = images if isinstance(images, ImageFeatures) else extract(images)
    n = len(features)
    deviation = features.attributes.std(axis=0) if n else np.zeros(len(ATTRIBUTES))
    spaces, home = _spaces(features)
    members = spaces[0].members if spaces else np.empty(0, np.int64)
    baseline = ImageBaseline(
        reduced=features.reduced,
        attribute_mean=features.attributes.mean(axis=0) if n else np.zeros(len(ATTRIBUTES)),
        attribute_deviation=np.maximum(deviation, list(ATTRIBUTES.values())),
        home=home,
        strangeness=np.full(n, np.nan),
        same=max(_SAME_AT_LEAST, _SAME * _usual_distance(features.reduced[members])),
        spaces=spaces,
    )
    for number, space in enumerate(spaces):
        ranked = np.flatnonzero((home == number) & ~np.isin(np.arange(n), space.members))
        ranked = np.sort(ranked[_by_chance(features.take(ranked))[:_MOST]])
        chosen = features.take(ranked)
        baseline.strangeness[ranked] = space.strangeness(chosen, _same(baseline, chosen.reduced, space))
    return baseline


def compare(baseline: ImageBaseline, images: Image | ImageFeatures) -> ImageDrift:
    """Compare a window of images, uint8 ``[n, h, w, c]``, or of their features with a baseline.

    An image that the baseline has, also encoded again, is compared with the other images only: replayed
    training images are no drift.
    """
    features = images if isinstance(images, ImageFeatures) else extract(images)
    n = len(features)
    if n and baseline.n and features.reduced.shape[1] != baseline.reduced.shape[1]:
        raise ValueError("the window and the baseline have different numbers of channels")
    if not n or not baseline.spaces:
        nobody = np.full(n, -1)
        return ImageDrift(None, None, n, np.full(n, np.nan), nobody, np.arange(n), {})
    nearest, known = _look_up(baseline, features.reduced)
    strangeness = np.empty(n)
    home = np.where(known, baseline.home[nearest], 0)
    for number in np.unique(home):
        here = home == number
        chosen, space = features.take(here), baseline.spaces[number]
        strangeness[here] = space.strangeness(chosen, _same(baseline, chosen.reduced, space))
    distance = kolmogorov_smirnov(baseline.strangeness, strangeness)
    moved = (features.attributes.mean(axis=0) - baseline.attribute_mean) / baseline.attribute_deviation
    return ImageDrift(
        score=distance.score,
        p_value=distance.p_value,
        n=n,
        strangeness=strangeness,
        nearest=nearest,
        ranking=np.argsort(-strangeness, kind="stable"),
        attributes={name: float(value) for name, value in zip(ATTRIBUTES, moved, strict=True)},
    )


def _spaces(features: ImageFeatures) -> tuple[tuple[Space, ...], Indices]:
    n = len(features)
    home = np.zeros(n, np.int64)
    if n < _MINIMUM:
        return (), home
    order = _by_chance(features)
    if n >= _SPLIT_FROM:
        return (span(features, np.sort(order[: n // 2][:_MOST])),), home
    folds = min(_FOLDS, n)
    home[order] = 1 + np.arange(n) % folds
    parts = (np.flatnonzero(home != number) for number in range(1, folds + 1))
    return (span(features, np.arange(n)), *(span(features, part) for part in parts)), home


def _by_chance(features: ImageFeatures) -> Indices:
    """Return the images in an order that depends on what they show alone."""
    rows = zip(features.reduced, features.attributes, strict=True)
    return np.array(
        sorted(
            range(len(features)),
            key=[
                hashlib.blake2b(r.tobytes() + a.tobytes(), digest_size=8).digest() for r, a in rows
            ].__getitem__,
        ),
        np.int64,
    )


def _usual_distance(reduced: Image) -> float:
    """Return the median distance from an image to its nearest other image, in grey levels."""
    if len(reduced) < 2:
        return 0.0
    nearest = np.empty(len(reduced))
    for start in range(0, len(reduced), _CHUNK):
        part = slice(start, start + _CHUNK)
        # The nearest is the image itself; a second one at distance 0 counts.
        nearest[part] = np.partition(apart(reduced[part], reduced), 1)[:, 1]
    return float(np.median(nearest))


def _look_up(baseline: ImageBaseline, reduced: Image) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Return the nearest training image of each image, and whether it is the same image."""
    nearest = np.empty(len(reduced), np.int64)
    known = np.empty(len(reduced), np.bool_)
    for start in range(0, len(reduced), _CHUNK):
        part = slice(start, start + _CHUNK)
        distances = apart(reduced[part], baseline.reduced)
        nearest[part] = distances.argmin(axis=1)
        known[part] = distances.min(axis=1) <= baseline.same
    return nearest, known


def _same(baseline: ImageBaseline, reduced: Image, space: Space) -> npt.NDArray[np.bool_]:
    return np.asarray(apart(reduced, baseline.reduced[space.members]) <= baseline.same)
