"""Stakes: what the bets of many features have won, each bet opened anew at every observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tidegauge.stats.evidence.bets import COUNT, bets, normal_scores
from tidegauge.stats.evidence.onsets import Onsets
from tidegauge.stats.evidence.ranks import Ranks

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: Observations to bet on at once, at most: products of so many payoffs fit in a float.
CHUNK = 16
_MOST = 1e60  # capital of a stake; more is written as this


@dataclass(eq=False)
class Stakes:
    """Capital of K features; feature k is sure when its capital passes 1 / ``alphas[k]``.

    ``seen`` ``[K]`` observations were bet on. ``sums`` ``[3, bets, K]`` are sums over onsets of what a stake
    opened there has become: as it is, times the onset, and times the sum of normal scores since. ``peak``
    ``[K]`` is the most capital that each feature ever had.
    """

    alphas: Floats
    onsets: Onsets
    ranks: Ranks
    seen: Indices
    sums: Floats
    peak: Floats

    @classmethod
    def unspent(cls, alphas: Floats, onsets: Onsets, ranks: Ranks) -> Self:
        """Return stakes before the first observation."""
        size = len(alphas)
        return cls(
            alphas, onsets, ranks, np.zeros(size, np.int64), np.zeros((3, COUNT, size)), np.zeros(size)
        )

    def bet(self, values: Floats, chance: Floats) -> npt.NDArray[np.bool_]:
        """Bet on c observations ``[c, K]`` in turn; return which features were sure after each.

        The recursion S <- (S + w) e, with P_i the product of the first i payoffs, has the closed form
        S_i = P_i (S_0 + sum of w_j / P_(j-1)), which takes all observations at once.
        """
        up, down = (normal_scores(ranks) for ranks in self.ranks.take(values, chance))
        weights = self.onsets.weights(self.seen, len(values))
        products = bets(up, down)
        # numpy's own accumulate is slow along the first axis.
        for i in range(1, len(products)):
            products[i] *= products[i - 1]
        opened = np.empty_like(products)
        opened[0] = weights[0]
        np.divide(weights[1:, np.newaxis], products[:-1], out=opened[1:])
        times = self.seen + np.arange(len(values))[:, np.newaxis]
        onsets = self.sums[1] + np.einsum("ck,cbk->bk", times, opened)
        opened[0] += self.sums[0]
        for i in range(1, len(opened)):
            opened[i] += opened[i - 1]
        scores = np.maximum(up, 0) - np.maximum(down, 0)
        since = self.sums[2] + np.einsum("ck,cbk->bk", scores, opened)
        total = np.einsum("cbk,cbk->ck", products, opened) / COUNT
        self.sums = products[-1] * np.stack([opened[-1], onsets, since])
        self.sums /= np.maximum(1.0, self.sums[0] / _MOST)
        self.seen = self.seen + len(values)
        self.peak = np.maximum(self.peak, total.max(axis=0, initial=0.0))
        return np.asarray(total * self.alphas >= 1)

    def capital(self) -> Floats:
        """Return the capital of each feature, ``[K]``; before the first observation it is 1."""
        return np.asarray(self.sums[0].mean(axis=0) + self.onsets.unspent(self.seen))

    def leads(self) -> tuple[Floats, Floats]:
        """Return where each feature's best bet likely began, and its mean normal score since, ``[K]``."""
        best = self.sums[0].argmax(axis=0)
        capital, onsets, since = self.sums[:, best, np.arange(len(best))]
        safe = np.where(capital > 0, capital, 1.0)
        lengths = self.seen * capital - onsets
        return onsets / safe, np.where(lengths > 0, since / np.where(lengths > 0, lengths, 1.0), 0.0)

    def restart(self) -> None:
        """Begin again: capital is gone, ranks stay."""
        self.seen = np.zeros_like(self.seen)
        self.sums = np.zeros_like(self.sums)
        self.peak = np.zeros_like(self.peak)

    def beside(self, other: Self) -> Self:
        """Return the stakes of the features of both."""
        return type(self)(
            np.concatenate([self.alphas, other.alphas]),
            self.onsets.beside(other.onsets),
            self.ranks.beside(other.ranks),
            np.concatenate([self.seen, other.seen]),
            np.concatenate([self.sums, other.sums], axis=2),
            np.concatenate([self.peak, other.peak]),
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, for storage."""
        return {
            **self.ranks.to_arrays(),
            "alphas": self.alphas,
            "lives": self.onsets.lives,
            "forever": self.onsets.forever,
            "seen": self.seen,
            "sums": self.sums,
            "peak": self.peak,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Build stakes from what ``to_arrays`` gave."""
        return cls(
            arrays["alphas"],
            Onsets(arrays["lives"], arrays["forever"]),
            Ranks.from_arrays(arrays),
            arrays["seen"],
            np.array(arrays["sums"]),
            arrays["peak"],
        )
