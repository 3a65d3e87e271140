"""Deleting a logged event wherever it stands, whatever crashes, and keeping it from coming back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.erasure import Erasure, digest_of
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Cause, Monitor
from tidegauge.domain.observation import PATIENCE, ObservationFile, key_of_half
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services.baselines import Baselines
from tidegauge.services.runs import Runs
from tidegauge.services.worker import Worker
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.observations import ObservationStore
from tidegauge.storage.rows import Page, Query

_MOST = 1000  # events at once
_NAMED = 5  # ids of an error
_CHUNK = 500  # files of the log that are looked into at once
_TRIES = 20
_FORGETS = 5  # minutes that others may keep the database's log, such as a backup
_HOUR = timedelta(hours=1)
_IN_FLIGHT = timedelta(hours=1)  # a file that is younger may be about to count


class Erasures:
    """Takes events out of the log, of observations, results, labels, dead letters and accepted baselines.

    What is to go is written down first; from then on no reader and no collector lets it in again, and a crash
    leaves it to be taken up at the next start. Evidence keeps no event: it cannot forget, and has nothing to.
    """

    def __init__(
        self,
        database: Database,
        log: InferenceLog,
        files: ObservationStore,
        baselines: Baselines,
        runs: Runs,
        worker: Worker,
        flush: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._log = log
        self._files = files
        self._baselines = baselines
        self._runs = runs
        self._worker = worker
        self._flush = flush
        self._now = now

    def start_up(self) -> None:
        """Take up what a crash interrupted."""
        for deployment_id in {
            erasure.deployment_id for erasure in self._database.erasures.where(done_at=None)
        }:
            self._submit(deployment_id)
        if self._database.erasures.find():
            self._database.forget()  # what others kept busy for too long the last time

    def page(self, deployment: Deployment, query: Query) -> Page[Erasure]:
        return self._database.erasures.page(query, deployment_id=deployment.id)

    def begin(
        self, deployment: Deployment, event_ids: Sequence[str], by: str, note: str
    ) -> tuple[Erasure, ...]:
        """Delete events, in the background; InvalidInputError or NotFoundError where that makes no sense."""
        ids = list(dict.fromkeys(event_ids))
        if not 0 < len(ids) <= _MOST:
            raise InvalidInputError.of(
                "event_ids", f"event_ids has {len(ids)} events; give 1 to {_MOST:,} at a time."
            )
        digests = {digest_of(deployment.id, id_): id_ for id_ in ids}
        known = {
            erasure.digest: erasure
            for erasure in self._database.erasures.where(deployment_id=deployment.id, digest=list(digests))
        }
        wanted = {id_ for digest, id_ in digests.items() if digest not in known}
        self._flush()
        self._check(deployment, wanted)
        added = [
            Erasure(new_id(), deployment.id, digest_of(deployment.id, id_), id_, by, note, self._now())
            for id_ in ids
            if id_ in wanted
        ]
        self._database.erasures.add_all(added)
        self._submit(deployment.id)
        return (*known.values(), *added)

    def begin_all(self, deployment: Deployment, event_ids: Sequence[str], by: str, note: str) -> None:
        """Delete however many events, as many at a time as may be."""
        for start in range(0, len(event_ids), _MOST):
            self.begin(deployment, event_ids[start : start + _MOST], by, note)

    def work(self, deployment_id: str) -> None:
        """Delete what is to be deleted of a deployment."""
        pending = self._database.erasures.where(deployment_id=deployment_id, done_at=None)
        named = [erasure for erasure in pending if erasure.event_id]
        if named:
            self._erase(deployment_id, named)
        if pending and not any(self._database.forget() for _ in range(_FORGETS)):
            return  # they are not done while something of them is left; the next start takes them up
        for erasure in pending:
            self._database.erasures.update(erasure.id, leftovers=(), done_at=self._now())

    def _erase(self, deployment_id: str, pending: Sequence[Erasure]) -> None:
        ids = {erasure.event_id for erasure in pending}
        self._flush()
        times = self._noted(deployment_id, pending)
        logged = self._erase_logged(deployment_id, ids, times)
        observed = self._erase_observed(deployment_id, ids)
        shown = self._erase_results(deployment_id, ids, times)
        self._sweep(deployment_id, ids)
        for erasure in pending:
            where = f"{logged} files of the log, {observed} of observations, {shown} results"
            found = f"with {len(pending) - 1} others: {where}" if len(pending) > 1 else where
            self._database.erasures.update(erasure.id, event_id="", found=found)

    def _noted(self, deployment_id: str, pending: Iterable[Erasure]) -> dict[str, datetime]:
        """Return the times of observations, written down while these are there, for after a crash."""
        found = self._times(deployment_id, {erasure.event_id for erasure in pending})
        times: dict[str, datetime] = {}
        for erasure in pending:
            time = erasure.time or found.get(erasure.event_id)
            if time is not None:
                times[erasure.event_id] = time
                self._database.erasures.update(erasure.id, time=time)
        return times

    def _submit(self, deployment_id: str) -> None:
        self._worker.submit(f"erasure {deployment_id}", lambda: self.work(deployment_id))

    def _check(self, deployment: Deployment, ids: set[str]) -> None:
        """Raise NotFoundError where the log has never had some of these events."""
        missing = ids - self._times(deployment.id, ids).keys()
        missing -= set().union(*self._held(self._log.files(deployment.id), missing).values())
        if missing:
            named = ", ".join(repr(id_) for id_ in sorted(missing)[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            raise NotFoundError(
                f"The log of {deployment.name!r} has no event {named}{more}; nothing was deleted."
            )

    def _times(self, deployment_id: str, ids: set[str]) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for reader in self._database.readers.where(deployment_id=deployment_id):
            if ids - found.keys():
                found |= self._files.times(deployment_id, reader.extractor, ids)
            held = {key_of_half(text)[1]: half.time for text, half in reader.halves.items()}
            found |= {id_: time for id_, time in held.items() if id_ in ids}
        # What could not be used is named among the problems of its window.
        for letter in self._database.dead_letters.where(deployment_id=deployment_id, event_id=sorted(ids)):
            if letter.time is not None:
                found.setdefault(letter.event_id, letter.time)
        return found

    def _held(self, paths: Sequence[str], ids: set[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for start in range(0, len(paths) if ids else 0, _CHUNK):
            found |= self._log.holding(paths[start : start + _CHUNK], ids)
        return found

    def _erase_logged(self, deployment_id: str, ids: set[str], times: Mapping[str, datetime]) -> int:
        """The other half of an exchange is near the time of one; what is not there may be anywhere."""
        hours = self._log.hours(deployment_id)
        around = [
            info.path
            for hour, infos in hours.items()
            # Differences, since the first and the last of all times have nothing beyond them.
            if any(-PATIENCE - _HOUR < hour - time <= PATIENCE for time in times.values())
            for info in infos
        ]
        near = self._held(around, ids)
        odd = ids - set().union(*near.values()).intersection(times)
        everything = [info.path for infos in hours.values() for info in infos]
        held = {**near, **self._held(everything, odd)}
        return sum(self._log.erase(path, found) > 0 for path, found in held.items())

    def _erase_observed(self, deployment_id: str, ids: set[str]) -> int:
        count = 0
        for reader in self._database.readers.where(deployment_id=deployment_id):
            times = self._files.times(deployment_id, reader.extractor, ids)
            while times:
                found = self._holding(reader.deployment_id, reader.extractor, times)
                if not found:
                    break
                for file in found:
                    count += self._replace(file, ids)
                times = self._files.times(deployment_id, reader.extractor, ids)
        return count

    def _holding(
        self, deployment_id: str, extractor: str, times: Mapping[str, datetime]
    ) -> list[ObservationFile]:
        first, last = min(times.values()), max(times.values())
        files = self._database.observation_files.between(
            "last", first, None, deployment_id=deployment_id, extractor=extractor
        )
        return [
            file
            for file in files
            if file.first <= last and any(file.first <= time <= file.last for time in times.values())
        ]

    def _replace(self, file: ObservationFile, ids: set[str]) -> int:
        """Let a file without the events count in place of one with them."""
        if not self._files.ids_of(file).intersection(ids):
            return 0
        without = self._files.without(file, ids, f"erased-{new_id()}")
        with self._database.transaction():
            if not self._database.observation_files.delete(file.id):
                return 0  # joined with others meanwhile: it is looked for again
            if without:
                self._database.observation_files.add(without)
            for erasure in self._database.erasures.where(deployment_id=file.deployment_id, done_at=None):
                self._database.erasures.update(erasure.id, leftovers=(*erasure.leftovers, file.id))
        self._files.delete([file])
        return 1

    def _sweep(self, deployment_id: str, ids: set[str]) -> None:
        """Delete files of observations that count no more: of this deletion, or of an older crash."""
        for erasure in self._database.erasures.where(deployment_id=deployment_id, done_at=None):
            self._files.delete_paths(erasure.leftovers)
        counting = {file.id for file in self._database.observation_files.where(deployment_id=deployment_id)}
        before = self._now() - _IN_FLIGHT
        for path, modified in self._files.listed(deployment_id):
            if path not in counting and modified < before and self._files.ids_in(path) & ids:
                self._files.delete_paths([path])

    def _erase_results(self, deployment_id: str, ids: set[str], times: Mapping[str, datetime]) -> int:
        """Take the events out of what the database has; windows that had one are looked at again."""
        shown = 0
        monitor = self._database.monitors.find(deployment_id=deployment_id)
        for _ in range(_TRIES):
            baseline = self._baselines.without_events(monitor, ids) if monitor else None
            try:
                with self._database.transaction():
                    self._erase_rows(deployment_id, ids)
                    if monitor and baseline:
                        self._swap(monitor, baseline)
                    if monitor:
                        shown = self._hide(monitor, ids, times.values())
                        self._runs.touch(monitor, times.values(), Cause.DELETED_EVENTS)
            except ConflictError:
                monitor = self._database.monitors.find(deployment_id=deployment_id)
                continue
            if monitor and baseline:
                self._baselines.forget_others(self._database.monitors.get(monitor.id))
            return shown
        raise ConflictError("The baseline of the monitor changes again and again; start the server anew.")

    def _erase_rows(self, deployment_id: str, ids: set[str]) -> None:
        named = sorted(ids)
        self._database.labels.delete_where(deployment_id=deployment_id, event_id=named)
        self._database.dead_letters.delete_where(deployment_id=deployment_id, event_id=named)
        for reader in self._database.readers.where(deployment_id=deployment_id):
            halves = {text: half for text, half in reader.halves.items() if key_of_half(text)[1] not in ids}
            if len(halves) < len(reader.halves):
                self._database.readers.update(reader.id, halves=halves)

    def _swap(self, monitor: Monitor, baseline: str) -> None:
        if not self._database.monitors.update(monitor.id, {"baseline": monitor.baseline}, baseline=baseline):
            raise ConflictError("The baseline was replaced meanwhile.")

    def _hide(self, monitor: Monitor, ids: set[str], times: Iterable[datetime]) -> int:
        moments = sorted(times)
        if not moments:
            return 0
        changed = 0
        named = tuple(f"Event {id_}:" for id_ in ids)
        for start, end in self._database.windows_touched(monitor.id, moments):
            for run in self._database.monitor_runs.where(monitor_id=monitor.id, start=start, end=end):
                images = tuple(image for image in run.images if image.event_id not in ids)
                problems = tuple(text for text in run.problems if not text.startswith(named))
                if (len(images), len(problems)) != (len(run.images), len(run.problems)):
                    self._database.monitor_runs.update(run.id, images=images, problems=problems)
                    changed += 1
        return changed
