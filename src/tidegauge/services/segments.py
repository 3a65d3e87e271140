"""Segments: what was observed, and what labels say, by the value of an attribute of the events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tidegauge.domain.observation import Label
from tidegauge.services import measuring
from tidegauge.services.baselines import Baseline
from tidegauge.storage.observations import Observations, microseconds

MOST = 50  # of a monitor; an attribute such as a patient's id has no end of values
OTHER = "(other)"


@dataclass(frozen=True)
class Part:
    """What belongs to one segment of a window."""

    observed: Observations
    labels: list[Label] = field(default_factory=list)


def named(observed: Observations, known: Sequence[str]) -> list[str]:
    """Return the segments that are new in a batch, in the order of their rows; past the most, the pool."""
    found = list(dict.fromkeys(observed.segment.tolist()))
    new = [name for name in found if name and name not in known]
    room = max(0, MOST - sum(name != OTHER for name in known))
    return new[:room] + ([OTHER] if len(new) > room and OTHER not in known else [])


def pooled(observed: Observations, known: Sequence[str]) -> npt.NDArray[np.object_]:
    """Return the segment of each observation ``[n]``; one that is not known belongs to the pool."""
    return np.array([name if name in known or not name else OTHER for name in observed.segment], object)


def divide(
    observed: Observations, labels: Sequence[Label], baseline: Baseline, known: Sequence[str]
) -> tuple[Mapping[str, Part], int]:
    """Part a window by segment; return the parts, and how many labels could not be told apart.

    ``known`` are the segments that evidence has met; without any, the most frequent of the window are taken.
    A label by event id belongs to the segment of its event. One from a file belongs to that of the only event
    with its time and answer, where all such events are of one segment.
    """
    counts = Counter(name for name in observed.segment.tolist() if name)
    names = known or [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST]]
    of_rows = pooled(observed, names)
    parts = {
        name: Part(observed.take(np.flatnonzero(of_rows == name)))
        for name in sorted(set(of_rows.tolist()) - {""})
    }
    by_event = dict(zip(zip(observed.event_id, observed.index.tolist(), strict=True), of_rows, strict=True))
    answered = np.flatnonzero(~np.isnan(observed.scores).any(axis=1)) if len(observed) else np.empty(0, int)
    by_answer: dict[tuple[int, str], set[str]] = {}
    for row, answer in zip(answered, measuring.answers(observed, baseline), strict=True):
        by_answer.setdefault((int(observed.time[row]), answer), set()).add(of_rows[row])
    untold = 0
    for label in labels:
        if label.event_id:
            found = {by_event.get((label.event_id, label.index), "")}
        else:
            found = by_answer.get((microseconds(label.time), label.output), {""})
        name = next(iter(found)) if len(found) == 1 else ""
        if name:
            parts[name].labels.append(label)
        else:
            untold += 1
    return parts, untold
