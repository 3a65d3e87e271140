"""Sequential test whether a deployed model's risk has grown past what it had where it was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy.typing as npt

from tidegauge.stats.performance.confidence_sequence import ConfidenceSequence


@dataclass(frozen=True)
class RiskStep:
    """Where the test stands after ``n`` losses with ``mean`` (None where there are none).

    ``low``: lower bound of the risk since deployment; ``source_high``: upper bound of the risk before.
    ``harmful``: ``low`` has passed ``source_high`` plus the tolerance; it stays so.
    """

    low: float
    source_high: float
    harmful: bool
    n: int
    mean: float | None


class RiskTest:
    """Compares losses that come in batches, late and in any number, with those of held-out data.

    P(ever harmful | the risk is at most that of the source plus ``tolerance``) <= ``alpha``, whenever one
    looks: of a ``ConfidenceSequence`` of the source one uses the upper bound, of one of the target the lower,
    each wrong with a chance of at most alpha / 2.
    ``source_errors`` ``[m]`` and losses are in [0, 1], such as 1 where the prediction is wrong, or Brier's.

    Assumptions: the losses of the source are independent and the model was not trained on them; given all
    before, each loss since has a mean of at most the same bound (it may wander below it); which labels arrive
    does not depend on whether the prediction was right. The mean is over the test's whole life, so a change
    after a long quiet time shows slowly: start a new test at times that are fixed in advance, and share
    alpha among them.

    Source: Podkopaev and Ramdas, "Tracking the risk of a deployed model and detecting harmful distribution
    shifts", ICLR 2022 (arXiv 2110.06177).

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> test = RiskTest(rng.random(500) < 0.05, tolerance=0.05, alpha=0.05)
    >>> test.update(rng.random(100) < 0.05).harmful, test.update(rng.random(100) < 0.4).harmful
    (False, True)
    """

    def __init__(self, source_errors: npt.ArrayLike, tolerance: float = 0.0, alpha: float = 0.05) -> None:
        if not 0 <= tolerance < 1:
            raise ValueError(
                f"tolerance is {tolerance}; give how much more risk is harmless, from 0 to below 1"
            )
        source = ConfidenceSequence(alpha).update(source_errors)
        if not source.n:
            raise ValueError("source_errors is empty; give the losses of held-out data")
        self.tolerance = tolerance
        self.source_high = source.high
        self.target = ConfidenceSequence(alpha, intersect=True)

    def update(self, losses: npt.ArrayLike) -> RiskStep:
        """Take in losses ``[k]`` in [0, 1], NaN left out, and return where the test stands."""
        found = self.target.update(losses)
        harmful = found.low > self.source_high + self.tolerance
        return RiskStep(found.low, self.source_high, harmful, found.n, found.mean)

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known, for storage."""
        return {
            "source_high": self.source_high,
            "tolerance": self.tolerance,
            "target": self.target.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Build from what ``to_dict`` gave."""
        test = cls.__new__(cls)
        test.tolerance, test.source_high = state["tolerance"], state["source_high"]
        test.target = ConfidenceSequence.from_dict(state["target"])
        return test
