"""The space that images of a baseline are compared in: components, attributes, and named changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.linalg import eigh

from tidegauge.stats.images.changes import CHANGES, GEOMETRIC
from tidegauge.stats.images.features import ATTRIBUTES, DETAILS, EDGES, SIDE, Image, ImageFeatures
from tidegauge.stats.images.samples import ImageSamples, lowest
from tidegauge.stats.two_sample.vectors import squared_distances

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Describe = Callable[[ImageFeatures], Floats]

_COMPONENTS = 80  # that changes are told by
_LEADING = 8  # of them that are features of their own
_CHANGED = 512  # images that changes are learned from
_NEIGHBOURS = 5
_LEAST_SHRINKAGE = 0.05
_STRANGE_SHRINKAGE = 0.2
_HARMLESS_WEIGHTS = (1.0, 5.0, 25.0)  # of harmless variation in what counts as noise
_FAR = 8.0  # standard deviations; farther is no more news
_LEFT_OVER_FLOOR = 0.1
_LEVEL = float(SIDE)  # length of a difference of one grey level in every pixel of the reduced image
_CHUNK = 1024
_ROUNDING = 0.1  # grey levels
_FEW = 16  # one pair in so many is quicker to compare by itself
_COSINES: npt.NDArray[np.float32] = dct(np.eye(SIDE), norm="ortho", axis=0)[:12].astype(np.float32)


@dataclass(frozen=True, eq=False)
class Space:
    """Spanned by ``members``, indices among the baseline's images, whose places are ``points`` ``[m, d]``.

    ``mean`` and ``axes`` take a reduced image to its components. A description is these, what they leave
    over, attributes and details; ``centre`` and ``scale`` standardise it and ``directions`` take it to how
    much it looks changed, one column a named change. ``whitening`` takes all that makes images strange to d
    dimensions of unit variance. ``shown`` and ``turn`` take an encoder's embedding to its leading components.
    """

    mean: Floats
    axes: npt.NDArray[np.float32]
    centre: Floats
    scale: Floats
    directions: Floats
    shown: Floats
    turn: Floats
    origin: Floats
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

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the features in the order of ``observe``, by kind."""
        leading = min(_LEADING, len(self.axes))
        return (
            ("strangeness",),
            tuple(ATTRIBUTES),
            tuple(CHANGES),
            tuple(f"component {i + 1}" for i in range(leading)),
            tuple(f"embedding {i + 1}" for i in range(self.turn.shape[1])),
        )

    def observe(self, features: ImageFeatures, itself: npt.NDArray[np.bool_]) -> Floats:
        """Return observations ``[n, K]``; members in ``itself`` ``[n, m]`` are no neighbours."""
        described = self.describe(features)
        changes, embedding = self._changes(described), self.embed(features)
        leading = described[:, : min(_LEADING, len(self.axes))]
        strangeness = self._distance(self._place(described, changes, embedding), itself)
        return np.column_stack([strangeness, features.attributes, changes, leading, embedding])

    def strangeness(self, features: ImageFeatures, itself: npt.NDArray[np.bool_]) -> Floats:
        """Return the mean distance ``[n]`` to the 5 nearest members without those in ``itself`` ``[n, m]``.

        Source: Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022.
        """
        described = self.describe(features)
        places = self._place(described, self._changes(described), self.embed(features))
        return self._distance(places, itself)

    def describe(self, features: ImageFeatures) -> Floats:
        """Return the standardised descriptions ``[n, D]``."""
        return (_raw(features, self.mean, self.axes) - self.centre) / self.scale

    def _changes(self, described: Floats) -> Floats:
        return np.clip(described, -_FAR, _FAR) @ self.directions

    def embed(self, features: ImageFeatures) -> Floats:
        """Return the leading components of the embeddings ``[n, k]``, in unit variance."""
        return (features.embedding - self.shown) @ self.turn

    def _place(self, described: Floats, changes: Floats, embedding: Floats) -> Floats:
        return (_strange(described, changes, embedding, len(self.axes)) - self.origin) @ self.whitening

    def _distance(self, places: Floats, itself: npt.NDArray[np.bool_]) -> Floats:
        result = np.empty(len(places))
        for start in range(0, len(places), _CHUNK):
            part = slice(start, start + _CHUNK)
            distances = np.sqrt(squared_distances(places[part], self.points))
            distances[itself[part]] = np.inf
            nearest = np.sort(
                np.partition(distances, min(_NEIGHBOURS, distances.shape[1]) - 1)[:, :_NEIGHBOURS]
            )
            finite = np.isfinite(nearest)
            total = np.where(finite, nearest, 0.0).sum(axis=1)
            # Where every member is the image itself, nothing about it is strange.
            result[part] = total / np.maximum(finite.sum(axis=1), 1)
        return result


