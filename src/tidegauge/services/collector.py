"""The collector: takes events, makes them durable, and writes them to the inference log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidegauge.domain.cloudevents import MAX_ERRORS, Decoded, too_many_wrong
from tidegauge.domain.deployment import Deployment, Origin
from tidegauge.domain.events import RESPONSE_TYPE, SENDER, SEQUENCE, Event
from tidegauge.domain.users import Principal
from tidegauge.errors import (
    FieldError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    TooLargeError,
    TooManyError,
    UnavailableError,
)
from tidegauge.services.commits import Commits
from tidegauge.services.repeats import Key, Repeats, key_of
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.segments import Journal, Record

_SOURCE = re.compile(r"(?:https?://[^/]+)?/deployments/([A-Za-z0-9_-]+)/?")
_MOST_EVENTS = 10_000  # of a batch
_MOST_HOURS = 200  # that its events lie in
_LONGEST_SAID = 300  # characters
_MOST_REPEATED = 10_000  # records that are kept until the next flush
_MAX_DELAY = 5.0  # seconds between tries while the store cannot be reached
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollectorCounts:
    """What a collector did since its start, for metrics.

    ``received`` events (``bytes`` of payload) are durable, ``repeated`` came once more, ``refused`` were
    answered with an error, ``written`` reached the inference log (a replay after a crash counts again),
    ``damaged`` spans of segments could not be read, ``pending`` segments wait for the store, ``failure`` says
    why the last write to the store failed, or is empty.
    """

    received: int = 0
    repeated: int = 0
    refused: int = 0
    bytes: int = 0
    written: int = 0
    damaged: int = 0
    pending: int = 0
    failure: str = ""


@dataclass(frozen=True)
class Taken:
    """What became of the events of a request: durable now, durable before, and what is wrong with others."""

    accepted: int
    repeated: int
    refused: tuple[FieldError, ...] = ()


@dataclass(frozen=True)
class Directory:
    """How a collector finds the deployment with an id, or those of an (inferenceservicename, namespace).

    ``exists`` says what is so when events are written to the log: it asks the database each time.
    """

    deployment: Callable[[str], Awaitable[Deployment | None]]
    serving: Callable[[str, str], Awaitable[Sequence[Deployment]]]
    exists: Callable[[str], bool]


@dataclass(frozen=True)
class Hooks:
    """Who hears of what is written to the log, by deployment and path, and of the records themselves.

    ``known`` says which files were taken down before: a segment written again does not bring them back.
    ``kept`` leaves out the events that were deleted; ``recent`` yields the keys of the log's newest events.
    """

    wrote: Callable[[Sequence[tuple[str, str]]], None] = lambda _files: None
    noted: Callable[[Sequence[Record]], None] = lambda _records: None
    known: Callable[[Collection[str]], Container[str]] = lambda _paths: ()
    kept: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: records
    recent: Callable[[], Iterator[Key]] = lambda: iter(())


@dataclass(frozen=True)
class Limits:
    """Bounds of a collector: bytes of requests in memory, and events a second of one deployment (0: any)."""

    waiting_bytes: int = 64 << 20
    rate: int = 0


class Collector:
    """Accepts events durably and flushes them to the inference log in the background."""

    def __init__(
        self,
        journal: Journal,
        log: InferenceLog,
        directory: Directory,
        flush_seconds: float = 5.0,
        *,
        hooks: Hooks = Hooks(),
        limits: Limits = Limits(),
    ) -> None:
        """Wire the collector; nothing runs before ``start``.

        ``journal`` is where events are safe until they are in ``log``, which gets them after
        ``flush_seconds`` at most.
        """
        self.log = log
        self._journal = journal
        self._directory = directory
        self._flush_seconds = flush_seconds
        self._hooks = hooks
        self._limits = limits
        self._commits = Commits(self._append, journal.at_once)
        self._repeats = Repeats()
        self._rates = _Rates(limits.rate)
        self._flushing = threading.Lock()  # guards _answered
        self._answered = 0  # of the flushes that were asked for
        self._lock = threading.Lock()  # guards what follows
        self._asked = 0
        self._counts = CollectorCounts()
        self._waiting = 0
        self._repeated: deque[Record] = deque(maxlen=_MOST_REPEATED)
        self._stop = threading.Event()
        self._full = threading.Event()  # a segment is whole, or nothing more will come
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Learn what is safe already, and start the background flusher, which begins with what a crash left.

        A store that cannot be reached is no reason not to start: segments wait for it, and each that is
        tried may take as long as the store is given to answer.
        """
        for known in (self._hooks.recent, self._waiting_keys):
            try:
                self._repeats.fill(known())
            except Exception as error:  # what comes once more is stored once more, and counted once
                _log.error("What came last cannot be read: %s", _said(error))
        self._thread = threading.Thread(target=self._run, name="collector-flush", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the flusher, write what there is, and give the journal free; segments outlive a failure."""
        self._stop.set()
        self._full.set()
        if self._thread is not None:
            self._thread.join()
        self._commits.close()
        with contextlib.suppress(UnavailableError):
            self.flush()
        self._journal.close()

    async def take(
        self, sender: Principal, deployment_id: str | None, decoded: Decoded, now: datetime
    ) -> Taken:
        """Make the events durable, and say what became of each.

        With ``deployment_id`` None each event names its own deployment: by source ``/deployments/<id>``, or
        by the extensions inferenceservicename and namespace. Events of a batch that are wrong, or of no
        deployment that ``sender`` may report for, are told; the others count. Raises InvalidInputError where
        none is right, NotFoundError and ForbiddenError for ``deployment_id``, TooManyError past the rate of a
        deployment, UnavailableError when the journal refuses; nothing counts then.
        """
        try:
            _check_size(decoded)
            owned, errors = await self._owned(sender, deployment_id, decoded)
            self._rates.spend([owner for owner, _ in owned])
            fresh, repeated = await self._commit(owned, now)
        except Exception:
            self.refuse(len(decoded.events) + len(decoded.errors))
            raise
        self._add(received=len(fresh), repeated=repeated, bytes=sum(len(event.data) for event in fresh))
        self.refuse(len(errors))
        return Taken(len(fresh), repeated, tuple(errors))

    def refuse(self, events: int = 1) -> None:
        """Count events that are answered with an error."""
        self._add(refused=events)

    def refusal(self) -> str:
        """Say why nothing can be taken now; empty where something can."""
        return self._journal.refusal()

    @contextlib.contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Yield what holds room in memory for bytes of a request; UnavailableError when there is none."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            refusal = self.refusal()
            with self._lock:
                others, most = self._waiting - held, self._limits.waiting_bytes
                if not refusal and others and self._waiting + size > most:
                    refusal = (
                        f"The collector holds {others} bytes of requests that wait for the disk, "
                        f"of at most {most}; send the events again later."
                    )
                if refusal:
                    self._counts = replace(self._counts, refused=self._counts.refused + 1)
                    raise UnavailableError(refusal)
                self._waiting += size
                held += size

        try:
            yield hold
        finally:
            with self._lock:
                self._waiting -= held

    def flush(self) -> None:
        """Write every event accepted before this call to the inference log.

        Of many that ask at once, one writes for all that asked before it began. Raises UnavailableError when
        the store or the disk fails; nothing is lost, and it is tried again.
        """
        with self._lock:
            self._asked += 1
            turn = self._asked
        with self._flushing:
            if self._answered >= turn:
                return
            with self._lock:
                begun = self._asked
            self._journal.seal()
            self._write_log()
            self._answered = begun

    def _write_log(self) -> None:
        """Write what is sealed; for who holds ``_flushing``."""
        pending, failure = self._flush_all()
        with self._lock:
            self._counts = replace(self._counts, pending=pending, failure=_said(failure))
        if failure is not None:
            raise UnavailableError(
                f"The inference log cannot be written now: {_said(failure).rstrip('.')}. "
                f"{pending} segments wait and are tried again."
            ) from failure

    def _flush_all(self) -> tuple[int, Exception | None]:
        """Write what there is; return how many segments are left, and the first reason why."""
        try:
            names = self._journal.sealed()
        except Exception as error:
            return 1, error
        left, failure = len(names), None
        for name in names:
            try:
                self._flush_segment(name)
                left -= 1
            except Exception as error:
                _log.error("Segment %s cannot be written to the log: %s", name, _said(error))
                failure = failure or error
                if isinstance(error, UnavailableError):
                    break  # the others would wait for the store as long
        try:
            self._tell_repeated()
        except Exception as error:  # they are in the log; only that they were served twice is not known
            _log.error("What came once more cannot be taken down: %s", error)
        return left, failure

    def counts(self) -> CollectorCounts:
        """Return the counts up to now."""
        with self._lock:
            return self._counts

    async def _commit(
        self, owned: Sequence[tuple[Deployment, Event]], now: datetime
    ) -> tuple[list[Event], int]:
        """Wait until all events are safe; return those that are new, and how many came before."""
        fresh: list[tuple[Key, Record]] = []
        waited: set[asyncio.Future[None]] = set()
        known: set[Key] = set()
        for deployment, event in owned:
            key = key_of(deployment.id, event.source, event.id, event.type)
            before = key in known or self._repeats.before(key)
            if before is False:
                known.add(key)
                fresh.append((key, Record(deployment.id, now, event)))
                continue
            self._repeat(Record(deployment.id, now, event))
            if before is not True:
                waited.add(before)
        if fresh:
            group = self._commits.add([record for _, record in fresh])
            for key, _ in fresh:
                self._repeats.put(key, group)
            waited.add(group)
        for group in waited:
            await asyncio.shield(group)  # others wait for it, too
        return [record.event for _, record in fresh], len(owned) - len(fresh)

    def _waiting_keys(self) -> Iterator[Key]:
        """Yield the keys of the events that wait for the store, newest segment first."""
        for name in reversed(self._journal.sealed()):
            for record in self._journal.read(name).records:
                event = record.event
                yield key_of(record.deployment_id, event.source, event.id, event.type)

    def _repeat(self, record: Record) -> None:
        """Keep what a repeat says beside its payload: what was served twice under one id has two numbers."""
        event = record.event
        numbers = {name: event.extensions[name] for name in (SENDER, SEQUENCE) if name in event.extensions}
        if event.type == RESPONSE_TYPE and numbers:
            with self._lock:
                self._repeated.append(replace(record, event=replace(event, data=b"", extensions=numbers)))

    def _tell_repeated(self) -> None:
        with self._lock:
            told = list(self._repeated)
            self._repeated.clear()
        self._hooks.noted(told)

    def _flush_segment(self, name: str) -> None:
        segment = self._journal.read(name)
        served = {record.deployment_id for record in segment.records}
        served = {id_ for id_ in served if self._directory.exists(id_)}
        # What was deleted meanwhile has no log any more.
        records = [record for record in self._hooks.kept(segment.records) if record.deployment_id in served]
        written = self.log.write(segment.id, records, self._hooks.known)
        self._hooks.wrote(written)
        self._erase_deleted(records, written)
        self._hooks.noted(records)
        self._journal.discard(name, damaged=bool(segment.damaged))
        self._add(written=len(segment.records), damaged=len(segment.damaged))

    def _erase_deleted(self, records: Sequence[Record], written: Sequence[tuple[str, str]]) -> None:
        """Take out of the log what was deleted while it was written there: whoever deletes looks once."""
        left = self._hooks.kept(records)
        if len(left) == len(records):
            return
        kept = {id(record) for record in left}
        gone: dict[str, set[str]] = {}
        for record in records:
            if id(record) not in kept:
                gone.setdefault(record.deployment_id, set()).add(record.event.id)
        for deployment_id, path in written:
            if deployment_id in gone:
                with contextlib.suppress(NotFoundError):  # nothing is left of it
                    self.log.erase(path, gone[deployment_id])

    def _append(self, records: Sequence[Record]) -> None:
        if self._journal.append(records):
            self._full.set()

    def _run(self) -> None:
        delay, failing = 0.0, False
        while True:
            # While the store takes nothing, what becomes full waits as long as all else.
            waited = not (self._stop if failing else self._full).wait(delay)
            if self._stop.is_set():
                return
            self._full.clear()
            try:
                with self._flushing:
                    if waited:
                        self._journal.seal()
                    self._write_log()
                delay, failing = self._flush_seconds, False
            except UnavailableError:
                delay = min(2 * (delay or self._flush_seconds), max(_MAX_DELAY, self._flush_seconds))
                failing = True
            except Exception:
                _log.exception("The log could not be written for a moment")
                delay = self._flush_seconds

    async def _owned(
        self, sender: Principal, deployment_id: str | None, decoded: Decoded
    ) -> tuple[list[tuple[Deployment, Event]], list[FieldError]]:
        """Return the events with their deployments; each distinct source is looked up once."""
        errors = list(decoded.errors)
        named = await self._named(sender, deployment_id) if deployment_id is not None else None
        known: dict[tuple[str, str, str], Deployment | None] = {}
        owned: list[tuple[Deployment, Event]] = []
        for index, event in zip(decoded.places, decoded.events, strict=True):
            if named is not None:
                owned.append((named, event))
                continue
            source = _source(event)
            if source not in known:
                known[source] = await self._find(sender, *source)
            found = known[source]
            if found is None:
                errors.append(_unknown(index, *source))
                if len(errors) > MAX_ERRORS:
                    raise too_many_wrong(errors[0])
            else:
                owned.append((found, event))
        if errors and not owned:
            raise InvalidInputError(errors[0].message, tuple(errors))
        return owned, errors

    async def _named(self, sender: Principal, deployment_id: str) -> Deployment:
        deployment = await self._directory.deployment(deployment_id)
        # Whoever may report for anything of theirs learns which ids there are by asking; the others do not.
        if not sender.may_ingest(deployment_id, deployment.owner if deployment else sender.name):
            raise ForbiddenError(
                "This token reports events of another deployment; use the one that was issued for it."
            )
        if deployment is None:
            raise NotFoundError(f"There is no deployment {deployment_id!r}.")
        if deployment.origin is Origin.IMPORTED:
            raise ForbiddenError(
                f"The deployment {deployment.name!r} is imported, and its log comes from its own cluster; "
                "send its events there."
            )
        if deployment.origin is Origin.EXTERNAL and not deployment.logging:
            raise ForbiddenError(
                f"The log of the deployment {deployment.name!r} is switched off; switch it on with: "
                f"tidegauge deployment update {deployment.name} --logging"
            )
        return deployment

    async def _find(self, sender: Principal, source: str, service: str, namespace: str) -> Deployment | None:
        """Return the deployment of a source, if there is one that the sender may report for."""
        named = _SOURCE.fullmatch(source)
        meant = await self._directory.deployment(named[1]) if named else None
        found = [meant] if meant else await self._directory.serving(service, namespace) if service else []
        return next((one for one in found if _may_report(sender, one)), None)

    def _add(self, **more: int) -> None:
        with self._lock:
            counts = self._counts
            self._counts = replace(
                counts, **{name: getattr(counts, name) + value for name, value in more.items()}
            )


@dataclass
class _Bucket:
    """Events that a deployment may still send, at most those of a second."""

    left: float
    at: float = field(default_factory=time.monotonic)


class _Rates:
    """A bound of events a second for each deployment; what is not spent in a second is gone."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._buckets: dict[str, _Bucket] = {}

    def spend(self, owners: Sequence[Deployment]) -> None:
        """Take these events off their deployments' bounds; TooManyError where one has none left, taking none.

        A deployment may overdraw once: a batch that is larger than the bound would never pass.
        """
        if not self._rate:
            return
        now = time.monotonic()
        names: dict[str, int] = {}
        for owner in owners:
            names[owner.id] = names.get(owner.id, 0) + 1
        for id_ in names:
            bucket = self._buckets.setdefault(id_, _Bucket(float(self._rate), now))
            bucket.left = min(float(self._rate), bucket.left + (now - bucket.at) * self._rate)
            bucket.at = now
            if bucket.left <= 0:
                raise TooManyError(
                    f"The deployment {id_!r} sends more than {self._rate} events a second, the bound "
                    "(collector_rate); send them later, or raise it.",
                    retry_after=-bucket.left / self._rate + 1,
                )
        for id_, count in names.items():
            self._buckets[id_].left -= count


def _check_size(decoded: Decoded) -> None:
    """Refuse what would hold up everybody else: too many events, or files of the log, at once."""
    if len(decoded.events) > _MOST_EVENTS:
        raise TooLargeError.of(
            "events", f"The batch has {len(decoded.events)} events; send {_MOST_EVENTS} at most in a request."
        )
    hours: set[datetime] = set()
    if len(decoded.events) > _MOST_HOURS:  # fewer lie in no more
        hours = {event.time.replace(minute=0, second=0, microsecond=0) for event in decoded.events}
    if len(hours) > _MOST_HOURS:
        raise InvalidInputError.of(
            "events",
            f"The events lie in {len(hours)} hours, and each is a file of the log; send at most "
            f"{_MOST_HOURS} hours in a request, in the order of time.",
        )


def _said(error: Exception | None) -> str:
    """Return an error in a line: what a database says comes with all of its values."""
    if error is None or isinstance(error, TidegaugeError):
        return str(error or "")
    first = (str(error).splitlines() or [""])[0] or type(error).__name__
    return first if len(first) <= _LONGEST_SAID else f"{first[:_LONGEST_SAID]}..."


def _source(event: Event) -> tuple[str, str, str]:
    extensions = event.extensions
    if not extensions:
        return event.source, "", ""
    return (
        event.source,
        str(extensions.get("inferenceservicename", "")),
        str(extensions.get("namespace", "")),
    )


def _may_report(sender: Principal, deployment: Deployment) -> bool:
    logs = {Origin.LOCAL: True, Origin.IMPORTED: False, Origin.EXTERNAL: deployment.logging}
    return logs[deployment.origin] and sender.may_ingest(deployment.id, deployment.owner)


def _unknown(index: int, source: str, service: str, namespace: str) -> FieldError:
    service = f" and inferenceservicename {service!r} in namespace {namespace!r}" if service else ""
    return FieldError(
        f"events[{index}].source",
        f"There is no deployment that this token may report for with source {source!r}{service} of event "
        f"{index}; send to /v1/deployments/<id>/events, or use the source /deployments/<id>.",
    )
