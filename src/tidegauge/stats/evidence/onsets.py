"""When a change may begin: how the stake of a bet is spread over a life."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

Floats = npt.NDArray[np.float64]

_AT_START = 0.5
_EARLY = 50.0  # observations after which a later onset gets less


@dataclass(frozen=True, eq=False)
class Onsets:
    """Weights of the onsets 0, 1, 2, ... of K features, whose lives ``[K]`` are counted in observations.

    Over a life they sum to 1: half lies on the start, the rest falls like 1 / (t + 50), so that no later
    onset has far less than 1 / life and early ones have far more. Where ``forever`` ``[K]`` is set they
    are 1 / life without end.
    """

    lives: Floats
    forever: npt.NDArray[np.bool_]

    def weights(self, first: npt.NDArray[np.int64], count: int) -> Floats:
        """Return the weights ``[count, K]`` of the onsets from ``first`` ``[K]`` on."""
        onsets = first + np.arange(count)[:, np.newaxis]
        falling = self._share / (onsets + _EARLY) + _AT_START * (onsets == 0)
        return np.where(self.forever, 1 / self.lives, np.where(onsets < self.lives, falling, 0.0))

    def unspent(self, first: npt.NDArray[np.int64]) -> Floats:
        """Return the sum ``[K]`` of the weights from ``first`` ``[K]`` on; 0 where they never end."""
        left = self._share * (digamma(self.lives + _EARLY) - digamma(first + _EARLY))
        left += _AT_START * (first == 0)
        return np.where(self.forever, 0.0, np.maximum(left, 0.0))

    def beside(self, other: Onsets) -> Onsets:
        """Return the onsets of the features of both."""
        return Onsets(
            np.concatenate([self.lives, other.lives]), np.concatenate([self.forever, other.forever])
        )

    @cached_property
    def _share(self) -> Floats:
        return np.asarray((1 - _AT_START) / (digamma(self.lives + _EARLY) - digamma(_EARLY)))
