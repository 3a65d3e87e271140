"""Reading the log: each event becomes observations exactly once, whatever crashes."""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from tidegauge.domain.cloudevents import EARLIEST
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE, Key
from tidegauge.domain.identity import new_id
from tidegauge.domain.observation import (
    PATIENCE,
    DeadLetter,
    Half,
    LogFile,
    ObservationFile,
    Reader,
    half_key,
    key_of_half,
)
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services.extraction import Answered, Exchange, Extraction, Image, observed
from tidegauge.services.noting import Noting
from tidegauge.services.privacy.tombstones import Tombstones
from tidegauge.services.sources.logs import Logs
from tidegauge.stats.images import ImageFeatures, ObservedImages
from tidegauge.storage.database import Database
from tidegauge.storage.observations import (
    Observations,
    ObservationStore,
    numbered,
    together,
)
from tidegauge.storage.segments import Record, bytes_of

_FILES = 64  # of the log at once
_BYTES = 64 << 20
_IMAGES = 64  # decoded at a time
_HOUR = timedelta(hours=1)
_UNDER_WAY = timedelta(days=1)  # longer than any file waits until it counts
_MANY = 4  # files of an hour that are worth joining


class _OvertakenError(Exception):
    """Another reader was faster, or something was deleted meanwhile: nothing of a batch counts."""


@dataclass(frozen=True)
class _Read:
    """What came of some files of the log, and what was known of deletions when they were read."""

    position: int  # of the last file
    batch: Observations
    described: ObservationFile | None
    halves: dict[str, Half]
    erased: frozenset[str]
    letters: list[DeadLetter]


