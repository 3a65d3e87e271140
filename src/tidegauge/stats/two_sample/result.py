"""What every two-sample statistic returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TwoSample:
    """A window of ``n`` values against a baseline.

    ``score`` lies in [0, 1], larger is further apart; ``statistic`` is the statistic as the literature states
    it; ``p_value`` is the chance of one at least as large under no drift. Each is None where the statistic
    has none, or where a side is empty.
    """

    score: float | None
    statistic: float | None
    p_value: float | None
    n: int
