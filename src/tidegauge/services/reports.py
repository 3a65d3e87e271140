"""Reports: gathers what is known of a monitor over a span of time."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tidegauge import __version__
from tidegauge.domain import report_parts as parts
from tidegauge.domain.alert import AlertEvent
from tidegauge.domain.channel import Delivery
from tidegauge.domain.monitor import Monitor, MonitorRun, MonitorState, RunImage
from tidegauge.domain.observation import Maintenance
from tidegauge.domain.pooling import condense, overlap, pool, slim, step_of
from tidegauge.domain.report import (
    Absent,
    AlertLine,
    Firing,
    Made,
    Notified,
    Picture,
    Problem,
    Report,
    Span,
    Subject,
    digest,
)
from tidegauge.domain.report_sentences import sentences
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.services.showing import Showing
from tidegauge.storage.database import Database

_MOST_WINDOWS = 110_000  # a year of 5 minutes each
_MOST_POINTS = 2000  # of a chart; more become hours, then days
_PICTURES = 12
_SLICE = timedelta(days=1)  # of windows that are read at once, since their images are read with them
_MEMBERS = 500  # of one query
_MOMENT = timedelta(microseconds=1)


@dataclass
class _Looks:
    """The runs of a span: ``all`` in the order of making, ``latest`` one for each window in order of time."""

    all: list[MonitorRun]
    latest: list[MonitorRun]
    strangest: list[tuple[MonitorRun, RunImage]]


class Reports:
    """Makes reports. ``now`` says when, and which windows can have been due."""

    def __init__(self, database: Database, showing: Showing, now: Callable[[], datetime]) -> None:
        self._database = database
        self._showing = showing
        self._now = now

    def make(
        self, monitor: Monitor, start: datetime, end: datetime, by: str, *, images: bool = False
    ) -> tuple[Report, Made]:
        """Report on the windows that begin in [start, end); ``images``: with the strangest images."""
        start, end = _utc(start), _utc(end)
        if start >= end:
            raise InvalidInputError.of(
                "end",
                f"end is {end.isoformat()}, not after start {start.isoformat()}; give a later end.",
            )
        looks = self._looks(monitor, start, end)
        runs = looks.latest
        config = monitor.config
        pooled = {} if overlap(runs) else pool(runs)
        subject, span = self._subject(monitor), Span(start, end, config.time_zone, config.frequency_minutes)
        shares, evidence = parts.shares(runs), parts.evidence(runs)
        metrics = parts.metrics(runs, pooled, monitor.thresholds)
        absent = self._absent(monitor, start, end, runs)
        late, revisions = sum(run.late for run in runs), parts.revisions(looks.all)
        firings = self._firings(monitor, start, end)
        step = step_of(runs, config.time_zone, _MOST_POINTS)
        versions = self._database.config_versions.where(monitor_id=monitor.id, sort="number")
        report = Report(
            subject=subject,
            span=span,
            summary=sentences(subject, span, shares, evidence, metrics, absent, late, revisions, firings),
            shares=shares,
            episodes=parts.episodes(runs),
            evidence=evidence,
            metrics=metrics,
            segments=parts.segments(runs),
            config_versions=tuple(sorted({run.config_version for run in runs})),
            absent=absent,
            late=late,
            revisions=revisions,
            firings=firings,
            acknowledgements=self._database.acknowledgements.between("at", start, end, monitor_id=monitor.id),
            maintenances=self._maintenances(monitor, start, end),
            transitions=self._database.transitions.between(
                "at", start, end, sort="at", monitor_id=monitor.id
            ),
            config_changes=parts.config_changes(versions, start, end),
            problems=tuple(Problem(run.start, text) for run in runs for text in run.problems),
            step=step,
            series=condense(runs, step, config.time_zone),
            pictures=tuple(self._pictures(monitor, looks.strangest)) if images else (),
        )
        return report, Made(__version__, self._now(), by, digest(report.content()))

    def _looks(self, monitor: Monitor, start: datetime, end: datetime) -> _Looks:
        rows = self._database.monitor_runs
        last = rows.where(monitor_id=monitor.id, sort="-start", limit=1)
        first = rows.where(monitor_id=monitor.id, sort="start", limit=1)
        looks = _Looks([], [], [])
        if not first:
            return looks
        low, until = max(start, first[0].start), min(end, last[0].start + _MOMENT)
        while low < until:
            high = min(low + _SLICE, until)
            found = rows.between("start", low, high, monitor_id=monitor.id)  # ids sort by making
            latest = {(run.start, run.end): run for run in found}
            looks.strangest = _strangest(latest.values(), looks.strangest)
            slimmed = {run.id: slim(run) for run in found}
            looks.all += slimmed.values()
            looks.latest += [slimmed[run.id] for _, run in sorted(latest.items())]
            if len(looks.all) > _MOST_WINDOWS:
                raise InvalidInputError.of(
                    "end",
                    f"The span has more than {_MOST_WINDOWS} results by {high:%Y-%m-%d}; report on a "
                    "shorter one.",
                )
            low = high
        return looks

    def _subject(self, monitor: Monitor) -> Subject:
        deployment = self._database.deployments.get(monitor.deployment_id)
        changes = self._database.transitions.where(
            monitor_id=monitor.id, before=MonitorState.BASELINING, sort="-at"
        )
        settled = (MonitorState.READY, MonitorState.PENDING)
        made_at = next((change.at for change in changes if change.after in settled), None)
        return Subject(
            monitor_id=monitor.id,
            name=monitor.name,
            owner=monitor.owner,
            state=monitor.state.value,
            deployment_id=deployment.id,
            origin=deployment.origin.value,
            model=deployment.model_name,
            model_version=deployment.model_version,
            config_version=monitor.config_version,
            config=monitor.config,
            baseline=monitor.baseline,
            baseline_made_at=made_at if monitor.baseline else None,
            false_alarms=monitor.evidence.alpha if monitor.evidence else None,
            schema=monitor.schema,
            thresholds=monitor.thresholds,
            alerts=tuple(
                AlertLine(
                    alert.name,
                    alert.rule.type,
                    alert.rule.text,
                    alert.rule.severity.value,
                    alert.rule.channels,
                )
                for alert in self._database.alerts.where(monitor_id=monitor.id, sort="name")
            ),
        )

    def _absent(
        self, monitor: Monitor, start: datetime, end: datetime, runs: list[MonitorRun]
    ) -> tuple[Absent, ...]:
        until = min(end, self._now())
        if monitor.state is MonitorState.ACTIVE and monitor.due_from is not None:
            until = min(until, monitor.due_from)  # what begins later is not due yet
        changes = self._database.transitions.where(monitor_id=monitor.id, sort="at")
        versions = self._database.config_versions.where(monitor_id=monitor.id, sort="number")
        spans = parts.governed(parts.active(changes, start, until), versions, monitor.config)
        waiting = [(due.start, due.end) for due in self._database.due_windows.where(monitor_id=monitor.id)]
        return parts.absent(runs, start, spans, waiting)

    def _maintenances(self, monitor: Monitor, start: datetime, end: datetime) -> tuple[Maintenance, ...]:
        found = self._database.maintenances.between("end", start + _MOMENT, None, monitor_id=monitor.id)
        return tuple(window for window in found if window.start < end)

    def _firings(self, monitor: Monitor, start: datetime, end: datetime) -> tuple[Firing, ...]:
        # An event stands at the end of its window: the last window of the span ends with it.
        events = self._database.alert_events.between(
            "at", start + _MOMENT, end + _MOMENT, sort="at", monitor_id=monitor.id
        )
        told = self._deliveries(events)
        names = {channel.id: channel.name for channel in self._database.channels.where(owner=monitor.owner)}
        return tuple(
            Firing(
                event,
                tuple(
                    Notified(
                        names.get(delivery.channel_id, ""),
                        delivery.state.value,
                        delivery.sent_at,
                        delivery.error,
                    )
                    for delivery in told.get(event.id, [])
                ),
            )
            for event in events
        )

    def _deliveries(self, events: tuple[AlertEvent, ...]) -> dict[str, list[Delivery]]:
        told: dict[str, list[Delivery]] = {}
        ids = [event.id for event in events]
        for first in range(0, len(ids), _MEMBERS):
            for delivery in self._database.deliveries.where(alert_event_id=ids[first : first + _MEMBERS]):
                told.setdefault(delivery.alert_event_id, []).append(delivery)
        return told

    def _pictures(self, monitor: Monitor, strangest: list[tuple[MonitorRun, RunImage]]) -> Iterator[Picture]:
        for run, image in strangest:
            try:
                png = self._showing.image(monitor, run, image.event_id, image.index)
            except NotFoundError:
                continue  # the log keeps images for a time only
            yield Picture(
                image.event_id,
                image.index,
                image.time,
                image.prediction,
                image.confidence,
                image.strangeness,
                image.nearest,
                base64.b64encode(png).decode(),
            )


def _strangest(
    runs: Iterable[MonitorRun], before: list[tuple[MonitorRun, RunImage]]
) -> list[tuple[MonitorRun, RunImage]]:
    """Return the strangest images so far, the strangest first, each once."""
    found = {
        (image.event_id, image.index): (run, image)
        for run, image in (*before, *((run, image) for run in runs for image in run.images))
    }
    return heapq.nlargest(_PICTURES, found.values(), key=lambda item: item[1].strangeness)


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