class Observing:
    """Turns the log of a deployment into observations, batch by batch."""

    def __init__(
        self, database: Database, log: Logs, files: ObservationStore, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._log = log
        self._files = files
        self._now = now
        self._tombstones = Tombstones(database)
        self._noting = Noting(database, now)
        self._turns: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    def start_up(self) -> None:
        """Take down the logs that an earlier version has written: it kept no list of their files."""
        for monitor in self._database.monitors.where():
            if self._database.log_files.find(deployment_id=monitor.deployment_id) is None:
                self.scan(monitor.deployment_id)

    def scan(self, deployment_id: str) -> None:
        """Take down every file that the log has: of an earlier version, or of a writer that is not ours."""
        known = {file.id for file in self._database.log_files.where(deployment_id=deployment_id)}
        self._noting.note(
            [(deployment_id, path) for path in self._log.files(deployment_id) if path not in known]
        )

    def before_log(self, deployment_id: str, extraction: Extraction, end: datetime) -> tuple[str, ...]:
        """Say that nothing is known of what ended before the log begins; nothing where it does not apply."""
        begin = None if extraction.origin else self._log.begin(deployment_id)
        if begin is None or end > begin:
            return ()
        return (f"The log begins at {begin.isoformat()}; what was before is not kept, or was not logged.",)

    def sequence_before(self, deployment_id: str, extraction: Extraction, moment: datetime) -> int:
        """Return the last batch whose observations all lie before ``moment``."""
        files = self._database.observation_files.between(
            "last",
            None,
            moment,
            deployment_id=deployment_id,
            extractor=extraction.id,
            sort="-last_sequence",
            limit=1,
        )
        return files[0].last_sequence if files else 0

    def sequence(self, deployment_id: str, extraction: Extraction) -> int:
        """Return the number of the last batch."""
        return self._reader(deployment_id, extraction).sequence

    def advance(
        self,
        deployment_id: str,
        extraction: Extraction,
        late: Callable[[Observations], None],
        seconds: float = math.inf,
    ) -> bool:
        """Read what the log has got since, for so many seconds at most; return whether that was all.

        ``late`` hears each batch within the transaction that makes it count, but for those of files that
        another extractor had read before this one began.

        Each minute of each file of the log makes a batch of its own, so that who looks at batches up to some
        time sees the same ones however many files were read at once, and none of a later window. What was
        read counts with the transaction that moves the reader past its files: a crash before it leaves a file
        that nobody looks at, until ``sweep``.

        Of one process one thread at a time reads for an extraction: others wait for what it reads, so long.
        """
        deadline = time.monotonic() + seconds
        with self._turn(_reader_id(deployment_id, extraction), seconds) as is_mine:
            while is_mine:
                reader = self._reader(deployment_id, extraction)
                files = self._database.log_files.between(
                    "number",
                    reader.position + 1,
                    None,
                    deployment_id=deployment_id,
                    sort="number",
                    limit=_FILES,
                )
                if not files:
                    return True
                position = self._read(reader, files, extraction, late, deadline)
                if position == files[-1].number and len(files) < _FILES:
                    return True
                if time.monotonic() >= deadline:
                    break
        return False

    @contextlib.contextmanager
    def _turn(self, reader_id: str, seconds: float) -> Iterator[bool]:
        """Wait until no other thread reads for this reader; yield whether that was so in time."""
        turn = self._turns[reader_id]
        is_mine = turn.acquire(timeout=-1 if math.isinf(seconds) else seconds)
        try:
            yield is_mine
        finally:
            if is_mine:
                turn.release()

    def sweep(self, deployment_id: str) -> int:
        """Delete the files of observations that a crash kept from ever counting; return how many."""
        counting = {
            file_id
            for (file_id,) in self._database.observation_files.columns("id", deployment_id=deployment_id)
        }
        before = self._now() - _UNDER_WAY
        left = [
            path
            for path, modified in self._files.listed(deployment_id)
            if modified < before and path not in counting
        ]
        self._files.delete_paths(left)
        return len(left)

    def tidy(self, deployment_id: str, extraction: Extraction, sequence: int) -> int:
        """Join the small files of each hour that is over; return how many files went into others.

        Only batches up to ``sequence``, which no evidence will be taken from any more: the joined file is in
        order of time, and no longer in that of reading.
        """
        before = self._now() - _HOUR
        hours: dict[datetime, list[ObservationFile]] = {}
        for file in self._database.observation_files.between(
            "last", None, before, deployment_id=deployment_id, extractor=extraction.id, sort="first_sequence"
        ):
            hour = file.first.replace(minute=0, second=0, microsecond=0)
            if file.last_sequence <= sequence and file.last < hour + _HOUR:
                hours.setdefault(hour, []).append(file)
        joined = 0
        for hour, files in hours.items():
            if len(files) < _MANY:
                continue
            whole = self._files.join(files, f"hour-{hour:%H}-{files[-1].last_sequence:012d}")
            try:
                self._exchange(files, whole)
            except ConflictError:
                continue  # nothing of this counts; a file of the same name is the other worker's
            self._files.delete(files)
            joined += len(files)
        return joined

    def _exchange(self, files: Sequence[ObservationFile], whole: ObservationFile) -> None:
        """Let one file count in place of several; ConflictError where one of these counts no more."""
        with self._database.transaction():
            gone = self._database.observation_files.delete_where(id=[file.id for file in files])
            if gone < len(files):
                raise ConflictError("Another worker has joined these files.")
            self._database.observation_files.add(whole)

    def _reader(self, deployment_id: str, extraction: Extraction) -> Reader:
        id_ = _reader_id(deployment_id, extraction)
        found = self._database.readers.find(id=id_)
        if found is None:
            begun = self._database.readers.highest("position", deployment_id=deployment_id)
            found = Reader(id_, deployment_id, extraction.id, begun=begun)
            try:
                self._database.readers.add(found)
            except ConflictError:
                return self._database.readers.get(id_)
        return found

    def _read(
        self,
        reader: Reader,
        files: Sequence[LogFile],
        extraction: Extraction,
        late: Callable[[Observations], None],
        deadline: float,
    ) -> int:
        """Read some files of the log; return the number of the last that counts as read by this.

        Where the first takes until ``deadline``, it is the only one.
        """
        records: list[tuple[str, Record]] = []
        unread: list[DeadLetter] = []
        size = 0
        position = reader.position
        for file in files:
            found, faults = self._file(reader, file, extraction)
            unread += faults
            records += [(file.id, record) for record in found]
            position = file.number
            size += bytes_of(found)
            if size > _BYTES or time.monotonic() >= deadline:
                break
        erased = self._tombstones.of(reader.deployment_id)
        if erased:
            records = self._without(records)
        skew = timedelta(seconds=extraction.skew)
        records, letters = self._on_time(reader, records, skew)
        pairs, halves, lonely = self._pair(reader, records, skew)
        letters += [*unread, *lonely]
        batch, undecodable = self._observe(reader, pairs, extraction)
        letters += undecodable
        batch = numbered(batch, [file.id for file in files], reader.sequence)
        # Readers that are as far may read different files at once: none may write over what another's counts.
        name = f"{_name(files[0].id)}-{new_id()[-12:]}"
        described = (
            self._files.put(reader.deployment_id, reader.extractor, name, batch) if len(batch) else None
        )
        try:
            read = _Read(position, batch, described, halves, erased, letters)
            self._count(reader, files, read, late)
        except _OvertakenError:
            if described:
                self._files.delete([described])
            return reader.position
        return position

    def _count(
        self,
        reader: Reader,
        files: Sequence[LogFile],
        read: _Read,
        late: Callable[[Observations], None],
    ) -> None:
        """Let what was read count, as a whole; _OvertakenError where it does not any more."""
        with self._database.transaction():
            moved = self._database.readers.update(
                reader.id,
                {"position": reader.position},
                position=read.position,
                sequence=int(read.batch.sequence.max(initial=reader.sequence)),
                halves=read.halves,
            )
            if not moved:
                raise _OvertakenError  # another reader was faster
            if self._tombstones.of(reader.deployment_id) != read.erased:
                raise _OvertakenError  # what was read may have been deleted since
            if read.described:
                self._database.observation_files.add(read.described)
                known = {file.id for file in files if file.number <= reader.begun}
                new = np.flatnonzero([path not in known for path in read.batch.log_file])
                if len(new):
                    late(read.batch.take(new))
            self._database.dead_letters.add_all(read.letters)

    def _without(self, records: list[tuple[str, Record]]) -> list[tuple[str, Record]]:
        """Leave out what was deleted, and take it out of the log too: it was written meanwhile."""
        kept = {id(record) for record in self._tombstones.kept([record for _, record in records])}
        for path in {path for path, record in records if id(record) not in kept}:
            gone = {record.event.id for place, record in records if place == path and id(record) not in kept}
            self._log.erase(path, gone)
        return [(path, record) for path, record in records if id(record) in kept]

    def _file(
        self, reader: Reader, file: LogFile, extraction: Extraction
    ) -> tuple[list[Record], list[DeadLetter]]:
        """Return the events of a file, and what cannot be read of it."""
        if not extraction.reads(reader.deployment_id, file.id):
            return [], []
        try:
            content = self._log.content(reader.deployment_id, file.id)
        except NotFoundError:
            return [], []  # deleted since: there is nothing to observe
        faults = [self._letter(reader, "", file.id, fault, None) for fault in content.faults]
        return content.records, faults

    def _earlier(self, reader: Reader, path: str) -> list[Record]:
        """Return the events of a file that has been read before; none where it is there no more."""
        try:
            return self._log.file(reader.deployment_id, path)
        except NotFoundError:
            return []

    def _on_time(
        self, reader: Reader, records: list[tuple[str, Record]], skew: timedelta
    ) -> tuple[list[tuple[str, Record]], list[DeadLetter]]:
        """Let what claims to come from the future, or from before 1970, count at its arrival, and say so."""
        kept, letters = [], []
        for path, record in records:
            event, ahead = record.event, record.event.time - record.received
            if ahead > skew or event.time < EARLIEST:
                clock = f"{ahead.total_seconds():.0f} s ahead" if ahead > skew else "before 1970"
                reason = f"Its clock is {clock}; it counts at its arrival."
                if event.type == REQUEST_TYPE:
                    letters.append(self._letter(reader, event.id, path, reason, record.received))
                record = replace(record, event=replace(event, time=record.received))  # noqa: PLW2901
            kept.append((path, record))
        return kept, letters

    def _pair(
        self, reader: Reader, records: Sequence[tuple[str, Record]], skew: timedelta
    ) -> tuple[list[Exchange], dict[str, Half], list[DeadLetter]]:
        """Join requests with responses of one source and id; what waits for its other half is remembered.

        KServe's logger names one source for both.
        """
        waiting = self._waiting(reader)
        recalled = {waiting[key].path for key in (half_key(r.event) for _, r in records) if key in waiting}
        earlier = [
            (path, record)
            for path in sorted(recalled)
            for record in self._earlier(reader, path)
            if half_key(record.event) in waiting
        ]
        earlier, _ = self._on_time(reader, earlier, skew)  # told of when they came
        sides: dict[str, dict[str, tuple[str, Record]]] = {REQUEST_TYPE: {}, RESPONSE_TYPE: {}}
        for path, record in [*earlier, *records]:
            if record.event.type in sides:
                sides[record.event.type].setdefault(half_key(record.event), (path, record))
        requests, responses = sides[REQUEST_TYPE], sides[RESPONSE_TYPE]
        pairs = []
        for key, (path, record) in (requests | responses).items():
            if key in requests and key in responses:
                pairs.append(Exchange(requests[key][0], requests[key][1], responses[key][1]))
                waiting.pop(key, None)
            else:
                waiting[key] = Half(path, record.received, record.event.time)
        newest = max((record.received for _, record in records), default=None)
        alone = {key: half for key, half in waiting.items() if newest and half.received < newest - PATIENCE}
        waiting = {key: half for key, half in waiting.items() if key not in alone}
        return pairs, waiting, self._never_came(reader, alone)

    def _waiting(self, reader: Reader) -> dict[str, Half]:
        """Return what waits for its other half; an earlier version remembered the id alone."""
        waiting = dict(reader.halves)
        bare = {key for key in waiting if not key_of_half(key)[0]}
        for path in sorted({waiting[id_].path for id_ in bare}):
            for record in self._earlier(reader, path):
                if record.event.id in bare and waiting[record.event.id].path == path:
                    waiting[half_key(record.event)] = waiting[record.event.id]
        return {key: half for key, half in waiting.items() if key not in bare}

    def _never_came(self, reader: Reader, alone: Mapping[str, Half]) -> list[DeadLetter]:
        """Tell of halves that stayed alone, save those of exchanges that are known: they were sent again."""
        # An earlier version remembered halves of any time: an hour before the year 1 there is none.
        moments = [max(half.time, EARLIEST) for half in alone.values()]
        times = [moment + apart for moment in moments for apart in (-PATIENCE, PATIENCE)]
        known = self._seen(reader, times)
        reason = "Its other half, request or response, never came."
        return [
            self._letter(reader, key_of_half(key)[1], half.path, reason, half.time)
            for key, half in alone.items()
            if not known(key_of_half(key))
        ]

    def _observe(
        self, reader: Reader, pairs: Sequence[Exchange], extraction: Extraction
    ) -> tuple[Observations, list[DeadLetter]]:
        pairs = self._unseen(reader, pairs)
        letters: list[DeadLetter] = []
        answered: list[Answered] = []
        images: list[Image] = []
        features: list[ImageFeatures | ObservedImages] = []

        def flush() -> None:
            if images:
                features.append(extraction.features(np.concatenate(images)))
                images.clear()

        for exchange in sorted(pairs, key=_by_time):
            try:
                scores, pixels, table = exchange.decode(extraction)
            except InvalidInputError as error:
                event = exchange.request.event
                letters.append(self._letter(reader, event.id, exchange.path, error.message, event.time))
                scores, pixels, table = extraction.failed(), None, None
            answered.append(Answered(exchange, scores, pixels is not None, table))
            if pixels is not None:
                images.append(pixels)
                if sum(map(len, images)) >= _IMAGES:
                    flush()
        flush()
        if not answered:
            return Observations.none(), letters
        deployment = self._database.deployments.find(id=reader.deployment_id)
        batch = observed(answered, extraction, deployment.weight if deployment else 1.0)
        return replace(batch, images=together(features)), letters

    def _unseen(self, reader: Reader, pairs: Sequence[Exchange]) -> list[Exchange]:
        """Leave out events that were delivered before: senders repeat what was not acknowledged in time."""
        known = self._seen(reader, [pair.request.event.time for pair in pairs])
        return [pair for pair in pairs if not known(pair.request.event.key)]

    def _seen(self, reader: Reader, times: Sequence[datetime]) -> Callable[[Key], bool]:
        """Return what tells of an event of one of these times whether it was observed before.

        What an earlier version has observed has no source: it may be of any.
        """
        if not times:
            return lambda _: False
        seen = self._files.keys(reader.deployment_id, reader.extractor, min(times), max(times))
        return lambda key: key in seen or ("", key[1]) in seen

    def _letter(
        self, reader: Reader, event_id: str, path: str, reason: str, time: datetime | None
    ) -> DeadLetter:
        return DeadLetter(new_id(), reader.deployment_id, "event", event_id, path, reason, time, self._now())


def _by_time(exchange: Exchange) -> tuple[datetime, str, str]:
    event = exchange.request.event
    return event.time, event.id, event.source


def _reader_id(deployment_id: str, extraction: Extraction) -> str:
    return f"{deployment_id}/{extraction.id}"


def _name(path: str) -> str:
    """Return what no other file of the log gives a batch that begins with it."""
    if path.endswith(".parquet"):
        return path.rpartition("/")[2].removesuffix(".parquet")
    return hashlib.sha256(path.encode()).hexdigest()[:32]
