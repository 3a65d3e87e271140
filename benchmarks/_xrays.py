"""The real X-rays beside the checkout, brought to one shape, and a stand-in for a deployed model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tidegauge.domain.images import decode_image, to_shape

Image = npt.NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]


@dataclass(frozen=True)
class Xrays:
    """Images uint8 ``[n, 200, 200, 1]`` with label (the folder), file name and patient of each."""

    images: Image
    labels: npt.NDArray[np.str_]
    names: npt.NDArray[np.str_]
    patients: npt.NDArray[np.str_]

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Xrays:
        return Xrays(self.images[rows], self.labels[rows], self.names[rows], self.patients[rows])


def read(folder: Path) -> Xrays:
    paths = sorted(path for path in folder.glob("*/*") if path.suffix in (".jpeg", ".jpg", ".png"))
    if not paths:
        raise SystemExit(f"{folder} has no X-rays; give --data the folder that has them.")
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(_load, paths)))
    names = np.array([path.name for path in paths])
    return Xrays(images, np.array([p.parent.name for p in paths]), names, np.array([*map(patient, names)]))


def patient(name: str) -> str:
    """Return who a file shows; several files can show one."""
    found = re.match(r"person\d+|(NORMAL2-)?IM-\d+", name)
    return found[0] if found else name


def of_patients(xrays: Xrays, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose a share of the patients; return which images show one of them."""
    everyone = np.unique(xrays.patients)
    chosen = rng.choice(everyone, round(share * len(everyone)), replace=False)
    return np.isin(xrays.patients, chosen)


def of_about(patients: npt.NDArray[np.str_], images: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose patients with at most so many images together; return which images show one of them."""
    everyone = rng.permutation(np.unique(patients))
    sizes = np.array([(patients == who).sum() for who in everyone])
    return np.isin(patients, everyone[np.cumsum(sizes) <= images])


class PixelModel:
    """A classifier of 32x32 pixels, the stand-in for the deployed model: its log-odds are an embedding."""

    def __init__(self, xrays: Xrays) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=3e-3, max_iter=2000))
        self._model.fit(_small(xrays.images), xrays.labels)

    def __call__(self, images: Image) -> npt.NDArray[np.float64]:
        return np.asarray(self._model.decision_function(_small(images)))[:, np.newaxis]


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller counts: under a minute")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    return parser


def jpeg(quality: int) -> Change:
    def encode(image: Image, _: np.random.Generator) -> Image:
        data = cv2.imencode(".jpeg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        return to_shape(decode_image(data), *image.shape)

    return encode


def brightness(factor: float) -> Change:
    return lambda image, _: np.asarray(np.clip(np.rint(image * factor), 0, 255), np.uint8)


def _small(images: Image) -> npt.NDArray[np.float64]:
    return np.stack(
        [cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).ravel() / 255.0 for image in images]
    )


def _load(path: Path) -> Image:
    return to_shape(decode_image(path.read_bytes(), path.name), 200, 200, 1)
