"""Monitor runs: a window of observations, compared with the baseline, judged, and written down."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import (
    Cause,
    DueWindow,
    EvidenceResult,
    EvidenceState,
    Monitor,
    MonitorRun,
    MonitorState,
)
from tidegauge.domain.status import Status
from tidegauge.domain.verdicts import judge_run
from tidegauge.domain.windows import span
from tidegauge.errors import ConflictError, TooManyError, UnavailableError
from tidegauge.services.alerting import Alerting
from tidegauge.services.baselines import Baseline, Baselines
from tidegauge.services.evidence import Evidences
from tidegauge.services.extraction import Extraction, extraction_for, extraction_of
from tidegauge.services.findings import Findings
from tidegauge.services.history import History
from tidegauge.services.labels import Labels, PostedLabel, Receipt
from tidegauge.services.observing import Observing
from tidegauge.services.privacy.redacting import Redacting
from tidegauge.services.sources.bundle import Sources
from tidegauge.services.tallying import Tallying
from tidegauge.storage.database import Database
from tidegauge.storage.observations import Observations, ObservationStore, microseconds, moment

_TRIES = 5
_LOOKED_FOR = 10.0  # seconds that who posts labels waits for their events to be read
_LOOKING = 2  # read at once for those who post labels: more would keep everybody else waiting
_PROBLEMS_LISTED = 20
_HOUR = timedelta(hours=1)
_BY_HAND = timedelta(minutes=2)  # that a run by hand has a window for itself
_RUNNABLE = (MonitorState.READY, MonitorState.ACTIVE)


class Runs:
    """Computes windows; the same window again gives a new revision."""

    def __init__(
        self,
        database: Database,
        observing: Observing,
        files: ObservationStore,
        labels: Labels,
        sources: Sources,
        baselines: Baselines,
        evidences: Evidences,
        findings: Findings,
        redacting: Redacting,
        alerting: Alerting,
        history: History,
        flush: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        """``flush`` writes what the collector of this process holds to the inference log."""
        self._database = database
        self._observing = observing
        self._files = files
        self._labels = labels
        self._sources = sources
        self._baselines = baselines
        self._evidences = evidences
        self._alerting = alerting
        self._findings = findings
        self._history = history
        self._tallying = Tallying(database)
        self._redacting = redacting
        self._flush = flush
        self._now = now
        self._looking = threading.BoundedSemaphore(_LOOKING)

    def run(
        self,
        monitor: Monitor,
        start: datetime,
        end: datetime,
        cause: Cause = Cause.MANUAL,
        due: DueWindow | None = None,
    ) -> MonitorRun:
        """Look at the window [start, end) and write down what was found.

        ``due`` is the claimed window that asked for it: the result counts only while the claim holds. A run
        by hand counts always, and what comes while it computes makes the window due.
        """
        if monitor.state not in _RUNNABLE:
            raise ConflictError(
                f"The monitor is {monitor.state.value}; it runs once it is ready. {monitor.message}".strip()
            )
        start, end = span(start, end)
        if due is None:  # what is due by the schedule was made so after the log had been read
            self._flush()
            self.catch_up(monitor)
            monitor = self._database.monitors.get(monitor.id)
        wish = DueWindow(new_id(), monitor.id, start, end, cause, due_at=self._now())
        taken = due or self._take(wish)
        try:
            run, state = self._compute(monitor, start, end, cause)
            saved = self._save(monitor, run, state, taken, by_hand=due is None)
        except Exception:
            self._evidences.forget(monitor.id)
            if taken and due is None:
                self._give_back(taken, wish)
            raise
        self._alerting.kick()
        return saved

    def catch_up(self, monitor: Monitor, seconds: float = math.inf) -> bool:
        """Take in what the log and the label files have got since; what it touches is due again.

        Where the log alone takes longer than so many seconds, this stops there; return whether all was taken.
        """

        def late(batch: Observations) -> None:
            self.touch(monitor, (moment(int(t)) for t in np.unique(batch.time)), Cause.LATE_EVENTS)

        found_all = self._sources.foreign_logs.take_down(monitor)
        while not found_all and math.isinf(seconds):
            found_all = self._sources.foreign_logs.take_down(monitor)
        extraction = extraction_for(monitor, self._baselines)
        try:
            read_all = self._observing.advance(monitor.deployment_id, extraction, late, seconds)
        except UnavailableError as error:
            self._sources.foreign_logs.tell(monitor, error)
            read_all = True  # as far as can be
        if not read_all or not found_all:
            return False
        if not monitor.config.keep_images:
            self._redacting.follow(monitor.deployment_id, extraction)
        config = monitor.config.performance
        if config.enabled:
            self._sources.late_files.refresh(
                monitor,
                self._database.deployments.get(monitor.deployment_id),
                lambda times: self.touch(monitor, times, Cause.LATE_LABELS),
            )
        return True

    def tidy(self, monitor: Monitor) -> None:
        """Join small files of observations that evidence has done with."""
        extraction = extraction_for(monitor, self._baselines)
        done = monitor.evidence.settled if monitor.evidence else 0
        if not monitor.config.drift.enabled:
            done = self._observing.sequence(monitor.deployment_id, extraction)
        self._observing.tidy(monitor.deployment_id, extraction, done)

    def sweep(self, monitor: Monitor) -> None:
        """Delete files of observations that crashes left behind."""
        self._observing.sweep(monitor.deployment_id)

    def post_labels(self, monitor: Monitor, labels: list[PostedLabel], by: str) -> Receipt:
        """Take in labels by event id; the windows that they touch are due again.

        Raises TooManyError where events came faster than they could be read, and some of these are not known
        yet; nothing is kept of the labels then.
        """
        if monitor.config.performance.compute == "precomputed_metrics":
            raise ConflictError(
                "The monitor takes metrics that somebody else computes (performance.compute), and no labels; "
                "drop files with the metrics."
            )
        extraction = extraction_for(monitor, self._baselines)
        wanted = {label.event_id for label in labels}
        events = self._files.answered(monitor.deployment_id, extraction.id, wanted)
        if wanted - events.keys():
            read_all = self._looking.acquire(timeout=_LOOKED_FOR)
            if read_all:
                try:
                    self._flush()
                    read_all = self.catch_up(monitor, _LOOKED_FOR)
                finally:
                    self._looking.release()
            events = self._files.answered(monitor.deployment_id, extraction.id, wanted)
            if not read_all and wanted - events.keys():
                raise TooManyError(
                    f"More events of {monitor.name!r} wait than can be read in {_LOOKED_FOR:.0f} s; "
                    f"{min(wanted - events.keys())!r} may be among them. Send the labels again later.",
                    retry_after=_LOOKED_FOR,
                )
        return self._labels.post(
            monitor.deployment_id,
            labels,
            events,
            by,
            lambda touched: self.touch(monitor, touched, Cause.LATE_LABELS),
        )

    def _compute(
        self, monitor: Monitor, start: datetime, end: datetime, cause: Cause
    ) -> tuple[MonitorRun, EvidenceState | None]:
        baseline = self._baselines.load(monitor)
        earlier = self._revisions(monitor, start, end)
        last = earlier[-1] if earlier else None
        if cause is Cause.LATE_LABELS and last and last.config_version == monitor.config_version:
            return self._relabelled(monitor, baseline, last), None
        extraction = extraction_of(monitor, baseline)
        observed = self._files.window(monitor.deployment_id, extraction.id, start, end)
        config = monitor.config
        newest = not self._database.monitor_runs.between("start", end, None, limit=1, monitor_id=monitor.id)
        state = None
        if newest and config.drift.enabled and cause is not Cause.BACKFILL:
            known = monitor.evidence is not None
            begin = 0 if known else self._observing.sequence_before(monitor.deployment_id, extraction, start)
            state = self._evidences.advance(monitor, baseline, extraction, begin, end)
        evidence = state.result if state else (last.evidence if last else None)
        found = self._findings.look(
            monitor, baseline, (start, end), observed, evidence, _standing(state, monitor, last)
        )
        unknown: tuple[str, ...] = ()
        if not len(observed) and end < self._now() - _HOUR:  # its log may have gone before it was read
            unknown = self._observing.before_log(monitor.deployment_id, extraction, end)
        run = MonitorRun(
            id=new_id(),
            monitor_id=monitor.id,
            config_version=monitor.config_version,
            start=start,
            end=end,
            revision=0,
            created_at=self._now(),
            status=Status.UNKNOWN,
            health=Status.UNKNOWN,
            drift=Status.UNKNOWN,
            performance=Status.UNKNOWN,
            metrics=found.metrics,
            images=found.images,
            problems=_listed((*unknown, *found.problems)),
            cause=cause,
            evidence=evidence,
            segments=found.segments,
            late=int((observed.received > microseconds(earlier[0].created_at)).sum()) if earlier else 0,
            quiet_minutes=self._quiet(monitor, extraction, observed, end),
        )
        return judge_run(run, monitor), state

    def _relabelled(self, monitor: Monitor, baseline: Baseline, last: MonitorRun) -> MonitorRun:
        """Return a run with the labels of now: they change performance, and nothing else."""
        extraction = extraction_of(monitor, baseline)
        found = self._findings.look_at_labels(
            monitor,
            baseline,
            last,
            lambda: self._files.window(monitor.deployment_id, extraction.id, last.start, last.end),
            _standing(None, monitor, last),
        )
        run = replace(
            last,
            id=new_id(),
            created_at=self._now(),
            cause=Cause.LATE_LABELS,
            metrics=found.metrics,
            problems=_listed(found.problems),
            segments=found.segments,
        )
        return judge_run(run, monitor)

    def _save(
        self,
        monitor: Monitor,
        run: MonitorRun,
        state: EvidenceState | None,
        taken: DueWindow | None,
        *,
        by_hand: bool,
    ) -> MonitorRun:
        """Write down a run with all that follows from it: as a whole, or not at all."""
        for _ in range(_TRIES):
            try:
                with self._database.transaction():
                    self._database.monitors.lock(monitor.id)  # two windows of a day add to one tally
                    if taken:
                        self._fulfil(taken, by_hand=by_hand)
                    before = self._revisions(monitor, run.start, run.end)
                    number = before[-1].revision + 1 if before else 1
                    last = before[-1] if before else None
                    saved = self._tallying.tallied(monitor, replace(run, revision=number), last)
                    self._database.monitor_runs.add(saved)
                    self._history.note(monitor, saved)
                    self._note(monitor, saved, state)
                    self._alerting.judge(monitor, saved, last)
            except SupersededError:
                raise
            except ConflictError:
                continue  # another run of the same window was faster
            return saved
        raise ConflictError("The same window is being run by others; try again.")

    def _take(self, wish: DueWindow) -> DueWindow | None:
        """Claim a window for a run by hand; None where a worker is at it, or another by hand."""
        now = self._now()
        claimed = replace(wish, claimed_by=f"by hand {wish.id}", claimed_until=now + _BY_HAND)
        return self._database.due_windows.take(claimed, now)

    def _give_back(self, taken: DueWindow, wish: DueWindow) -> None:
        """Leave a window as it was before it was taken for a run by hand."""
        held = {"id": taken.id, "claimed_by": taken.claimed_by}
        if taken.id == wish.id:
            self._database.due_windows.delete_where(**held)
        else:
            self._database.due_windows.update_where(held, claimed_by="", claimed_until=None)

    def _fulfil(self, due: DueWindow, *, by_hand: bool) -> None:
        found = self._database.due_windows.delete_where(id=due.id, claimed_by=due.claimed_by)
        if not found and not by_hand:
            raise SupersededError("The window has changed, or another worker has taken it.")

    def _note(self, monitor: Monitor, run: MonitorRun, state: EvidenceState | None) -> None:
        """Take the status over unless a later window has been run already."""
        later = self._database.monitor_runs.between("start", run.end, None, limit=1, monitor_id=monitor.id)
        if later:
            return
        changes: dict[str, Any] = {"status": run.status, "last_run_at": run.end}
        now = self._database.monitors.get(monitor.id)
        known = monitor.evidence.acknowledged if monitor.evidence else 0
        fresh = now.evidence
        same = now.baseline == monitor.baseline and (fresh is None or fresh.acknowledged == known)
        if state and same and (fresh is None or fresh.sequence <= state.sequence):
            changes["evidence"] = state  # nobody has begun it anew meanwhile, or come farther
        self._database.monitors.update(monitor.id, **changes)

    def touch(self, monitor: Monitor, times: Iterable[datetime], cause: Cause) -> None:
        """Make the windows that were looked at, and that these times lie in, due again; in a transaction."""
        moments = sorted(times)
        if not moments:
            return
        for window in self._database.windows_touched(monitor.id, moments):
            self._database.due_windows.want_again(
                DueWindow(new_id(), monitor.id, *window, cause, due_at=self._now())
            )

    def _revisions(self, monitor: Monitor, start: datetime, end: datetime) -> tuple[MonitorRun, ...]:
        return self._database.monitor_runs.where(monitor_id=monitor.id, start=start, end=end, sort="revision")

    def _quiet(
        self, monitor: Monitor, extraction: Extraction, observed: Observations, end: datetime
    ) -> float | None:
        if len(observed):
            last = moment(int(observed.time.max()))
        else:
            found = self._files.last_before(monitor.deployment_id, extraction.id, end)
            if found is None:
                return None
            last = found
        return (end - last).total_seconds() / 60


class SupersededError(ConflictError):
    """The result of a claimed window no longer counts."""


def _standing(
    state: EvidenceState | None, monitor: Monitor, last: MonitorRun | None
) -> dict[str, EvidenceResult | None]:
    """Return where the evidence of each segment that it has met stood at the end of a window."""
    met = state or monitor.evidence
    if state is None:
        found = {segment.name: segment.evidence for segment in last.segments} if last else {}
        return {name: found.get(name) for name in (met.segments if met else found)}
    return {name: of_segment.result for name, of_segment in state.segments.items()}


def _listed(problems: Sequence[str]) -> tuple[str, ...]:
    more = len(problems) - _PROBLEMS_LISTED
    return (*problems[:_PROBLEMS_LISTED], *([f"{more} more problems like these."] if more > 0 else []))
