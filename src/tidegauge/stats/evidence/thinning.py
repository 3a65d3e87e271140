"""One observation a source: what makes autocorrelated traffic count as news once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt


class Thinning:
    """Passes an observation unless its source was passed within the last ``gap`` observations offered.

    A source is whatever makes observations alike: a patient, a study, a device's minute.
    """

    def __init__(self, gap: int) -> None:
        if gap < 1:
            raise ValueError(f"gap is {gap}; give the number of observations, 1 or more")
        self._gap = gap
        self._last: dict[str, int] = {}
        self._offered = 0

    def keep(self, sources: Sequence[Hashable]) -> npt.NDArray[np.bool_]:
        """Return which of n observations, in order, count.

        >>> Thinning(gap=100).keep(["ann", "ann", "bob"]).tolist()
        [True, False, True]
        """
        kept = np.empty(len(sources), np.bool_)
        for place, source in enumerate(map(str, sources)):
            last = self._last.get(source)
            kept[place] = last is None or self._offered - last > self._gap
            if kept[place]:
                self._last[source] = self._offered
            self._offered += 1
        if len(self._last) > 2 * self._gap:
            oldest = self._offered - self._gap
            self._last = {source: at for source, at in self._last.items() if at >= oldest}
        return kept

    def to_dict(self) -> dict[str, object]:
        """Return all that is known, for storage."""
        return {"gap": self._gap, "last": self._last, "offered": self._offered}

    @classmethod
    def from_dict(cls, state: dict[str, object]) -> Thinning:
        """Build from what ``to_dict`` gave."""
        thinning = cls(int(str(state["gap"])))
        last = state["last"]
        thinning._last = dict(last) if isinstance(last, dict) else {}
        thinning._offered = int(str(state["offered"]))
        return thinning