def span(samples: ImageSamples, members: Indices) -> Space:
    """Fit a space on the members.

    Components are principal components of the reduced images and of moved ones, so that they show what
    moves. The direction of a change is Fisher's linear discriminant between members as they are and changed;
    harmless variation counts as noise. Floors keep variation below what encodings make from being blown up.
    Sources: Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7 (1936);
    shrinkage after Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis 88 (2004), in its simplest form.
    """
    chosen = samples.plain.take(members)
    learned = lowest(np.intersect1d(members, samples.changed.rows), samples.keys, _CHANGED)
    mean, axes = _components(samples, learned, chosen.reduced.mean(axis=0))
    raw = _raw(chosen, mean, axes)
    floors = np.concatenate(
        [np.full(len(axes), _LEVEL), [_LEFT_OVER_FLOOR], list(ATTRIBUTES.values()), DETAILS]
    )
    centre, scale = raw.mean(axis=0), np.maximum(raw.std(axis=0), floors)
    shown, turn = _leading(chosen.embedding)
    size = raw.shape[1]
    unfitted = Space(
        mean, axes, centre, scale, np.zeros((size, 0)), shown, turn, np.zeros(0), np.zeros((0, 0)),
        members, np.zeros((0, 0)),
    )  # fmt: skip

    def described(features: ImageFeatures) -> Floats:
        return np.clip(unfitted.describe(features), -_FAR, _FAR)

    varied = np.intersect1d(learned, samples.varied.rows)
    variants = [samples.varied.of(varied, v) for v in range(samples.variants)]
    directions = _directions(samples, learned, described)
    return _whiten(unfitted, directions, chosen, [samples.plain.take(varied), *variants])


def inverse_root(covariance: Floats) -> Floats:
    """Return the symmetric matrix that takes vectors of this covariance to unit variance."""
    values, vectors = eigh(covariance)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """m reduced images, ready to be searched for those that look most like others.

    ``waves`` ``[m, k]`` are their leading cosine coefficients: no two images are nearer than these are, so
    most need not be compared pixel by pixel.
    """

    reduced: Image
    waves: npt.NDArray[np.float32]

    @classmethod
    def of(cls, reduced: Image) -> Thumbnails:
        """Take reduced images ``[m, d]``."""
        return cls(reduced, _waves(reduced))

    def near(self, others: Image, least: float) -> Floats:
        """Return the root mean square difference ``[n, m]`` of others from these, in grey levels.

        It is infinite where it is surely more than ``least`` and not the smallest of another image. Source:
        Agrawal, Faloutsos and Swami, "Efficient similarity search in sequence databases", FODO 1993.
        """
        distances = np.full((len(others), len(self.reduced)), np.inf)
        if not distances.size:
            return distances
        bounds = np.sqrt(squared_distances(_waves(others), self.waves) / others.shape[1])
        guessed = bounds.argmin(axis=1)
        reach = np.maximum(_differences(others, self.reduced[guessed]), least) + _ROUNDING
        left, right = np.nonzero(bounds <= reach[:, np.newaxis])
        if len(left) > distances.size // _FEW:  # noise resembles nothing, and everything alike
            return apart(others, self.reduced)
        for start in range(0, len(left), _CHUNK):
            rows, columns = left[start : start + _CHUNK], right[start : start + _CHUNK]
            distances[rows, columns] = _differences(others[rows], self.reduced[columns])
        return distances


