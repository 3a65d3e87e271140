"""How every contestant takes the time and hands it over; needs nothing but Python."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """``folder`` of the data; a call is timed at least ``least`` times and for ``seconds``.

    What counts are seconds of the processor: on one core and in memory they are what the clock shows when
    nothing else runs, and other work on the machine does not count.
    """

    folder: Path
    least: int
    seconds: float

    def median(self, call: Callable[[], object]) -> float:
        """Return the median seconds of a call; the first one warms up, where there is a second."""
        taken: list[float] = []
        while len(taken) < self.least or (sum(taken) < self.seconds and len(taken) < 200):
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
        return statistics.median(taken[1:] or taken)


def read_task() -> Task:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--least", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    chosen = parser.parse_args()
    return Task(chosen.folder, chosen.least, chosen.seconds)


def hand_over(results: Mapping[str, Any]) -> None:
    """Print the results as the last line, after whatever the libraries have printed."""
    print("\n" + json.dumps(results))
