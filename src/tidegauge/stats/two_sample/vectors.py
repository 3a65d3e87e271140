"""A sample of vectors, with the distances among them, for the statistics that need them all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegauge.stats.two_sample.permutations import random_windows

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
_MIDDLE_SAMPLE = 500
_NOTHING = 1e-20  # squared distance; less is rounding


@dataclass(frozen=True, eq=False)
class Vectors:
    """n vectors ``[n, d]``, float32. Distances among a baseline take n * n * 4 bytes and are kept.

    Rows with NaN are left out. Source of the bandwidth: Gretton et al., "A kernel two-sample test", JMLR 13
    (2012): the median distance, here among the baseline alone.
    """

    values: Array

    @classmethod
    def of(cls, values: npt.ArrayLike | Vectors) -> Vectors:
        """Take vectors ``[n, d]``, or numbers ``[n]``."""
        if isinstance(values, Vectors):
            return values
        array = np.asarray(values, np.float32)
        array = array[:, np.newaxis] if array.ndim == 1 else array
        if array.ndim != 2:
            raise ValueError(f"vectors have shape {array.shape}; give [n, d]")
        return cls(np.ascontiguousarray(array[~np.isnan(array).any(axis=1)]))

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def bandwidth(self) -> float:
        """The median squared distance between vectors, from 500 of them; 1 where it is 0."""
        some = self.values[:: max(1, len(self.values) // _MIDDLE_SAMPLE)]
        squares = squared_distances(some, some)[np.triu_indices(len(some), 1)]
        middle = float(np.median(squares)) if len(squares) else 0.0
        return middle if middle > _NOTHING else 1.0

    @cached_property
    def kernel(self) -> Array:
        """The Gaussian kernel among the vectors, ``[n, n]``."""
        return gaussian(self.values, self.values, self.bandwidth)

    @cached_property
    def kernel_sums(self) -> Floats:
        """The sum of each row of the kernel, ``[n]``."""
        return np.asarray(self.kernel.sum(axis=1, dtype=np.float64))

    @cached_property
    def distance_sums(self) -> Floats:
        """The sum of each row of the distances, ``[n]``."""
        return np.asarray(self.distances.sum(axis=1))

    @cached_property
    def distances(self) -> Floats:
        """The distances among the vectors, ``[n, n]``."""
        result = distances(self.values, self.values)
        np.fill_diagonal(result, 0.0)
        return result


def distances(left: Array, right: Array) -> Floats:
    """Return the distances ``[n, m]``, in float64: their roots would blow up what float32 rounds off."""
    return np.asarray(np.sqrt(squared_distances(left.astype(np.float64), right.astype(np.float64))))


def squared_distances(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the squared distances ``[n, m]``, in the precision of the vectors."""
    middle = left.mean(axis=0) if len(left) else 0.0  # small numbers keep their digits
    left, right = left - middle, right - middle
    squares = left @ (-2 * right.T)
    squares += np.einsum("ij,ij->i", left, left)[:, np.newaxis]
    squares += np.einsum("ij,ij->i", right, right)
    return np.asarray(np.maximum(squares, 0, out=squares))


def gaussian(left: Array, right: Array, bandwidth: float) -> Array:
    """Return exp(-squared distance / bandwidth), ``[n, m]``."""
    squares = squared_distances(left, right)
    squares *= np.float32(-1 / bandwidth)
    return np.asarray(np.exp(squares, out=squares))


def permuted(
    within: npt.NDArray[Any],
    sums: Floats,
    across: npt.NDArray[Any],
    window: npt.NDArray[Any],
    permutations: int,
    rng: np.random.Generator | None,
) -> Floats:
    """Return the mean within the rest, within the window and between both, ``[3, 1 + permutations]``.

    The symmetric matrix of N = m + n vectors comes in blocks: ``within`` ``[m, m]`` the baseline, whose rows
    add up to ``sums``, ``across`` ``[m, n]``, ``window`` ``[n, n]``. The first column takes the window as it
    is, the others n random vectors for it. All are one matrix product; for a small window the few entries
    among the chosen are added up.
    """
    m, n = across.shape
    observed = np.zeros((1, m + n), np.bool_)
    observed[0, m:] = True
    chosen = np.concatenate([observed, random_windows(m + n, n, permutations, rng)])
    rows = np.concatenate(
        [sums + across.sum(1, np.float64), across.sum(0, np.float64) + window.sum(1, np.float64)]
    )
    of_window = chosen.astype(np.float64) @ rows
    inside = _few(within, across, window, chosen) if n * n < m + n else _many(within, across, window, chosen)
    cross = of_window - inside
    rest = rows.sum() - 2 * of_window + inside
    return np.stack([rest / m**2, inside / n**2, cross / (m * n)])


def _few(
    within: npt.NDArray[Any],
    across: npt.NDArray[Any],
    window: npt.NDArray[Any],
    chosen: npt.NDArray[np.bool_],
) -> Floats:
    m, n = across.shape
    places = np.nonzero(chosen)[1].reshape(len(chosen), n)
    ours = places < m
    old, new = np.where(ours, places, 0), np.where(ours, 0, places - m)
    down, right = (slice(None), slice(None), np.newaxis), (slice(None), np.newaxis)
    total = within[old[down], old[right]] * (ours[down] & ours[right])
    total = total + 2 * across[old[down], new[right]] * (ours[down] & ~ours[right])
    total += window[new[down], new[right]] * ~(ours[down] | ours[right])
    return np.asarray(total.sum(axis=(1, 2), dtype=np.float64))


def _many(
    within: npt.NDArray[Any],
    across: npt.NDArray[Any],
    window: npt.NDArray[Any],
    chosen: npt.NDArray[np.bool_],
) -> Floats:
    weights = chosen.T.astype(across.dtype)
    old, new = weights[: len(across)], weights[len(across) :]
    inside = np.einsum("id,id->d", within @ old + 2 * (across @ new), old, dtype=np.float64)
    return np.asarray(inside + np.einsum("id,id->d", window @ new, new, dtype=np.float64))