def apart(left: Image, right: Image) -> Floats:
    """Return the root mean square difference of reduced images, ``[n, m]``, in grey levels, to 0.1."""
    result = np.empty((len(left), len(right)))
    middle = right.mean(axis=0, dtype=np.float32) if len(right) else np.float32(0)
    moved = left - middle  # small numbers keep their digits
    for start in range(0, len(right), _CHUNK):
        part = slice(start, start + _CHUNK)
        squares = squared_distances(moved, right[part] - middle)
        result[:, part] = np.sqrt(squares / max(1, right.shape[1]))
    return result


def _differences(left: Image, right: Image) -> Floats:
    """Return the root mean square difference ``[n]`` of each reduced image from its partner."""
    differences = left.astype(np.float32) - right
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", differences, differences) / left.shape[1]), np.float64)


def _waves(reduced: Image) -> npt.NDArray[np.float32]:
    """Return the leading cosine coefficients ``[n, k]`` of reduced images, of each channel."""
    n, channels = len(reduced), reduced.shape[1] // SIDE**2
    down = np.tensordot(reduced.reshape(n, SIDE, SIDE, channels) - np.float32(128), _COSINES, ((1,), (1,)))
    return np.tensordot(down, _COSINES, ((1,), (1,))).reshape(n, channels * len(_COSINES) ** 2)


def _whiten(space: Space, directions: Floats, chosen: ImageFeatures, varied: list[ImageFeatures]) -> Space:
    """Return the space with what makes strange brought to unit variance, harmless variation counted in."""

    def strange(features: ImageFeatures) -> Floats:
        described = space.describe(features)
        changes = np.clip(described, -_FAR, _FAR) @ directions
        return _strange(described, changes, space.embed(features), len(space.axes))

    places = strange(chosen)
    origin = places.mean(axis=0)
    original = strange(varied[0])
    size = places.shape[1]
    covariance = (places - origin).T @ (places - origin) / max(1, len(places))
    covariance = covariance + _harmless([strange(features) - original for features in varied[1:]], size)
    shrinkage = max(_STRANGE_SHRINKAGE, size / (size + len(places)))
    whitening = inverse_root(_shrunk(covariance, shrinkage))
    names = {field.name: getattr(space, field.name) for field in fields(space)}
    return Space(
        **{
            **names,
            "directions": directions,
            "origin": origin,
            "whitening": whitening,
            "points": (places - origin) @ whitening,
        }
    )


def _strange(described: Floats, changes: Floats, embedding: Floats, components: int) -> Floats:
    """Return what makes an image strange: leading components, the rest, attributes, edges, changes."""
    leading = described[:, : min(_LEADING, components)]
    rest = described[:, components : components + 1 + len(ATTRIBUTES) + EDGES]
    return np.column_stack([leading, rest, changes, embedding])


