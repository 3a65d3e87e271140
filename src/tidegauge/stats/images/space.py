"""The space in which images are near or far: whitened components of the reduced image beside attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from tidegauge.stats.images.features import ATTRIBUTES, SIDE, Image, ImageFeatures

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_COMPONENTS = 12
_IMAGES_PER_COMPONENT = 5  # a component that few images define says more of them than of images
_NEIGHBOURS = 5
_SHRINKAGE = 0.1  # at least so much of the covariance is taken for independent
_RESIDUAL_FLOOR = 0.1
_LEVEL = float(SIDE)  # length of a difference of one grey level in every pixel of the reduced image
_MIDDLE = np.float32(128)  # small numbers keep their digits
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Space:
    """Spanned by ``members``, indices among the baseline's images, whose places are ``points`` ``[m, d]``.

    ``mean`` and ``axes`` take a reduced image to its components; ``centre`` and ``whitening`` take these,
    the attributes and the logarithm of what the components leave over to d dimensions of unit variance.
    """

    mean: Floats
    axes: Floats
    centre: Floats
    whitening: Floats
    members: Indices
    points: Floats

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Space:
        """Build a space from what ``to_arrays`` gave."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def strangeness(self, features: ImageFeatures, itself: npt.NDArray[np.bool_]) -> Floats:
        """Return the mean distance ``[n]`` to the 5 nearest members without those in ``itself`` ``[n, m]``.

        Source: Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022.
        """
        result = np.empty(len(features))
        for start in range(0, len(features), _CHUNK):
            part = slice(start, start + _CHUNK)
            places = _raw(features.take(np.arange(len(features))[part]), self.mean, self.axes)
            distances = np.sqrt(_squares((places - self.centre) @ self.whitening, self.points))
            distances[itself[part]] = np.inf
            nearest = np.sort(
                np.partition(distances, min(_NEIGHBOURS, distances.shape[1]) - 1)[:, :_NEIGHBOURS]
            )
            finite = np.isfinite(nearest)
            total = np.where(finite, nearest, 0.0).sum(axis=1)
            # Where every member is the image itself, nothing about it is strange.
            result[part] = total / np.maximum(finite.sum(axis=1), 1)
        return result


def span(features: ImageFeatures, members: Indices) -> Space:
    """Fit a space on the members: principal components, then whitening with a shrunk covariance.

    Floors keep variation below what encodings make from being blown up: one grey level for components,
    ``ATTRIBUTES`` for attributes. Source of the shrinkage: Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", Journal of Multivariate Analysis 88 (2004), in its simplest form.
    """
    chosen = features.take(members)
    mean = chosen.reduced.mean(axis=0)
    scales, axes = _components(chosen.reduced - mean, min(_COMPONENTS, len(members) // _IMAGES_PER_COMPONENT))
    raw = _raw(chosen, mean, axes)
    centre = raw.mean(axis=0)
    floors = np.concatenate([np.full(len(axes), _LEVEL), list(ATTRIBUTES.values()), [_RESIDUAL_FLOOR]])
    deviations = np.maximum(np.concatenate([scales, raw[:, len(axes) :].std(axis=0)]), floors)
    scaled = (raw - centre) / deviations
    size = scaled.shape[1]
    shrinkage = max(_SHRINKAGE, size / (size + len(members)))
    covariance = (1 - shrinkage) * (scaled.T @ scaled) / len(members) + shrinkage * np.eye(size)
    values, vectors = eigh(covariance)
    whitening = (vectors / np.sqrt(values)) @ vectors.T / deviations[:, np.newaxis]
    return Space(mean, axes, centre, whitening, members, (raw - centre) @ whitening)


def apart(left: Image, right: Image) -> Floats:
    """Return the root mean square difference of reduced images, ``[n, m]``, in grey levels, to 0.1."""
    result = np.empty((len(left), len(right)))
    rows = left.astype(np.float32) - _MIDDLE
    for start in range(0, len(right), _CHUNK):
        part = slice(start, start + _CHUNK)
        squares = _squares(rows, right[part].astype(np.float32) - _MIDDLE)
        result[:, part] = np.sqrt(squares / max(1, left.shape[1]))
    return result


def _components(centred: Floats, count: int) -> tuple[Floats, Floats]:
    """Return standard deviations ``[k]`` and directions ``[k, p]`` of the principal components."""
    rows, columns = centred.shape
    if not count:
        return np.empty(0), np.empty((0, columns))
    wide = columns > rows
    gram = centred @ centred.T if wide else centred.T @ centred
    values, vectors = eigh(gram, subset_by_index=[len(gram) - count, len(gram) - 1])
    values = np.maximum(values, 1e-9)
    axes = (centred.T @ vectors / np.sqrt(values)).T if wide else vectors.T
    return np.sqrt(values / rows), axes


def _raw(features: ImageFeatures, mean: Floats, axes: Floats) -> Floats:
    centred = features.reduced - mean
    components = centred @ axes.T
    left_over = np.maximum((centred**2).sum(axis=1) - (components**2).sum(axis=1), 0.0)
    residual = np.log(np.sqrt(left_over / max(1, centred.shape[1])) + 0.5)
    return np.column_stack([components, features.attributes, residual])


def _squares(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    sums = np.einsum("ij,ij->i", left, left)[:, np.newaxis] + np.einsum("ij,ij->i", right, right)
    return np.asarray(np.maximum(sums - 2 * left @ right.T, 0))
