"""What a baseline is fitted on: features of training images as they are, changed, and harmlessly varied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tidegauge.stats.images.changes import CHANGES, HARMLESS, Change, Tolerance
from tidegauge.stats.images.features import Encoder, ImageFeatures, extract

Indices = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

SPLIT_FROM = 400  # images from which a key alone says in which part an image is
_CHANGED = 512  # images of the fitted part that are changed
_VARIED = 2048  # images of the ranked part that are varied
_CHUNK = 64
_MIDDLE = np.uint64(1 << 63)


class Images(Protocol):
    """n training images that need not be in memory at once; an array is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Indices, /) -> npt.NDArray[Any]:
        """Return some of them, uint8 or float ``[k, h, w, c]``."""


@dataclass(frozen=True, eq=False)
class Variants:
    """Features of the images ``rows`` ``[r]`` in v variants: ``features`` holds v * r, variant by variant."""

    rows: Indices
    features: ImageFeatures

    def of(self, chosen: Indices, variant: int) -> ImageFeatures:
        """Return one variant of the images ``chosen``, all of which are among ``rows``."""
        return self.features.take(variant * len(self.rows) + np.searchsorted(self.rows, chosen))


@dataclass(frozen=True, eq=False)
class ImageSamples:
    """n training images: their features, keys that split them by chance, and variants of some.

    ``tolerances`` has for each tolerance its name and number of variants.
    """

    plain: ImageFeatures
    keys: Keys
    changed: Variants
    varied: Variants
    tolerances: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def variants(self) -> int:
        """Number of harmless variants of an image."""
        return sum(count for _, count in self.tolerances)

    @property
    def fitted(self) -> npt.NDArray[np.bool_]:
        """Which images features are fitted on; the others are ranked."""
        return split(self.keys)

    def concatenate(self, other: ImageSamples) -> ImageSamples:
        """Join the samples of two sets of training images."""
        if self.tolerances != other.tolerances:
            raise ValueError(
                f"tolerances differ: {self.tolerances} and {other.tolerances}; fit both with one"
            )
        shapes = [(s.plain.reduced.shape[1], s.plain.embedding.shape[1]) for s in (self, other)]
        if shapes[0] != shapes[1]:
            raise ValueError("channels or encoders of the two sets of images differ; fit both with one")
        both = (self.changed, other.changed), (self.varied, other.varied)
        counts = len(_CHANGES), self.variants
        changed, varied = (_join(*pair, len(self), count) for pair, count in zip(both, counts, strict=True))
        return ImageSamples(
            ImageFeatures.concatenate([self.plain, other.plain]),
            np.concatenate([self.keys, other.keys]),
            changed,
            varied,
            self.tolerances,
        )

    def take(self, rows: Indices, rng: np.random.Generator) -> ImageSamples:
        """Return the samples of some of the images, with new keys; an image may come more than once.

        Needs variants of every image (``every=True``).
        """
        if len(self.changed.rows) < len(self) or len(self.varied.rows) < len(self):
            raise ValueError("some images have no variants; sample them with every=True")
        keys = _draw(len(rows), rng)
        changed, varied = _wanted(keys)
        counts = len(_CHANGES), self.variants
        sides = zip((self.changed, self.varied), counts, (changed, varied), strict=True)
        changed_variants, varied_variants = (
            Variants(wanted, _all(variants, count, rows[wanted])) for variants, count, wanted in sides
        )
        return ImageSamples(self.plain.take(rows), keys, changed_variants, varied_variants, self.tolerances)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        names = np.array([name for name, _ in self.tolerances], np.str_)
        parts = {"plain": self.plain, "changed": self.changed.features, "varied": self.varied.features}
        return {
            "keys": self.keys,
            "changed.rows": self.changed.rows,
            "varied.rows": self.varied.rows,
            "tolerances": names,
            "tolerances.count": np.array([count for _, count in self.tolerances], np.int64),
            **{f"{part}.{name}": a for part, f in parts.items() for name, a in f.to_arrays().items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ImageSamples:
        """Build samples from what ``to_arrays`` gave."""
        names = [field.name for field in fields(ImageFeatures)]
        plain, changed, varied = (
            ImageFeatures(*(arrays[f"{part}.{name}"] for name in names))
            for part in ("plain", "changed", "varied")
        )
        tolerances = zip(arrays["tolerances"], arrays["tolerances.count"], strict=True)
        return cls(
            plain,
            arrays["keys"],
            Variants(arrays["changed.rows"], changed),
            Variants(arrays["varied.rows"], varied),
            tuple((str(name), int(count)) for name, count in tolerances),
        )


def sample(
    images: Images,
    tolerances: Sequence[Tolerance] = HARMLESS,
    encoder: Encoder | None = None,
    rng: np.random.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    every: bool = False,
) -> ImageSamples:
    """Extract the features of training images and of the variants that a baseline needs.

    Images are read in chunks of 64. ``progress`` hears how many of how many feature rows are done. ``every``
    makes variants of all images, for who fits many baselines on parts of them.
    """
    n = len(images)
    variants = [change for tolerance in tolerances for change in tolerance.variants]
    changed, varied = (np.arange(n), np.arange(n)) if every else _wanted(_draw(n, np.random.default_rng(0)))
    done, total = 0, 0
    keys = np.zeros(n, np.uint64)

    def features(rows: Indices, changes: Sequence[Change]) -> ImageFeatures:
        nonlocal done
        found: list[list[ImageFeatures]] = [[] for _ in changes]
        for chunk in _chunks(rows):
            pictures = np.asarray(images[chunk])
            for place, change in enumerate(changes):
                found[place].append(extract(_apply(change, pictures, keys[chunk]), encoder))
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
        if not found:
            return ImageFeatures.concatenate([empty])
        return ImageFeatures.concatenate(chunk for chunks in found for chunk in chunks or [empty])

    def counted() -> int:
        return n + len(changed) * len(_CHANGES) + len(varied) * len(variants)

    first = np.asarray(images[np.arange(min(n, 1))])
    empty = extract(first, encoder).take(slice(0, 0))
    total = counted()  # about: the halves are not drawn yet
    plain = features(np.arange(n), [lambda image, _: image])
    keys = _keys(plain, rng if rng is not None else np.random.default_rng(0))
    if not every:
        changed, varied = _wanted(keys)
    total = counted()
    return ImageSamples(
        plain,
        keys,
        Variants(changed, features(changed, _CHANGES)),
        Variants(varied, features(varied, variants)),
        tuple((tolerance.name, len(tolerance.variants)) for tolerance in tolerances),
    )


def split(keys: Keys) -> npt.NDArray[np.bool_]:
    """Return which images are in the fitted part: the half with the lower keys.

    From 400 images on the key alone decides, so that an image stays in its part when more join.
    """
    if len(keys) >= SPLIT_FROM:
        return np.asarray(keys < _MIDDLE)
    fitted = np.zeros(len(keys), np.bool_)
    fitted[np.argsort(keys, kind="stable")[: len(keys) // 2]] = True
    return fitted


def lowest(rows: Indices, keys: Keys, count: int) -> Indices:
    """Return the ``count`` of ``rows`` with the lowest keys, the lowest first: wherever images stand."""
    return np.asarray(rows[np.argsort(keys[rows], kind="stable")[:count]])


_CHANGES: tuple[Change, ...] = tuple(change for pair in CHANGES.values() for change in pair)


def _keys(features: ImageFeatures, rng: np.random.Generator) -> Keys:
    """Draw a key for each image, wherever it stands; equal images get keys of their own."""
    salt, seen = rng.bytes(16), Counter[bytes]()
    keys = np.empty(len(features), np.uint64)
    for row, parts in enumerate(zip(features.reduced, features.attributes, features.details, strict=True)):
        content = b"".join(part.tobytes() for part in parts)
        seen[content] += 1
        digest = blake2b(content + seen[content].to_bytes(8), digest_size=8, key=salt).digest()
        keys[row] = int.from_bytes(digest)
    return keys


def _draw(n: int, rng: np.random.Generator) -> Keys:
    return rng.integers(0, np.iinfo(np.uint64).max, n, np.uint64, endpoint=True)


def _wanted(keys: Keys) -> tuple[Indices, Indices]:
    """Return the images that need changes and those that need harmless variants."""
    every = np.arange(len(keys))
    if len(keys) < SPLIT_FROM:
        return every, every
    fitted = split(keys)
    changed = np.sort(lowest(every[fitted], keys, _CHANGED))
    return changed, np.sort(np.concatenate([changed, lowest(every[~fitted], keys, _VARIED)]))


def _apply(change: Change, pictures: npt.NDArray[Any], keys: Keys) -> npt.NDArray[Any]:
    return np.stack(
        [change(image, np.random.default_rng(key)) for image, key in zip(pictures, keys, strict=True)]
    )


def _chunks(rows: Indices) -> Iterator[Indices]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))


def _all(variants: Variants, count: int, rows: Indices) -> ImageFeatures:
    empty = variants.features.take(slice(0, 0))
    return ImageFeatures.concatenate([empty, *(variants.of(rows, v) for v in range(count))])


def _join(left: Variants, right: Variants, before: int, count: int) -> Variants:
    parts = (variants.of(variants.rows, v) for v in range(count) for variants in (left, right))
    empty = left.features.take(slice(0, 0))
    return Variants(
        np.concatenate([left.rows, right.rows + before]), ImageFeatures.concatenate([empty, *parts])
    )
