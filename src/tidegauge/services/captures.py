"""Captured against served: takes down what senders number and report, and says what of it the log has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from tidegauge.domain.capture import (
    Capture,
    Coverage,
    SpanCoverage,
    coverage_of,
    needs_more,
    numbered,
    reported,
    whole_minutes,
)
from tidegauge.domain.events import RESPONSE_TYPE, SERVED_TYPE
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric
from tidegauge.domain.status import Status
from tidegauge.domain.windows import span
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.services.pruning import KEPT, Pruning
from tidegauge.storage.database import Database
from tidegauge.storage.segments import Record

#: Key of a metric's detail: a sentence that says what is not in the log.
LOSS = "loss"

_KNOWN = ("id", "minute", "numbers", "served", "overflow", "refused")
_TRIES = 20
_AT_ONCE = 500  # rows of a transaction
_BEFORE = timedelta(hours=1)  # in which the number before a window's first mostly is
_DAY = timedelta(days=1)
_log = logging.getLogger(__name__)


class Captures:
    """Keeps for 30 days what is known of each minute of each sender."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._rows = database.captures
        self._now = now
        self._pruning = Pruning(database, database.captures, "minute", now)

    def note(self, records: Sequence[Record]) -> None:
        """Take down what records that are in the log tell; to tell it again changes nothing.

        Minutes that are not kept any more, or are more than a day ahead, are left out. Raises ConflictError
        where other collectors were faster again and again.
        """
        now = self._now()
        told = _merged(one for one in _told(records) if now - KEPT <= one.minute <= now + _DAY)
        if not told:
            return
        ids = sorted(told)
        for first in range(0, len(ids), _AT_ONCE):
            self._save({id_: told[id_] for id_ in ids[first : first + _AT_ONCE]})
        self._pruning.prune()

    def of_span(
        self, deployment_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> SpanCoverage:
        """Return the coverage of the whole minutes that [start, end) meets; by default of the last day."""
        last = end or self._now()
        first, last = whole_minutes(*span(start or last - _DAY, last))
        near = self._rows.between("minute", first - _BEFORE, last, deployment_id=deployment_id)
        senders = {
            sender: coverage_of(self._all(deployment_id, rows, first), first, last)
            for sender, rows in _by_sender(near)
            if any(row.minute >= first for row in rows)
        }
        return SpanCoverage(first, last, sum(senders.values(), Coverage()), senders)

    def of_window(self, deployment_id: str, start: datetime, end: datetime) -> Metric:
        """Return the share of the served requests of a window that the log has, not judged yet.

        None without a sender that numbers. The detail has the counts, and a sentence where there is a gap.
        """
        found = self.of_span(deployment_id, start, end)
        total = found.total
        detail = {name: value for name, value in asdict(total).items() if name != "missing"}
        detail["never_arrived"] = total.missing
        if said := total.loss():
            widened = (found.start, found.end) != (start, end)
            minutes = f" (Whole minutes, {found.start:%H:%M} to {found.end:%H:%M} UTC.)" if widened else ""
            detail[LOSS] = said + minutes
        return Metric(
            "captured",
            MetricType.HEALTH,
            total.share,
            total.served,
            Status.UNKNOWN,
            detail=detail if total.served else {},
        )

    def _all(self, deployment_id: str, near: Sequence[Capture], first: datetime) -> Sequence[Capture]:
        """Return the rows of a sender that are needed: those at hand, or all that there are."""
        if not needs_more(near, first):
            return near
        sender = near[0].sender
        # Not as nouns, one by one: a month has 43,200 of them.
        rows = self._rows.columns(*_KNOWN, deployment_id=deployment_id, sender=sender)
        return [Capture(id_, deployment_id, sender, *known) for id_, *known in rows]

    def _save(self, told: Mapping[str, Capture]) -> None:
        for _ in range(_TRIES):
            try:
                with self._database.transaction():
                    self._merge(told)
            except ConflictError:
                continue  # another collector was the first to hear of a minute, or a deployment was deleted
            return
        raise ConflictError("What was served could not be taken down; it is tried again.")

    def _merge(self, told: Mapping[str, Capture]) -> None:
        owners = sorted({capture.deployment_id for capture in told.values()})
        there = {id_ for (id_,) in self._database.deployments.columns("id", id=owners)}
        # One that came since these were locked is not known: adding it is a conflict, and all begins again.
        known = {capture.id: capture for capture in self._rows.where(id=self._rows.lock(*told))}
        for id_, before in known.items():
            after = before.merged(told[id_])
            if after != before:
                self._rows.update(
                    id_,
                    numbers=after.numbers,
                    served=after.served,
                    overflow=after.overflow,
                    refused=after.refused,
                )
        self._rows.add_all(
            capture for id_, capture in told.items() if id_ not in known and capture.deployment_id in there
        )


def _told(records: Iterable[Record]) -> Iterable[Capture]:
    for record in records:
        if record.event.type == RESPONSE_TYPE:
            if capture := numbered(record.deployment_id, record.event):
                yield capture
        elif record.event.type == SERVED_TYPE:
            try:
                yield from reported(record.deployment_id, record.event)
            except InvalidInputError as error:  # it is in the log by now, and no reason to stop
                _log.warning("Of deployment %s: %s", record.deployment_id, error)


def _merged(captures: Iterable[Capture]) -> dict[str, Capture]:
    found: dict[str, list[Capture]] = {}
    for capture in captures:
        found.setdefault(capture.id, []).append(capture)
    return {id_: same[0].merged(*same[1:]) for id_, same in found.items()}


def _by_sender(rows: Iterable[Capture]) -> Iterable[tuple[str, list[Capture]]]:
    sender = attrgetter("sender")
    return ((name, list(group)) for name, group in groupby(sorted(rows, key=sender), sender))
