"""How long to wait before a process that keeps ending is started again."""

from __future__ import annotations

import time
from collections import Counter

_PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)  # seconds


class Deaths:
    """Counts how often each thing has ended against our will, and says when to try it again."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}

    def may_start(self, id_: str) -> bool:
        """Tell whether the pause after its last end is over."""
        return time.monotonic() >= self._not_before.get(id_, 0.0)

    def count(self, id_: str) -> tuple[int, float]:
        """Count an end; return how many there were, and the seconds of the pause, longer after each."""
        pause = _PAUSES[min(self._counts[id_], len(_PAUSES) - 1)]
        self._counts[id_] += 1
        self._not_before[id_] = time.monotonic() + pause
        return self._counts[id_], pause

    def forget(self, id_: str) -> None:
        """Forget the ends of one that is well, or that nobody wants any more."""
        self._counts.pop(id_, None)
        self._not_before.pop(id_, None)
