"""Evidence of a monitor: a fold over its observations, each taken in once, in the order of the log."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from tidegauge.domain.identity import chance_of
from tidegauge.domain.monitor import EvidenceResult, EvidenceState, Monitor
from tidegauge.errors import NotFoundError
from tidegauge.services import segments
from tidegauge.services.baselines import Baseline
from tidegauge.services.extraction import Extraction
from tidegauge.stats.evidence import Evidence, EvidenceStep
from tidegauge.stats.evidence.process import Reference
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import Observations, ObservationStore, microseconds, moment

_EVERY = 2000  # observations between checkpoints: what a crash makes a worker take in again
_CACHED = 64  # monitors whose evidence a worker keeps in memory
_DAY = 86_400_000_000  # microseconds
_WHOLE = ""  # in the place of the name of a segment


@dataclass
class _Fold:
    """Evidence as it is after a batch, and when its observations were: [count before a batch, first time]."""

    evidence: Evidence
    baseline: str  # its hash: evidence against another one is another evidence
    sequence: int
    counts: list[int]
    times: list[npt.NDArray[np.int64]]
    saved: int = 0  # observations at the last checkpoint
    heaviest: tuple[float, int] = (1.0, 0)  # weight of what came lately, and when the last of it was

    def time_of(self, index: int | None) -> datetime | None:
        if index is None or not self.counts or index < self.counts[0]:
            return None
        place = int(np.searchsorted(self.counts, index, side="right")) - 1
        inside = index - self.counts[place]
        times = self.times[place]
        return moment(int(times[min(inside, len(times) - 1)]))


class Evidences:
    """Takes in what was observed since, and keeps checkpoints in the store.

    The same observations from the same checkpoint give the same evidence, on whatever worker: ties are broken
    by a hash of the event. So a crash, or two workers at once, change nothing.
    """

    def __init__(self, store: ObjectStore, files: ObservationStore) -> None:
        self._store = store
        self._files = files
        self._folds: dict[str, dict[str, _Fold]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def advance(
        self, monitor: Monitor, baseline: Baseline, extraction: Extraction, begin: int, end: datetime
    ) -> EvidenceState | None:
        """Take in what was observed since; None where the baseline has nothing to compare with.

        A batch that lies wholly at or after ``end``, and what was read after it, is left to later windows, so
        that a worker that lags behind does not see the future.

        ``begin`` is the batch after which evidence begins where there is none. The caller saves the state.
        """
        reference = baseline.reference
        if reference is None:
            return None
        with self._lock(monitor.id):
            folds = self._resume(monitor, reference, begin)
            for fold in folds.values():  # an active monitor may change it, too
                fold.evidence.minimum_effect = monitor.config.evidence.minimum_effect
            least = min(fold.sequence for fold in folds.values())
            for batch in self._files.after(monitor.deployment_id, extraction.id, least):
                if len(batch) and batch.time.min() >= microseconds(end):
                    break
                self._take_in(monitor, folds, baseline, batch)
            return self._state(monitor, folds)

    def acknowledge(
        self, monitor: Monitor, baseline: Baseline, extraction: Extraction
    ) -> EvidenceState | None:
        """Begin again, at the last observation taken in, wherever there is an alarm: whole or segment.

        What was taken in since the last checkpoint, perhaps by another worker, is taken in here first: it was
        what is acknowledged.
        """
        if baseline.reference is None or monitor.evidence is None:
            return None
        with self._lock(monitor.id):
            folds = self._resume(monitor, baseline.reference, 0)
            least = min(fold.sequence for fold in folds.values())
            for batch in self._files.after(monitor.deployment_id, extraction.id, least):
                if int(batch.sequence[0]) > monitor.evidence.sequence:
                    break
                self._take_in(monitor, folds, baseline, batch)
            alarmed = monitor.evidence.alarms
            for name in alarmed:
                folds[name].evidence.acknowledge()
            return self._state(monitor, folds, save=alarmed)

    def forget(self, monitor_id: str) -> None:
        """Drop what is in memory, since what was computed was not saved, or the baseline is another."""
        with self._guard:
            self._folds.pop(monitor_id, None)

    def _resume(self, monitor: Monitor, reference: Reference, begin: int) -> dict[str, _Fold]:
        """Return the folds of the whole (under the empty text) and of the segments, in memory or as saved."""
        state = monitor.evidence
        states = {_WHOLE: state, **(state.segments if state else {})}
        known = self._folds.get(monitor.id)
        if known is None or not _goes_on(known, states, monitor.baseline, begin):
            known = {
                name: self._begun(monitor, reference, number, saved, begin)
                for number, (name, saved) in enumerate(states.items())
            }
            with self._guard:
                if len(self._folds) >= _CACHED:
                    self._folds.pop(next(iter(self._folds)))
                self._folds[monitor.id] = known
        return known

    def _begun(
        self, monitor: Monitor, reference: Reference, number: int, state: EvidenceState | None, begin: int
    ) -> _Fold:
        """Return a fold from its checkpoint, or a fresh one; segments are numbered from 1."""
        fold = self._load(monitor, state) if state and state.checkpoint else None
        if fold is not None:
            return fold
        wanted = monitor.config.evidence
        fresh = Evidence(
            reference,
            alpha=wanted.alpha * _share(number, bool(monitor.config.segments)),
            life=wanted.life,
            minimum_effect=wanted.minimum_effect,
            per_source=wanted.per_source.gap if wanted.per_source else None,
        )
        fresh.resets = state.resets if state else 0
        return _Fold(fresh, monitor.baseline, state.checkpoint_sequence if state else begin, [], [])

    def _take_in(
        self, monitor: Monitor, folds: dict[str, _Fold], baseline: Baseline, batch: Observations
    ) -> None:
        """Take a batch into the whole and into its segments; a segment that is new begins with it."""
        reference = baseline.reference
        before = max((fold.sequence for fold in folds.values()), default=0)
        if monitor.config.segments and batch.sequence.max(initial=0) > before:
            for name in segments.named(batch, tuple(folds)[1:]):
                if name not in folds and reference is not None:
                    folds[name] = self._begun(monitor, reference, len(folds), None, before)
        names = segments.pooled(batch, tuple(folds)[1:])
        for name, fold in folds.items():
            new = batch.sequence > fold.sequence
            rows = new if name == _WHOLE else new & (names == name)
            _take_in(fold, baseline, batch if rows.all() else batch.take(np.flatnonzero(rows)))
            fold.sequence = max(fold.sequence, int(batch.sequence.max(initial=0)))

    def _state(self, monitor: Monitor, folds: dict[str, _Fold], save: Sequence[str] = ()) -> EvidenceState:
        state = monitor.evidence
        before = {_WHOLE: state, **state.segments} if state else {}
        # All at once, so that small files can be joined up to there however little some segment has.
        due = any(_seen(fold) - fold.saved >= _EVERY for fold in folds.values())
        states = {
            name: self._saved(monitor, number, fold, before.get(name), save=due or name in save)
            for number, (name, fold) in enumerate(folds.items())
        }
        whole = states.pop(_WHOLE)
        return replace(whole, segments=states)

    def _saved(
        self, monitor: Monitor, number: int, fold: _Fold, before: EvidenceState | None, *, save: bool
    ) -> EvidenceState:
        """Return where a fold stands, with a checkpoint where one is due."""
        step = fold.evidence.step()
        checkpoint = before.checkpoint if before else ""
        at = before.checkpoint_sequence if before else fold.sequence
        raised = step.alarm and not (before and before.result and before.result.alarm)
        if save or before is None or raised:
            checkpoint, at = self._save(monitor.id, number, fold), fold.sequence
        return EvidenceState(
            sequence=fold.sequence,
            checkpoint=checkpoint,
            checkpoint_sequence=at,
            resets=fold.evidence.resets,
            alpha=fold.evidence.alpha,
            result=_result(fold, step),
        )

    def _save(self, monitor_id: str, number: int, fold: _Fold) -> str:
        arrays = fold.evidence.to_arrays()
        arrays["marks.counts"] = np.array(fold.counts, np.int64)
        arrays["marks.lengths"] = np.array([len(times) for times in fold.times], np.int64)
        arrays["marks.times"] = np.concatenate([*fold.times, np.empty(0, np.int64)])
        arrays["marks.sequence"] = np.array(fold.sequence)
        arrays["marks.heaviest"] = np.array(fold.heaviest)
        sink = io.BytesIO()
        np.savez_compressed(sink, allow_pickle=False, **arrays)
        place = f"segment-{number:02d}/" if number else ""
        path = f"monitors/{monitor_id}/evidence/{place}{fold.evidence.resets:04d}-{fold.sequence:012d}.npz"
        self._store.put(path, sink.getvalue())
        fold.saved = _seen(fold)
        return path

    def _load(self, monitor: Monitor, state: EvidenceState) -> _Fold | None:
        try:
            data = self._store.get(state.checkpoint)
        except NotFoundError:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        lengths = arrays.pop("marks.lengths")
        times = np.split(arrays.pop("marks.times"), np.cumsum(lengths)[:-1]) if len(lengths) else []
        counts = arrays.pop("marks.counts").tolist()
        sequence = int(arrays.pop("marks.sequence"))
        weight, time = arrays.pop("marks.heaviest", (1.0, 0))  # an earlier version knew no sampling
        fold = _Fold(Evidence.from_arrays(arrays), monitor.baseline, sequence, counts, times)
        fold.saved, fold.heaviest = _seen(fold), (float(weight), int(time))
        return fold

    def _lock(self, monitor_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(monitor_id, threading.Lock())


def _share(number: int, has_segments: bool) -> float:
    """Return the share of alpha of the whole (0) or of a segment, by the order of appearance.

    The whole gets half of it, the segments 1/2, 1/6, 1/12, ... of the other half: together never more than 1.
    """
    if not has_segments:
        return 1.0
    return 0.5 / (number * (number + 1)) if number else 0.5


def _goes_on(
    folds: Mapping[str, _Fold], states: Mapping[str, EvidenceState | None], baseline: str, begin: int
) -> bool:
    """Tell whether what is in memory is what was saved, or has seen less of the same."""
    if folds.keys() != states.keys():
        return False
    for name, fold in folds.items():
        state = states[name]
        if fold.baseline != baseline:
            return False  # a window was accepted, perhaps on another worker
        if state is None and (fold.sequence != begin or fold.counts):
            return False
        if state is not None and (fold.sequence > state.sequence or fold.evidence.resets != state.resets):
            return False
    return True


def _take_in(fold: _Fold, baseline: Baseline, batch: Observations) -> None:
    batch = _evenly(fold, batch) if len(batch) else batch
    rows = np.flatnonzero(batch.seen)
    features = baseline.observe(batch) if len(rows) else None
    if features is None:
        return
    fold.counts.append(_seen(fold))
    fold.times.append(batch.time[rows])
    del fold.counts[:-1024], fold.times[:-1024]
    places = zip(batch.event_id[rows], batch.index[rows], batch.time[rows], strict=True)
    # The same wherever the event is looked at; its time tells events of two sources with one id apart.
    chance = np.array([chance_of(event_id, str(index), str(time)) for event_id, index, time in places])
    fold.evidence.update(features, batch.source[rows].tolist(), chance)


def _evenly(fold: _Fold, batch: Observations) -> Observations:
    """Return observations that stand for as many requests each as the heaviest of the last day.

    Among servers of which different shares are logged, all count by their traffic. A share that is no longer
    in use is forgotten: it would thin what comes for nothing.
    """
    newest = int(batch.time.max())
    weight, last = fold.heaviest
    if batch.heaviest >= weight or newest - last > _DAY:
        fold.heaviest = batch.heaviest, max(newest, last)
    return batch.evenly(fold.heaviest[0])


def _seen(fold: _Fold) -> int:
    return int(fold.evidence.stakes.seen.max(initial=0))


def _result(fold: _Fold, step: EvidenceStep) -> EvidenceResult:
    return EvidenceResult(
        log_e=step.log_e,
        log_peak=step.log_peak,
        alarm=step.alarm,
        alarm_at=fold.time_of(step.alarm_at),
        since=fold.time_of(step.since),
        feature=step.feature,
        effect=step.effect,
        n=step.n,
    )
