"""Drift of images: how strange they are to a baseline, and which attributes moved.

Strangeness of an image is its mean distance to its nearest neighbours among the baseline's images, in a
space of whitened principal components of the reduced image and standardised attributes. The score of a window
is the Kolmogorov-Smirnov distance between its strangeness and the baseline's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.stats.features import ATTRIBUTES, ImageFeatures, extract
from tidegauge.stats.kolmogorov_smirnov import kolmogorov_smirnov

__all__ = ["ImageBaseline", "ImageDrift", "ImageFeatures", "compare", "extract", "fit_baseline"]

Floats = npt.NDArray[np.float64]

_NEIGHBOURS = 3
_COMPONENTS = 20
_COMPONENT_WEIGHT = 8.0  # all components together weigh about as much as the attributes
_SPLIT_FROM = 100  # images from which fit and ranked part are disjoint; below it, leave one out
_SAME = 0.3  # of the median distance to the nearest neighbour: closer is the same image, encoded again
_FLOOR = 1e-3  # of standard deviations, so that a constant feature does not explode
_CHUNK = 512


@dataclass(frozen=True)
class ImageBaseline:
    """What n training images look like: ``fit`` images span the space, ``ranked`` ones calibrate strangeness.

    Rows of ``points`` are the fit images' places in the space; ``fit`` has their indices among the n images.
    """

    centre: Floats
    components: Floats
    component_scale: Floats
    attribute_centre: Floats
    attribute_scale: Floats
    attribute_mean: Floats
    attribute_deviation: Floats
    points: Floats
    digest: npt.NDArray[np.uint64]
    fit: npt.NDArray[np.int64]
    same: Floats  # one number: distances below it are to the image itself
    strangeness: Floats  # sorted, of the ranked images

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ImageBaseline:
        """Build a baseline from what ``to_arrays`` gave."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class ImageDrift:
    """A window of n images against a baseline.

    ``score`` in [0, 1] and ``p_value`` are None for an empty window. ``strangeness`` and ``nearest`` (index
    of the nearest training image) are in the order of the images; ``ranking`` has the strangest first.
    ``attributes``: difference of the window's mean to the baseline's, in the baseline's standard deviations.
    """

    score: float | None
    p_value: float | None
    n: int
    strangeness: Floats
    nearest: npt.NDArray[np.int64]
    ranking: npt.NDArray[np.int64]
    attributes: Mapping[str, float]


def fit_baseline(features: ImageFeatures, seed: int = 0) -> ImageBaseline:
    """Fit a baseline on the features of at least 5 training images.

    From 100 images on, a random half spans the space and the other half is ranked in it, since images are
    never strange to a space that they span themselves; with fewer each image is ranked without itself.
    """
    n = len(features)
    if n < 5:
        raise ValueError(f"{n} images; a baseline needs at least 5")
    order = np.random.default_rng(seed).permutation(n)
    fit = np.sort(order[: n // 2]) if n >= _SPLIT_FROM else np.arange(n)
    ranked = np.sort(order[n // 2 :]) if n >= _SPLIT_FROM else fit
    chosen = features.take(fit)
    centre = chosen.reduced.mean(axis=0)
    _, singular, axes = np.linalg.svd(chosen.reduced - centre, full_matrices=False)
    kept = min(_COMPONENTS, max(2, len(fit) // 4))
    scale = singular[:kept] / np.sqrt(len(fit) - 1) + _FLOOR
    space = ImageBaseline(
        centre=centre,
        components=axes[:kept],
        component_scale=scale * np.sqrt(kept / _COMPONENT_WEIGHT),
        attribute_centre=np.median(chosen.attributes, axis=0),
        attribute_scale=chosen.attributes.std(axis=0) + _FLOOR,
        attribute_mean=features.attributes.mean(axis=0),
        attribute_deviation=features.attributes.std(axis=0) + _FLOOR,
        points=np.empty((0, 0)),
        digest=chosen.digest,
        fit=fit.astype(np.int64),
        same=np.zeros(1),
        strangeness=np.empty(0),
    )
    points = _place(space, chosen)
    spread = replace(space, points=points)
    nearest = _neighbours(spread, chosen)[0][:, 0]
    known = replace(spread, same=np.array([_SAME * float(np.median(nearest))]))
    strangeness = np.sort(_neighbours(known, features.take(ranked))[0].mean(axis=1))
    return replace(known, strangeness=strangeness)


def compare(baseline: ImageBaseline, features: ImageFeatures) -> ImageDrift:
    """Compare a window of images with a baseline.

    An image that the baseline knows, also encoded again, is compared with its other neighbours: replayed
    training images are no drift. Source of the distance: Sun et al., "Out-of-distribution detection with
    deep nearest neighbors", ICML 2022; of the comparison: kolmogorov_smirnov.
    """
    n = len(features)
    if n == 0:
        empty = np.empty(0, np.int64)
        return ImageDrift(None, None, 0, np.empty(0), empty, empty, {})
    distances, rows = _neighbours(baseline, features)
    strangeness = distances.mean(axis=1)
    moved = (features.attributes.mean(axis=0) - baseline.attribute_mean) / baseline.attribute_deviation
    distance = kolmogorov_smirnov(baseline.strangeness, strangeness)
    return ImageDrift(
        distance.score,
        distance.p_value,
        n,
        strangeness,
        baseline.fit[rows[:, 0]],
        np.argsort(-strangeness, kind="stable"),
        {name: float(value) for name, value in zip(ATTRIBUTES, moved, strict=True)},
    )


def _place(space: ImageBaseline, features: ImageFeatures) -> Floats:
    components = (features.reduced - space.centre) @ space.components.T / space.component_scale
    attributes = (features.attributes - space.attribute_centre) / space.attribute_scale
    return np.hstack([components, attributes])


def _neighbours(baseline: ImageBaseline, features: ImageFeatures) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the distances to the nearest fit images, nearest first, and their rows; never to itself."""
    points = _place(baseline, features)
    squares = (baseline.points**2).sum(axis=1)
    count = min(_NEIGHBOURS, len(baseline.points) - 1)
    distances = np.empty((len(points), count))
    rows = np.empty((len(points), count), np.int64)
    for start in range(0, len(points), _CHUNK):
        part = slice(start, start + _CHUNK)
        here = points[part]
        square = (here**2).sum(axis=1)[:, None] + squares - 2 * here @ baseline.points.T
        distance = np.sqrt(np.maximum(square, 0.0))
        itself = (features.digest[part, None] == baseline.digest) | (distance < baseline.same[0])
        # Where everything is the image itself (all equal), its distance is what it is: zero.
        itself &= itself.sum(axis=1, keepdims=True) <= distance.shape[1] - count
        distance = np.where(itself, np.inf, distance)
        nearest = np.argpartition(distance, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(distance, nearest, axis=1)
        order = np.argsort(values, axis=1, kind="stable")
        distances[part] = np.take_along_axis(values, order, axis=1)
        rows[part] = np.take_along_axis(nearest, order, axis=1)
    return distances, rows
