"""scipy as one would write it: Kolmogorov-Smirnov column by column, and image features of scipy.ndimage."""

from __future__ import annotations

import numpy as np
from _timing import Task, hand_over, read_task
from scipy import ndimage
from scipy.stats import ks_2samp

_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])


def kolmogorov_smirnov(baseline: np.ndarray, window: np.ndarray) -> list[float]:
    return [ks_2samp(a, b).pvalue for a, b in zip(baseline.T, window.T, strict=True)]


def image_features(image: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Return the reduced image and eight attributes like ours."""
    pixels = image[:, :, 0].astype(np.float64)
    small = ndimage.zoom(ndimage.uniform_filter(pixels, 6), 32 / np.array(pixels.shape), order=1)
    shares = np.histogram(pixels, 64, (0, 256))[0] / pixels.size
    shares = shares[shares > 0]
    edge = len(small) // 16
    return small, [
        pixels.mean(),
        pixels.std(),
        np.abs(ndimage.laplace(pixels)).mean(),
        np.abs(ndimage.convolve(pixels, _NOISE_MASK)).mean(),
        -(shares * np.log2(shares)).sum(),
        np.corrcoef(small.ravel(), small[:, ::-1].ravel())[0, 1],
        np.abs(ndimage.sobel(small, 1)).mean() / np.abs(ndimage.sobel(small, 0)).mean(),
        small.mean() - small[edge:-edge, edge:-edge].mean(),
    ]


def main(task: Task) -> dict[str, float]:
    vectors = np.load(task.folder / "vectors.npz")
    images = np.load(task.folder / "images.npy")
    results = {
        f"ks {n}": task.median(lambda w=vectors[f"window {n}"]: kolmogorov_smirnov(vectors["baseline"], w))
        for n in (15, 1_000, 10_000)
    }
    taken = task.median(lambda: [image_features(image) for image in images])
    return results | {"image": taken / len(images)}


if __name__ == "__main__":
    hand_over({"seconds": main(read_task())})
