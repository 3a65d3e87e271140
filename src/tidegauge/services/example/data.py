"""Which images the example trains on and which it sends."""

from __future__ import annotations

import importlib.util
import random
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import numpy.typing as npt

from tidegauge.domain.images import decode_image, to_shape
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.links import folders, git
from tidegauge.links.addresses import Gate
from tidegauge.phantoms import write_dataset

SIDE = 200
KINDS = ("normal", "transposed", "blurred") * 2
_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
_KEPT = 0.2  # the share of patients kept for traffic

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    path: Path
    label: str


@dataclass(frozen=True)
class ExampleData:
    """``train`` is a folder of labelled folders; ``traffic`` are the images to send."""

    train: Path
    traffic: tuple[Labelled, ...]
    shares: dict[str, float]  # of each class in the training data
    origin: str
    synthetic: bool
    replayed: bool


def find_data(source: str | None, scratch: Path, seed: int) -> ExampleData:
    """Take a labelled image folder, a git URL with ``#branch:subpath``, or (None) phantoms."""
    if source is None:
        write_dataset(scratch / "phantoms", normal=200, pneumonia=260, seed=seed)
        return _split(scratch / "phantoms", scratch, "phantom chest X-rays (synthetic)", seed, synthetic=True)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = _clone(source, scratch / "clone")
    return _split(folder, scratch, source, seed, synthetic=False)


def _clone(source: str, folder: Path) -> Path:
    url, _, place = source.partition("#")
    branch, _, sub_path = place.partition(":")
    if "://" not in url and not url.startswith("git@"):
        raise InvalidInputError.of("data", f"--data is {source!r}; give a folder that exists or a git URL.")
    folder.mkdir(parents=True)
    # Whoever runs the demo names a place of their own, from their own machine.
    git.fetch(url, branch, folder, Gate(private=True))
    return folders.sub_path(folder, sub_path)


def _split(folder: Path, scratch: Path, origin: str, seed: int, *, synthetic: bool) -> ExampleData:
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, traffic = _images(folder / "train"), _images(folder / "test")
        return ExampleData(folder / "train", traffic, _shares(train), origin, synthetic, replayed=False)
    images = _images(folder)
    classes = sorted({image.label for image in images})
    split = _example_module("patients").split_by_patient(
        [image.path.name for image in images],
        [classes.index(image.label) for image in images],
        np.random.default_rng(seed),
        validation=0.0,
        held_out=_KEPT,
    )
    if not split.has_hold_out:
        return ExampleData(folder, images, _shares(images), origin, synthetic, replayed=True)
    train = tuple(images[index] for index in split.train)
    for image in train:
        target = scratch / "train" / image.label / image.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image.path, target)
    traffic = tuple(images[index] for index in split.held_out)
    return ExampleData(scratch / "train", traffic, _shares(train), origin, synthetic, replayed=False)


def example_folder() -> Path:
    """Return the example's code: beside the package when installed, else in the checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "_examples" / "chest_xray"
    return installed if installed.is_dir() else package.parents[1] / "examples" / "chest_xray"


def _example_module(name: str) -> ModuleType:
    """Load a module of the example, which is a user's code and no part of the package."""
    spec = importlib.util.spec_from_file_location(f"chest_xray_{name}", example_folder() / f"{name}.py")
    if spec is None or spec.loader is None:
        raise NotFoundError(f"The example has no {name}.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _images(folder: Path) -> tuple[Labelled, ...]:
    found = tuple(
        Labelled(path, label.name)
        for label in sorted(folder.iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for path in sorted(label.iterdir())
        if path.suffix.lower() in _SUFFIXES
    )
    if len({image.label for image in found}) < 2:
        raise InvalidInputError.of(
            "data", f"--data is {str(folder)!r}, which has no images in two or more labelled folders."
        )
    return found


def _shares(images: tuple[Labelled, ...]) -> dict[str, float]:
    counts: dict[str, int] = defaultdict(int)
    for image in images:
        counts[image.label] += 1
    return {label: count / len(images) for label, count in counts.items()}


class Traffic:
    """Draws cycles of 10 to 15 images with the class mix of the training data."""

    def __init__(self, data: ExampleData, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a draw of images, no secret
        self._labels = sorted(data.shares)
        self._weights = [data.shares[label] for label in self._labels]
        self._decks = {
            label: [image for image in data.traffic if image.label == label] for label in self._labels
        }
        self._left: dict[str, list[Labelled]] = {label: [] for label in self._labels}

    def draw(self) -> list[Labelled]:
        """Return the images of the next cycle; none comes twice before its class is used up."""
        labels = self._rng.choices(self._labels, self._weights, k=self._rng.randint(10, 15))
        return [self._next(label) for label in labels]

    def _next(self, label: str) -> Labelled:
        if not self._left[label]:
            self._left[label] = self._rng.sample(self._decks[label], len(self._decks[label]))
        return self._left[label].pop()


def load(image: Labelled, kind: str) -> Image:
    """Read an image as the model wants it, ``[200, 200, 1]``, and distort it."""
    pixels = to_shape(decode_image(image.path.read_bytes(), image.path.name), SIDE, SIDE, 1)
    if kind == "transposed":
        return np.ascontiguousarray(pixels.swapaxes(0, 1))
    if kind == "blurred":
        return np.asarray(cv2.blur(pixels, (40, 40)), np.uint8).reshape(SIDE, SIDE, 1)
    return pixels
