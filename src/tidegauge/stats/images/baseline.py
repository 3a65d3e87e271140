"""Drift of images: how strange they are to a baseline, and which attributes moved.

Strangeness of an image is its mean distance to its nearest neighbours among the baseline's images, in a
space of components, attributes and named changes. The score of a window is the Kolmogorov-Smirnov distance
between its strangeness and the baseline's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.stats.evidence.ranks import Tolerated
from tidegauge.stats.images.changes import HARMLESS, Tolerance
from tidegauge.stats.images.features import ATTRIBUTES, Encoder, Image, ImageFeatures, extract
from tidegauge.stats.images.samples import SPLIT_FROM, Images, ImageSamples, lowest, sample
from tidegauge.stats.images.space import Space, Thumbnails, apart, inverse_root, span
from tidegauge.stats.two_sample.kolmogorov_smirnov import kolmogorov_smirnov_distance
from tidegauge.stats.two_sample.mmd import mmd
from tidegauge.stats.two_sample.numbers import Numbers
from tidegauge.stats.two_sample.vectors import Vectors

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MINIMUM = 5  # images; with fewer there is nothing to be strange to
_FOLDS = 10  # below SPLIT_FROM images
_MOST = 2048  # images in either part, so that a huge baseline stays quick
_SAME = 0.05  # of the usual way to the nearest image: closer is the same image, encoded again
_SAME_AT_LEAST = 0.25  # grey levels
_TESTED = 500  # images of a window at most that the p-value is computed of
_PERMUTATIONS = 1999
_SHRINKAGE = 0.3  # of what the p-value takes for correlation
_CONSTANT = 1e-9  # deviation below which a feature never varies
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class ImageBaseline:
    """What n training images look like.

    ``space`` is spanned by the fitted half; the other half is ranked in it: ``fitted`` ``[f, K]`` and
    ``ranked`` ``[m, K]`` are their observations, ``tolerated`` the extremes of the ranked ones over harmless
    variation, and ``features`` and ``weights`` ``[K]`` name and weigh the columns. ``strangeness`` ``[n]``
    is NaN for images that are not ranked. With fewer than 400 images that is their strangeness in ``folds``:
    ``home`` ``[n]`` tells in which an image of the baseline is compared, one that it does not span; the first
    is for images never seen. Images less than ``same`` grey levels apart are the same image.
    """

    samples: ImageSamples
    attribute_mean: Floats
    attribute_deviation: Floats
    home: Indices
    strangeness: Floats
    same: float
    folds: tuple[Space, ...]
    space: Space | None
    fitted: Floats
    ranked: Floats
    tolerated: Tolerated | None
    encoder: Encoder | None = None

    @property
    def n(self) -> int:
        """Number of training images."""
        return len(self.samples)

    @property
    def reduced(self) -> Image:
        """The reduced training images, uint8 ``[n, 1024 * channels]``."""
        return self.samples.plain.reduced

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the K columns of ``observe``."""
        return tuple(name for group in self._groups for name in group)

    @property
    def weights(self) -> Floats:
        """Share ``[K]`` of alpha that each feature gets: every kind as much as every other."""
        groups = [group for group in self._groups if group]
        return np.array([1 / len(group) / len(groups) for group in groups for _ in group], np.float64)

    @cached_property
    def usual(self) -> Numbers:
        """The strangeness of the ranked images, sorted."""
        return Numbers.of(self.strangeness)

    @cached_property
    def vectors(self) -> Vectors:
        """The ranked observations, freed of correlation, with the distances among them."""
        return Vectors.of(self.standardise(self.ranked))

    def standardise(self, observations: Floats) -> Floats:
        """Return observations ``[n, K]`` in units that the fitted ones vary by, freed of correlation.

        Features that move together then count once, and one that leaves their usual relation stands out.
        """
        centre, whitening = self._whitening
        return np.asarray((observations - centre) @ whitening)

    def observe(self, images: npt.NDArray[Any] | ImageFeatures | ObservedImages) -> Floats:
        """Return the observations ``[n, K]`` of images, or of their features.

        A training image that comes back is no neighbour of itself.
        """
        if isinstance(images, ObservedImages):
            return images.observations
        if self.space is None:
            raise ValueError(f"the baseline has {self.n} images; give {_MINIMUM} or more to observe by")
        features = self.extract(images)
        return self.space.observe(features, self.itself(features, self.space))

    def moved(self, attributes: Floats) -> dict[str, float]:
        """Return how far attributes ``[10]`` lie from the images' mean, in their standard deviations."""
        moved = (attributes - self.attribute_mean) / self.attribute_deviation
        return {name: float(value) for name, value in zip(ATTRIBUTES, moved, strict=True)}

    def merge(self, other: ImageBaseline) -> ImageBaseline:
        """Return the baseline of the training images of both, in this order."""
        return _fit(self.samples.concatenate(other.samples), self.encoder)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage; an encoder is not among them."""
        spaces = {"space": self.space} if self.space else {}
        spaces |= {f"fold{i}": fold for i, fold in enumerate(self.folds)}
        tolerated = self.tolerated
        return {
            **{f"samples.{name}": array for name, array in self.samples.to_arrays().items()},
            "attribute_mean": self.attribute_mean,
            "attribute_deviation": self.attribute_deviation,
            "home": self.home,
            "strangeness": self.strangeness,
            "same": np.array(self.same),
            "fitted": self.fitted,
            "ranked": self.ranked,
            **({"low": tolerated.low, "high": tolerated.high, "slack": tolerated.slack} if tolerated else {}),
            **{
                f"{place}.{name}": array
                for place, space in spaces.items()
                for name, array in space.to_arrays().items()
            },
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], encoder: Encoder | None = None
    ) -> ImageBaseline:
        """Build a baseline from what ``to_arrays`` gave."""
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {}
        for key, array in arrays.items():
            part, _, name = (
                key.rpartition(".") if not key.startswith("samples.") else ("samples", "", key[8:])
            )
            parts.setdefault(part, {})[name] = array
        rest = parts[""]
        folds = sorted((part for part in parts if part.startswith("fold")), key=lambda part: int(part[4:]))
        return cls(
            samples=ImageSamples.from_arrays(parts["samples"]),
            attribute_mean=rest["attribute_mean"],
            attribute_deviation=rest["attribute_deviation"],
            home=rest["home"],
            strangeness=rest["strangeness"],
            same=float(rest["same"]),
            folds=tuple(Space.from_arrays(parts[part]) for part in folds),
            space=Space.from_arrays(parts["space"]) if "space" in parts else None,
            fitted=rest["fitted"],
            ranked=rest["ranked"],
            tolerated=Tolerated(rest["low"], rest["high"], rest["slack"]) if "low" in rest else None,
            encoder=encoder,
        )

    @cached_property
    def _whitening(self) -> tuple[Floats, Floats]:
        deviation = self.fitted.std(axis=0)
        units = np.where(deviation > _CONSTANT, deviation, 1.0)
        centre = self.fitted.mean(axis=0)
        scaled = (self.fitted - centre) / units
        size = len(units)
        shrinkage = max(_SHRINKAGE, size / (size + len(scaled)))
        covariance = (1 - shrinkage) * scaled.T @ scaled / len(scaled) + shrinkage * np.eye(size)
        return centre, inverse_root(covariance) / units[:, np.newaxis]

    @property
    def _groups(self) -> tuple[tuple[str, ...], ...]:
        return self.space.groups if self.space else ()

    def extract(self, images: npt.NDArray[Any] | ImageFeatures) -> ImageFeatures:
        """Return the features of images, or check that features fit the baseline; ValueError if not."""
        features = images if isinstance(images, ImageFeatures) else extract(images, self.encoder)
        if len(features) and self.n and features.reduced.shape[1] != self.reduced.shape[1]:
            raise ValueError("the window and the baseline have different numbers of channels")
        return features

    def itself(self, features: ImageFeatures, space: Space) -> Mask:
        """Return which members ``[n, m]`` of a space are the same image as each of n."""
        return np.asarray(self.thumbnails.near(features.reduced, self.same)[:, space.members] <= self.same)

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """The reduced training images, ready to be searched."""
        return Thumbnails.of(self.reduced)


@dataclass(frozen=True, eq=False)
class ObservedImages:
    """What is needed of n images beside one baseline, where no image and no thumbnail may be kept.

    ``observations`` float ``[n, K]``, ``strangeness`` float ``[n]``, ``nearest`` ``[n]``: the index of the
    training image that looks most alike.
    """

    observations: Floats
    strangeness: Floats
    nearest: Indices

    def __len__(self) -> int:
        return len(self.strangeness)

    @property
    def attributes(self) -> Floats:
        """The attributes ``[n, 10]``, which follow the strangeness in every observation."""
        return self.observations[:, 1 : 1 + len(ATTRIBUTES)]

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> ObservedImages:
        """Return some of them, by index or by mask."""
        return ObservedImages(self.observations[rows], self.strangeness[rows], self.nearest[rows])

    @staticmethod
    def concatenate(parts: Iterable[ObservedImages]) -> ObservedImages:
        """Join what is kept of several chunks of images."""
        chunks = list(parts)
        return ObservedImages(
            np.concatenate([chunk.observations for chunk in chunks]),
            np.concatenate([chunk.strangeness for chunk in chunks]),
            np.concatenate([chunk.nearest for chunk in chunks]),
        )


@dataclass(frozen=True, eq=False)
class ImageDrift:
    """A window of n images against a baseline.

    ``score`` in [0, 1], the Kolmogorov-Smirnov distance of strangeness, and ``p_value`` are None where the
    window is empty or the baseline has fewer than 5 images; then strangeness is NaN and nearest -1. The
    p-value is that of the maximum mean discrepancy over all features, by permutations, since shifts
    that make no image strange move the features of many; ``discrepancy`` is its score, in [0, 1].
    ``strangeness`` and ``nearest`` (index of the training image that looks most alike) are in the order of
    the images; ``ranking`` has the strangest first.
    ``attributes``: the window's mean less the baseline's, in the baseline's standard deviations.
    """

    score: float | None
    p_value: float | None
    n: int
    strangeness: Floats
    nearest: Indices
    ranking: Indices
    attributes: Mapping[str, float]
    discrepancy: float | None = None


def fit_baseline(
    images: Images | ImageSamples,
    tolerances: Sequence[Tolerance] = HARMLESS,
    encoder: Encoder | None = None,
    rng: np.random.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageBaseline:
    """Fit a baseline on training images, uint8 or float ``[n, h, w, c]``, or on their samples.

    Chance (``rng``) splits the images: features are fitted on one half, the other is ranked, since an image
    is never strange to a space that it spans itself. With fewer than 400 images the *score* ranks each image
    in a space that the other nine of ten parts span. ``tolerances`` are the variations that are harmless, by
    default re-encoding at JPEG quality 90 and another way of resizing; ``encoder`` adds what a model makes
    of an image. Images are read in chunks; ``progress`` hears how many of how many images are done.
    """
    samples = (
        images if isinstance(images, ImageSamples) else sample(images, tolerances, encoder, rng, progress)
    )
    return _fit(samples, encoder)


def observe(baseline: ImageBaseline, images: npt.NDArray[Any] | ImageFeatures) -> ObservedImages:
    """Return what comparisons with this baseline need of images: numbers, and no thumbnails.

    An image that the baseline has, also encoded again, is compared with the other images only.
    """
    features = baseline.extract(images)
    nearest, known, itself = _look_up(baseline, features.reduced)
    observed = baseline.space.observe(features, itself) if baseline.space else baseline.observe(features)
    strangeness = observed[:, 0].copy()  # with folds, each image is compared at home instead
    home = np.where(known, baseline.home[nearest], 0)
    for number in np.unique(home) if baseline.folds else ():
        here = home == number
        chosen, space = features.take(here), baseline.folds[number]
        strangeness[here] = space.strangeness(chosen, baseline.itself(chosen, space))
    return ObservedImages(observed, strangeness, nearest)


def compare(
    baseline: ImageBaseline,
    images: npt.NDArray[Any] | ImageFeatures | ObservedImages,
    permutations: int = _PERMUTATIONS,
) -> ImageDrift:
    """Compare a window of images, uint8 or float ``[n, h, w, c]``, or of their features with a baseline.

    The p-value is exact whatever the number of ``permutations``, and no smaller than 1 in so many and one.

    An image that the baseline has, also encoded again, is compared with the other images only: replayed
    training images are no drift.
    """
    n = len(images)
    if not n or baseline.space is None:
        nobody = np.full(n, -1)
        return ImageDrift(None, None, n, np.full(n, np.nan), nobody, np.arange(n), {})
    seen = images if isinstance(images, ObservedImages) else observe(baseline, images)
    observed, strangeness = seen.observations, seen.strangeness
    tested = observed[np.random.default_rng(0).permutation(n)[:_TESTED]]
    # In an order of their own: permutations must not depend on how the images came.
    tested = tested[np.lexsort(tested.T)]
    discrepancy = mmd(baseline.vectors, baseline.standardise(tested), permutations)
    return ImageDrift(
        score=kolmogorov_smirnov_distance(baseline.usual, strangeness),
        p_value=discrepancy.p_value,
        n=n,
        strangeness=strangeness,
        nearest=seen.nearest,
        ranking=np.argsort(-strangeness, kind="stable"),
        attributes=baseline.moved(seen.attributes.mean(axis=0)),
        discrepancy=discrepancy.score,
    )


def _fit(samples: ImageSamples, encoder: Encoder | None) -> ImageBaseline:
    plain, n = samples.plain, len(samples)
    floors = np.array(list(ATTRIBUTES.values()))
    every = np.arange(n)
    fitted = lowest(every[samples.fitted], samples.keys, _MOST)
    ranked = lowest(every[~samples.fitted], samples.keys, _MOST)
    space = span(samples, fitted) if n >= _MINIMUM else None
    folds, home = _folds(samples) if n < SPLIT_FROM else ((), np.zeros(n, np.int64))
    baseline = ImageBaseline(
        samples=samples,
        attribute_mean=plain.attributes.mean(axis=0) if n else np.zeros(len(floors)),
        attribute_deviation=np.maximum(plain.attributes.std(axis=0), floors) if n else floors,
        home=home,
        strangeness=np.full(n, np.nan),
        same=max(_SAME_AT_LEAST, _SAME * _usual_distance(plain.reduced[fitted])),
        folds=folds,
        space=space,
        fitted=np.empty((0, 0)),
        ranked=np.empty((0, 0)),
        tolerated=None,
        encoder=encoder,
    )
    if space is None:
        return baseline
    itself = baseline.itself(plain.take(fitted), space)
    observed = baseline.observe(plain.take(ranked))
    for number, fold in enumerate(folds[1:], start=1):
        here = np.flatnonzero(home == number)
        chosen = plain.take(here)
        baseline.strangeness[here] = fold.strangeness(chosen, baseline.itself(chosen, fold))
    if not folds:
        baseline.strangeness[ranked] = observed[:, 0]
    return replace(
        baseline,
        fitted=space.observe(plain.take(fitted), itself),
        ranked=observed,
        tolerated=_tolerated(baseline, ranked, observed),
    )


def _tolerated(baseline: ImageBaseline, ranked: Indices, observed: Floats) -> Tolerated | None:
    """Return the extremes over harmless variation; the reach of several tolerances adds up."""
    samples = baseline.samples
    if not samples.tolerances:
        return None
    low, high = observed.copy(), observed.copy()
    variant = 0
    for _, count in samples.tolerances:
        shifts = [
            baseline.observe(samples.varied.of(ranked, v)) - observed for v in range(variant, variant + count)
        ]
        variant += count
        low += np.minimum(0, np.min(shifts, axis=0))
        high += np.maximum(0, np.max(shifts, axis=0))
    return Tolerated(low, high, (high - low).max(axis=0, initial=0.0))


def _folds(samples: ImageSamples) -> tuple[tuple[Space, ...], Indices]:
    n = len(samples)
    home = np.zeros(n, np.int64)
    if n < _MINIMUM:
        return (), home
    parts = min(_FOLDS, n)
    home[np.argsort(samples.keys, kind="stable")] = 1 + np.arange(n) % parts
    rest = (np.flatnonzero(home != number) for number in range(1, parts + 1))
    return (span(samples, np.arange(n)), *(span(samples, part) for part in rest)), home


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


def _look_up(baseline: ImageBaseline, reduced: Image) -> tuple[Indices, Mask, Mask]:
    """Return the nearest training image of each, whether it is the same image, and which members are."""
    members = baseline.space.members if baseline.space else np.empty(0, np.int64)
    nearest = np.empty(len(reduced), np.int64)
    known = np.empty(len(reduced), np.bool_)
    itself = np.empty((len(reduced), len(members)), np.bool_)
    for start in range(0, len(reduced), _CHUNK):
        part = slice(start, start + _CHUNK)
        distances = baseline.thumbnails.near(reduced[part], baseline.same)
        nearest[part] = distances.argmin(axis=1)
        known[part] = distances.min(axis=1) <= baseline.same
        itself[part] = distances[:, members] <= baseline.same
    return nearest, known, itself
