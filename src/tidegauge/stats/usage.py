"""What a served process used, from samples of its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SAME_START = 1.0  # seconds by which the start of one process may seem to move as its clock is set


@dataclass(frozen=True)
class Measured:
    """A value from ``n`` samples, None where there are too few."""

    value: float | None
    n: int


@dataclass(frozen=True)
class Usage:
    """Values by name.

    ``ready`` is the share of looks that found it ready, ``cpu_utilization`` a share of one core,
    ``memory_bytes`` the mean, ``memory_utilization`` its share of the limit.
    """

    metrics: Mapping[str, Measured]


def summarise(
    at: npt.ArrayLike,
    ready: npt.ArrayLike,
    cpu_seconds: npt.ArrayLike,
    memory_bytes: npt.ArrayLike,
    started_at: npt.ArrayLike,
    *,
    start: float,
    memory_limit: float,
) -> Usage:
    """Summarise the samples of a window that begins at ``start``; times in seconds, NaN for what is unknown.

    Samples come in order of time. Those from before ``start`` only say where the counters stood, so that
    windows side by side count every second and every restart once. A counter that falls, or a start that
    moves, is another process: it is taken to have counted from zero, as PromQL's ``rate`` does, and its share
    of a core is over its own life.

    >>> at, ready = [0.0, 15.0, 30.0], [True, True, False]
    >>> usage = summarise(at, ready, [7.0, 10.0, 13.0], [1e9] * 3, [-60.0] * 3, start=0.0, memory_limit=4e9)
    >>> usage.metrics["cpu_utilization"], usage.metrics["memory_utilization"]
    (Measured(value=0.2, n=2), Measured(value=0.25, n=3))
    """
    times = np.asarray(at, np.float64)
    inside = times >= start
    answers = np.asarray(ready, np.bool_)[inside]
    memory = np.asarray(memory_bytes, np.float64)[inside]
    memory = memory[~np.isnan(memory)]
    mean = float(memory.mean()) if len(memory) else None
    cpu, restarts = _counted(
        times, np.asarray(cpu_seconds, np.float64), np.asarray(started_at, np.float64), inside
    )
    return Usage(
        {
            "ready": Measured(float(answers.mean()) if len(answers) else None, len(answers)),
            "cpu_utilization": cpu,
            "memory_bytes": Measured(mean, len(memory)),
            "memory_utilization": Measured(None if mean is None else mean / memory_limit, len(memory)),
            "restarts": restarts,
        }
    )


def _counted(
    times: npt.NDArray[np.float64],
    cpu: npt.NDArray[np.float64],
    started: npt.NDArray[np.float64],
    inside: npt.NDArray[np.bool_],
) -> tuple[Measured, Measured]:
    """Return the share of a core and the restarts between the samples that have a counter."""
    known = ~np.isnan(cpu)
    times, cpu, started, inside = times[known], cpu[known], started[known], inside[known]
    later = inside[1:]
    # A comparison with NaN is false: without a start only the counter tells.
    again = (np.diff(cpu) < 0) | (np.abs(np.diff(started)) > _SAME_START)
    spent = np.where(again, cpu[1:], np.diff(cpu))[later]
    life = times[1:] - started[1:]
    spans = np.where(again & (life > 0), life, np.diff(times))[later]
    span = float(spans.sum())
    share = float(spent.sum()) / span if span > 0 else None
    restarts = float(again[later].sum()) if len(spent) else None
    return Measured(share, len(spent)), Measured(restarts, int(inside.sum()))
