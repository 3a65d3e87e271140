"""Truth: which label each logged image has, by event id, or by time and answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from tidegauge.domain.observation import Label
from tidegauge.services import measuring
from tidegauge.services.extraction import Extraction
from tidegauge.storage.database import Database
from tidegauge.storage.observations import Observations, ObservationStore, microseconds

_CHUNK = timedelta(days=1)  # so that a year of thumbnails is never in memory


@dataclass(frozen=True)
class Live:
    """One logged image with its true label; None: it has none. ``ambiguous``: it has several.

    ``event_source`` is empty in what an earlier version has observed.
    """

    event_id: str
    index: int
    log_file: str
    label: str | None
    ambiguous: bool = False
    event_source: str = ""


def live_images(
    database: Database,
    files: ObservationStore,
    deployment_id: str,
    extraction: Extraction,
    classes: tuple[str, ...],
    start: datetime,
    end: datetime,
) -> Iterator[Live]:
    """Yield the images that were logged from ``start`` to ``end``, in order of time, with their labels."""
    while start < end:
        until = min(start + _CHUNK, end)
        observed = files.window(deployment_id, extraction.id, start, until)
        labels = database.labels.between(
            "time", start, until, sort="time", deployment_id=deployment_id, superseded_at=None
        )
        yield from join(observed, labels, classes)
        start = until


def join(observed: Observations, labels: Sequence[Label], classes: tuple[str, ...]) -> Iterator[Live]:
    """Give each seen observation its label; what came last counts.

    A label of a file belongs to the request of its time that was answered with its output. Where several
    were, it is theirs only if there is a label for each and all say the same.
    """
    answers = _answers(observed, classes)
    by_event: dict[tuple[str, int], list[Label]] = defaultdict(list)
    by_time: dict[tuple[int, str], list[Label]] = defaultdict(list)
    for label in labels:
        if label.event_id:
            by_event[label.event_id, label.index].append(label)
        else:
            by_time[microseconds(label.time), label.output].append(label)
    places: dict[tuple[int, str], int] = defaultdict(int)
    for time, answer in zip(observed.time.tolist(), answers, strict=True):
        places[time, answer] += 1
    named = Counter(zip(observed.event_id.tolist(), observed.index.tolist(), strict=True))
    for row in np.flatnonzero(observed.seen).tolist():
        event_id, index = str(observed.event_id[row]), int(observed.index[row])
        key = int(observed.time[row]), answers[row]
        found = list(by_event.get((event_id, index), ()))
        of_time = by_time.get(key, []) if answers[row] else []
        ambiguous = (
            len(found) > 0 and named[event_id, index] > 1
        )  # ids of two sources: of which is the label?
        found = [] if ambiguous else found
        if places[key] == 1:
            found += of_time
        elif of_time:
            ambiguous |= len({label.label for label in of_time}) > 1 or len(of_time) < places[key]
            found += [] if ambiguous else of_time
        last = max(found, key=lambda label: (label.received_at, label.row, label.id), default=None)
        text = last.label if last else None
        source = str(observed.event_source[row])
        yield Live(event_id, index, str(observed.log_file[row]), text, ambiguous and last is None, source)


def _answers(observed: Observations, classes: tuple[str, ...]) -> list[str]:
    """Return the class that each observation was given, in order; empty where it failed."""
    if not observed.scores.size:
        return [""] * len(observed)
    named = iter(measuring.predictions(observed, classes))
    failed = set(np.flatnonzero(np.isnan(observed.scores).any(axis=1)).tolist())
    return ["" if row in failed else next(named) for row in range(len(observed))]
