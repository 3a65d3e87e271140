"""Evidence of a monitor: a fold over its observations, each taken in once, in the order of the log."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from tidegauge.domain.monitor import EvidenceResult, EvidenceState, Monitor
from tidegauge.errors import NotFoundError
from tidegauge.services.baselines import Baseline
from tidegauge.services.observing import Extraction
from tidegauge.stats.evidence import Evidence, EvidenceStep
from tidegauge.stats.images import ImageBaseline
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import Observations, ObservationStore, microseconds, moment

_EVERY = 2000  # observations between checkpoints: what a crash makes a worker take in again
_CACHED = 64  # monitors whose evidence a worker keeps in memory


@dataclass
class _Fold:
    """Evidence as it is after a batch, and when its observations were: [count before a batch, first time]."""

    evidence: Evidence
    baseline: str  # its hash: evidence against another one is another evidence
    sequence: int
    counts: list[int]
    times: list[npt.NDArray[np.int64]]
    saved: int = 0  # observations at the last checkpoint

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
        self._folds: dict[str, _Fold] = {}
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
        image = baseline.image
        if image is None or image.space is None:
            return None
        with self._lock(monitor.id):
            fold = self._resume(monitor, image, begin)
            fold.evidence.minimum_effect = monitor.config.evidence.minimum_effect  # of an active monitor, too
            for batch in self._files.after(monitor.deployment_id, extraction.id, fold.sequence):
                if len(batch) and batch.time.min() >= microseconds(end):
                    break
                _take_in(fold, image, batch)
            return self._state(monitor, fold)

    def acknowledge(self, monitor: Monitor, baseline: Baseline) -> EvidenceState | None:
        """Begin again after an alarm, at the last observation taken in."""
        if baseline.image is None or monitor.evidence is None:
            return None
        with self._lock(monitor.id):
            fold = self._resume(monitor, baseline.image, 0)
            fold.evidence.acknowledge()
            return self._state(monitor, fold, save=True)

    def forget(self, monitor_id: str) -> None:
        """Drop what is in memory, since what was computed was not saved, or the baseline is another."""
        with self._guard:
            self._folds.pop(monitor_id, None)

    def _resume(self, monitor: Monitor, image: ImageBaseline, begin: int) -> _Fold:
        state = monitor.evidence
        fold = self._folds.get(monitor.id)
        resets = state.resets if state else 0
        if fold is not None and fold.baseline != monitor.baseline:
            fold = None  # a window was accepted, perhaps on another worker
        if fold is not None and state is not None:
            if fold.sequence <= state.sequence and fold.evidence.resets == resets:
                return fold
        elif fold is not None and state is None and fold.sequence == begin and not fold.counts:
            return fold
        fold = self._load(monitor, state) if state and state.checkpoint else None
        if fold is None:
            wanted = monitor.config.evidence
            fresh = Evidence(
                image,
                alpha=wanted.alpha,
                life=wanted.life,
                per_source=wanted.per_source.gap if wanted.per_source else None,
            )
            fresh.resets = resets
            fold = _Fold(fresh, monitor.baseline, state.checkpoint_sequence if state else begin, [], [])
        with self._guard:
            if len(self._folds) >= _CACHED:
                self._folds.pop(next(iter(self._folds)))
            self._folds[monitor.id] = fold
        return fold

    def _state(self, monitor: Monitor, fold: _Fold, *, save: bool = False) -> EvidenceState:
        step = fold.evidence.step()
        before = monitor.evidence
        checkpoint = before.checkpoint if before else ""
        at = before.checkpoint_sequence if before else fold.sequence
        raised = step.alarm and not (before and before.result and before.result.alarm)
        if save or before is None or raised or _seen(fold) - fold.saved >= _EVERY:
            checkpoint, at = self._save(monitor.id, fold), fold.sequence
        return EvidenceState(
            sequence=fold.sequence,
            checkpoint=checkpoint,
            checkpoint_sequence=at,
            resets=fold.evidence.resets,
            alpha=fold.evidence.alpha,
            result=_result(fold, step),
        )

    def _save(self, monitor_id: str, fold: _Fold) -> str:
        arrays = fold.evidence.to_arrays()
        arrays["marks.counts"] = np.array(fold.counts, np.int64)
        arrays["marks.lengths"] = np.array([len(times) for times in fold.times], np.int64)
        arrays["marks.times"] = np.concatenate([*fold.times, np.empty(0, np.int64)])
        arrays["marks.sequence"] = np.array(fold.sequence)
        sink = io.BytesIO()
        np.savez_compressed(sink, allow_pickle=False, **arrays)
        path = f"monitors/{monitor_id}/evidence/{fold.evidence.resets:04d}-{fold.sequence:012d}.npz"
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
        fold = _Fold(Evidence.from_arrays(arrays), monitor.baseline, sequence, counts, times)
        fold.saved = _seen(fold)
        return fold

    def _lock(self, monitor_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(monitor_id, threading.Lock())


def _take_in(fold: _Fold, image: ImageBaseline, batch: Observations) -> None:
    fold.sequence = max(fold.sequence, int(batch.sequence.max(initial=0)))
    rows = np.flatnonzero(batch.seen)
    if batch.images is None or not len(rows):
        return
    fold.counts.append(_seen(fold))
    fold.times.append(batch.time[rows])
    del fold.counts[:-1024], fold.times[:-1024]
    chance = np.array(
        [_chance(event, index) for event, index in zip(batch.event_id[rows], batch.index[rows], strict=True)]
    )
    fold.evidence.update(image.observe(batch.images), batch.source[rows].tolist(), chance)


def _chance(event_id: str, index: int) -> float:
    """Return a number in [0, 1) that is the same wherever the same event is looked at."""
    digest = hashlib.blake2b(f"{event_id}/{index}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


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