def _directions(samples: ImageSamples, learned: Indices, described: Describe) -> Floats:
    """Return the direction of each named change, ``[D, changes]``, in units of the members' deviation.

    Of three weights of harmless variation each change gets the one that leaves it standing out most: a change
    that resembles what is harmless would vanish with it, others lose nothing by ignoring it.
    """
    plain = described(samples.plain.take(learned))
    varied = np.intersect1d(learned, samples.varied.rows)
    original = described(samples.plain.take(varied))
    shifts = [described(samples.varied.of(varied, v)) - original for v in range(samples.variants)]
    size = plain.shape[1]
    shrinkage = max(_LEAST_SHRINKAGE, size / (size + 4 * max(1, len(plain))))
    spread, harmless = plain.T @ plain / max(1, len(plain)), _harmless(shifts, size)
    found = np.zeros((size, len(CHANGES)))
    place = 0
    for column, pair in enumerate(CHANGES.values()):
        sides = [described(samples.changed.of(learned, place + i)) for i in range(len(pair))]
        place += len(pair)
        if not len(plain):
            continue
        spreads = [_covariance(side) for side in sides]
        way = sides[0].mean(axis=0) - (sides[1] if len(sides) > 1 else plain).mean(axis=0)
        best = -np.inf
        for weight in _HARMLESS_WEIGHTS:
            within = np.mean([spread + weight * harmless, *spreads], axis=0)
            direction = np.linalg.solve(_shrunk(within, shrinkage), way)
            direction /= max(float((plain @ direction).std()), 1e-9)
            reach = np.array([shift @ direction for shift in shifts] or [np.zeros(1)])
            margin = way @ direction / len(pair) - 2 * np.ptp(reach, axis=0).mean()
            if margin > best:
                best, found[:, column] = margin, direction
    return found


def _components(
    samples: ImageSamples, learned: Indices, mean: Floats
) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Return the mean and principal directions ``[k, p]``, the widest first."""
    rows = [samples.plain.take(learned).reduced]
    place = 0
    for name, pair in CHANGES.items():
        if name in GEOMETRIC:
            rows += [samples.changed.of(learned, place + i).reduced for i in range(len(pair))]
        place += len(pair)
    centred = np.concatenate(rows).astype(np.float32) - mean.astype(np.float32)
    count = min(_COMPONENTS, len(learned))
    if not count:
        return mean, np.empty((0, centred.shape[1]), np.float32)
    wide = centred.shape[1] > len(centred)
    gram = centred @ centred.T if wide else centred.T @ centred
    values, vectors = eigh(gram.astype(np.float64), subset_by_index=[len(gram) - count, len(gram) - 1])
    axes = vectors[:, ::-1].T
    if wide:
        axes = axes @ centred / np.sqrt(np.maximum(values[::-1], 1e-9))[:, np.newaxis]
    return mean, np.asarray(axes, np.float32)


def _leading(embedding: Floats) -> tuple[Floats, Floats]:
    """Return mean and directions ``[d, k]`` of the leading components of an embedding, in unit variance."""
    columns = embedding.shape[1]
    mean = embedding.mean(axis=0) if len(embedding) else np.zeros(columns)
    if not columns or not len(embedding):
        return mean, np.zeros((columns, 0))
    values, vectors = eigh(_covariance(embedding))
    largest = values[-1]
    kept = [i for i in range(columns - 1, max(-1, columns - 1 - _LEADING), -1) if values[i] > 1e-6 * largest]
    return mean, vectors[:, kept] / np.sqrt(values[kept])


def _harmless(shifts: list[Floats], size: int) -> Floats:
    total = np.zeros((size, size))
    for shift in shifts:
        total += shift.T @ shift / max(1, len(shift))
    return total


def _covariance(rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=0)
    return np.asarray(centred.T @ centred / max(1, len(rows)))


def _shrunk(covariance: Floats, shrinkage: float) -> Floats:
    size = len(covariance)
    scale = max(float(np.trace(covariance)) / max(1, size), 1e-9)
    return np.asarray((1 - shrinkage) * covariance + shrinkage * scale * np.eye(size))


def _raw(features: ImageFeatures, mean: Floats, axes: npt.NDArray[np.float32]) -> Floats:
    centred = features.reduced - mean.astype(np.float32)
    components = centred @ axes.T
    left_over = np.maximum((centred**2).sum(axis=1) - (components**2).sum(axis=1), 0.0)
    residual = np.log(np.sqrt(left_over / max(1, centred.shape[1])) + 0.5)
    return np.column_stack([components, residual, features.attributes, features.details]).astype(np.float64)
