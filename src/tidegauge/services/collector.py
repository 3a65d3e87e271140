"""The collector: takes events, makes them durable, and writes them to the inference log."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tidegauge.domain.events import Event
from tidegauge.errors import FieldError, InvalidInputError, NotFoundError, UnavailableError
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Record, Segments, read_segment

_SOURCE = re.compile(r"(?:https?://[^/]+)?/deployments/([A-Za-z0-9_-]+)/?")
_MAX_DELAY = 60.0  # seconds between tries while the store cannot be reached
_MAX_ERRORS = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollectorCounts:
    """What a collector did since its start, for metrics.

    ``received`` events (``bytes`` of payload) are durable, ``refused`` were answered with an error,
    ``written`` reached the inference log (a replay after a crash counts again), ``damaged`` spans of
    segments could not be read, ``pending`` segments wait for the store, ``failure`` says why the last
    write to the store failed, or is empty.
    """

    received: int = 0
    refused: int = 0
    bytes: int = 0
    written: int = 0
    damaged: int = 0
    pending: int = 0
    failure: str = ""


class Collector:
    """Accepts events durably and flushes them to the inference log in the background."""

    def __init__(
        self,
        segments_dir: Path,
        store: ObjectStore,
        exists: Callable[[str], bool],
        find_service: Callable[[str, str], str | None],
        flush_seconds: float = 5.0,
        *,
        wrote: Callable[[Sequence[tuple[str, str]]], None] = lambda _files: None,
        kept: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: records,
        segment_bytes: int = 32 << 20,
        max_waiting_bytes: int = 128 << 20,
    ) -> None:
        """Wire the collector; nothing runs before ``start``.

        Args:
            segments_dir: folder of the write-ahead segments, for this process alone.
            store: where the inference log goes.
            exists: says whether there is a deployment with this id.
            find_service: deployment id of an (inferenceservicename, namespace), or None.
            flush_seconds: how long an event may wait before it is written to the log.
            wrote: hears the deployment and the path of each file that was written to the log.
            kept: leaves out the events that were deleted.
            segment_bytes: a segment is closed and written at this size.
            max_waiting_bytes: of requests in memory at a time; more are refused as unavailable.
        """
        self.log = InferenceLog(store)
        self._exists = exists
        self._find_service = find_service
        self._flush_seconds = flush_seconds
        self._wrote = wrote
        self._kept = kept
        self._max_waiting = max_waiting_bytes
        self._segments = Segments(segments_dir, segment_bytes, flush_seconds)
        self._flushing = threading.Lock()
        self._lock = threading.Lock()  # guards the counts and _waiting
        self._counts = CollectorCounts()
        self._waiting = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Replay what a crash left behind and start the background flusher.

        A store that cannot be reached is no reason not to start: segments wait for it.
        """
        with contextlib.suppress(UnavailableError):
            self.flush()
        self._thread = threading.Thread(target=self._run, name="collector-flush", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the flusher, write what there is, and give the folder free; segments outlive a failure."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(UnavailableError):
            self.flush()
        self._segments.close()

    def accept(self, deployment_id: str | None, events: Sequence[Event], now: datetime) -> int:
        """Make the events durable and return how many there are; all of them count, or none.

        With ``deployment_id`` None each event names its own deployment: by source ``/deployments/<id>``,
        or by the extensions inferenceservicename and namespace. Raises NotFoundError for an unknown
        ``deployment_id``, InvalidInputError for an event of an unknown deployment, UnavailableError when
        the disk refuses.
        """
        try:
            owners = self._owners(deployment_id, events)
            self._segments.append(
                [Record(owner, now, event) for owner, event in zip(owners, events, strict=True)]
            )
        except Exception:
            self.refuse(len(events))
            raise
        self._add(received=len(events), bytes=sum(len(event.data) for event in events))
        return len(events)

    def refuse(self, events: int = 1) -> None:
        """Count events that a door refused before they came here."""
        self._add(refused=events)

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Hold room in memory for a request of ``size`` bytes; UnavailableError when there is none."""
        with self._lock:
            if self._waiting and self._waiting + size > self._max_waiting:
                self._counts = replace(self._counts, refused=self._counts.refused + 1)
                raise UnavailableError(
                    f"The collector holds {self._waiting} bytes of requests that wait for the disk, "
                    f"of at most {self._max_waiting}; send the events again later."
                )
            self._waiting += size
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= size

    def flush(self) -> None:
        """Write every event accepted before this call to the inference log.

        Raises UnavailableError when the store or the disk fails; nothing is lost, and it is tried again.
        """
        self._segments.seal()
        failures: list[Exception] = []
        with self._flushing:
            for path in self._segments.sealed():
                try:
                    self._flush_segment(path)
                except Exception as error:
                    _log.error("Segment %s cannot be written to the log: %s", path, error)
                    failures.append(error)
        with self._lock:
            self._counts = replace(self._counts, failure=str(failures[0]) if failures else "")
        if failures:
            raise UnavailableError(
                f"The inference log cannot be written now: {failures[0]}. "
                f"{len(failures)} segments wait and are tried again."
            ) from failures[0]

    def counts(self) -> CollectorCounts:
        """Return the counts up to now."""
        pending = len(self._segments.sealed())
        with self._lock:
            return replace(self._counts, pending=pending)

    def _flush_segment(self, path: Path) -> None:
        segment = read_segment(path)
        self._wrote(self.log.write(segment.id, self._kept(segment.records)))
        if segment.damaged:
            path.rename(path.with_suffix(".damaged"))  # kept: someone may want to look at what is left
        else:
            path.unlink()
        self._add(written=len(segment.records), damaged=len(segment.damaged))

    def _run(self) -> None:
        delay = self._flush_seconds
        while not self._stop.wait(delay):
            try:
                self.flush()
                delay = self._flush_seconds
            except UnavailableError:
                delay = min(delay * 2, max(_MAX_DELAY, self._flush_seconds))

    def _owners(self, deployment_id: str | None, events: Sequence[Event]) -> list[str]:
        """Return the deployment of each event; each distinct sender is looked up once."""
        if deployment_id is not None:
            if not self._exists(deployment_id):
                raise NotFoundError(f"There is no deployment {deployment_id!r}.")
            return [deployment_id] * len(events)
        known: dict[tuple[str, str, str], str | None] = {}
        owners: list[str] = []
        errors: list[FieldError] = []
        for index, event in enumerate(events):
            sender = _sender(event)
            if sender not in known:
                known[sender] = self._find(*sender)
            owner = known[sender]
            if owner is not None:
                owners.append(owner)
            elif len(errors) < _MAX_ERRORS:
                errors.append(_unknown(index, *sender))
        if errors:
            raise InvalidInputError(errors[0].message, tuple(errors))
        return owners

    def _find(self, source: str, service: str, namespace: str) -> str | None:
        named = _SOURCE.fullmatch(source)
        if named is not None and self._exists(named[1]):
            return named[1]
        return self._find_service(service, namespace) if service else None

    def _add(self, **more: int) -> None:
        with self._lock:
            counts = self._counts
            self._counts = replace(
                counts, **{name: getattr(counts, name) + value for name, value in more.items()}
            )


def _sender(event: Event) -> tuple[str, str, str]:
    extensions = event.extensions
    return (
        event.source,
        str(extensions.get("inferenceservicename", "")),
        str(extensions.get("namespace", "")),
    )


def _unknown(index: int, source: str, service: str, namespace: str) -> FieldError:
    service = f" and inferenceservicename {service!r} in namespace {namespace!r}" if service else ""
    return FieldError(
        f"events[{index}].source",
        f"There is no deployment for source {source!r}{service} of event {index}; "
        "send to /v1/deployments/<id>/events, or use the source /deployments/<id>.",
    )
