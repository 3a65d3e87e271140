"""What a person says to a drift alarm: acknowledged, or accepted as the new baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

import numpy as np

from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Acknowledgement, Monitor, MonitorState
from tidegauge.domain.windows import span
from tidegauge.errors import ConflictError, InvalidInputError, TidegaugeError
from tidegauge.services import measuring
from tidegauge.services.baselines import Baselines
from tidegauge.services.evidence import Evidences
from tidegauge.services.extraction import extraction_for, extraction_of
from tidegauge.services.fitting import Fitting
from tidegauge.services.sources.images import LoggedImages
from tidegauge.services.sources.logs import Logs
from tidegauge.services.worker import Worker
from tidegauge.storage.database import Database
from tidegauge.storage.observations import Observations, ObservationStore

_LEAST = 100  # images or rows of an accepted window: with fewer, little can be promised
_UNDER_WAY = "accepted window: "


class Acceptance:
    """Acknowledges alarms and accepts production windows; both spend a further share of false alarms."""

    def __init__(
        self,
        database: Database,
        log: Logs,
        files: ObservationStore,
        baselines: Baselines,
        fitting: Fitting,
        evidences: Evidences,
        worker: Worker,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._log = log
        self._files = files
        self._baselines = baselines
        self._fitting = fitting
        self._evidences = evidences
        self._worker = worker
        self._now = now

    def start_up(self) -> None:
        """Say of what a crash interrupted that it has to be asked for again."""
        for monitor in self._database.monitors.where(state=[s.value for s in _RUNNABLE]):
            if monitor.progress.startswith(_UNDER_WAY):
                self._fail(monitor.id, "the server was restarted meanwhile")

    def acknowledge(self, monitor: Monitor, by: str, note: str) -> Acknowledgement:
        """Begin evidence again after an alarm."""
        if monitor.evidence is None or not monitor.evidence.alarms:
            raise ConflictError("The monitor has no drift alarm; there is nothing to acknowledge.")
        baseline = self._baselines.load(monitor)
        fresh = self._evidences.acknowledge(monitor, baseline, extraction_of(monitor, baseline))
        if fresh is None:
            raise ConflictError("The monitor has no baseline of drift; there is nothing to acknowledge.")
        done = self._acknowledgement(monitor, by, note)
        with self._database.transaction():
            self._database.acknowledgements.add(done)
            self._database.monitors.update(monitor.id, evidence=fresh)
        return done

    def accept(self, monitor: Monitor, start: datetime, end: datetime, by: str, note: str) -> Monitor:
        """Make a baseline of what was observed from start to end, in the background, and go on with it."""
        if monitor.state not in _RUNNABLE:
            raise ConflictError(
                f"The monitor is {monitor.state.value}; a window is accepted once it is ready or active."
            )
        if not monitor.config.drift.enabled:
            raise ConflictError("The monitor does not look at drift; there is no baseline to replace.")
        if not monitor.config.keep_images:
            raise ConflictError(
                "The monitor keeps no images (keep_images: false), and a baseline is made of images; "
                "make one of another version of the Dataset with: tidegauge monitor configure"
            )
        if monitor.progress:
            raise ConflictError(f"The monitor is busy ({monitor.progress}); wait until it is done.")
        start, end = span(start, end)
        observed = self._observed(monitor, start, end)
        count = int(observed.seen.sum())
        things = "images" if monitor.config.input_data_type == "image" else "rows"
        if count < _LEAST:
            raise InvalidInputError.of(
                "start",
                f"From {start.isoformat()} to {end.isoformat()} there are {count} {things}; "
                f"give a span with {_LEAST} or more.",
            )
        self._database.monitors.update(monitor.id, progress=f"{_UNDER_WAY}0 of {count} {things}", message="")
        self._worker.submit(monitor.id, lambda: self._build(monitor.id, start, end, by, note))
        return self._database.monitors.get(monitor.id)

    def _build(self, monitor_id: str, start: datetime, end: datetime, by: str, note: str) -> None:
        def progress(text: str) -> None:
            self._database.monitors.update(monitor_id, progress=f"{_UNDER_WAY}{text}")

        monitor = self._database.monitors.get(monitor_id)
        try:
            observed = self._observed(monitor, start, end)
            known = self._baselines.load(monitor)
            seen = observed.take(np.flatnonzero(observed.seen))
            images = LoggedImages(self._log, monitor, seen) if known.image is not None else None
            named = () if known.numbers else measuring.predictions(observed, known.classes)
            digest = self._fitting.accept(monitor, observed, images, dict(Counter(named)), progress)
        except TidegaugeError as error:
            self._fail(monitor_id, error.message)
            return
        except Exception as error:
            self._fail(monitor_id, str(error))
            raise
        text = f"accepted {start.isoformat()} to {end.isoformat()} as the baseline. {note}".strip()
        with self._database.transaction():
            self._database.acknowledgements.add(self._acknowledgement(monitor, by, text))
            self._database.monitors.update(monitor_id, baseline=digest, evidence=None, progress="")
        self._evidences.forget(monitor_id)

    def _fail(self, monitor_id: str, reason: str) -> None:
        message = f"The window could not be accepted: {reason.rstrip('.')}. Ask for it again."
        self._database.monitors.update(monitor_id, progress="", message=message)

    def _observed(self, monitor: Monitor, start: datetime, end: datetime) -> Observations:
        extraction = extraction_for(monitor, self._baselines)
        return self._files.window(monitor.deployment_id, extraction.id, start, end).evenly()

    def _acknowledgement(self, monitor: Monitor, by: str, note: str) -> Acknowledgement:
        alpha = monitor.config.evidence.alpha  # of the whole and of all segments together
        before = self._database.acknowledgements.count(monitor_id=monitor.id)
        return Acknowledgement(
            new_id(), monitor.id, by, self._now(), note, alpha, min(1.0, alpha * (before + 2))
        )


_RUNNABLE = (MonitorState.READY, MonitorState.ACTIVE)
