"""Logs of other clusters: events in files of a Dataset, beside the log of this cluster."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from tidegauge.domain.cloudevents import decode_json
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.observation import LogFile
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.services.sources import kserve
from tidegauge.services.sources.files import DatasetFiles, Datasets
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog, is_merged
from tidegauge.storage.log_file import parse_log_file, parts_of
from tidegauge.storage.objects import ObjectInfo
from tidegauge.storage.segments import Record

_MARK = "dataset"  # second part of the ids of such files; no deployment has a folder of this name
_ID = re.compile(rf"([^/]+)/{_MARK}/([^/]+)/([^/]+)/([^/]+)/(.+)#(\d+)-(\d+)-([0-9a-f]+)\Z", re.DOTALL)
_HOUR = re.compile(r"(?:^|/)date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})/[^/]+\.parquet\Z")
_LINES = (".jsonl", ".ndjson")
_DOCUMENT = ".json"
_PIECE = 8 << 20  # bytes of JSON lines that are read at once
_AT_ONCE = 200  # files, or pieces of them
_SETTLED = timedelta(seconds=60)  # a last line without an end is taken as it is after so long
_LISTED = 100  # lines of a piece that are told of one by one


@dataclass(frozen=True)
class Piece:
    """A file of a Dataset, or those of its lines from byte ``start`` to ``end``.

    ``tag`` changes with the content; ``version`` is ``live`` or a version's label.
    """

    deployment: str
    dataset: str
    repository: str
    version: str
    path: str
    start: int
    end: int
    tag: str

    @property
    def id(self) -> str:
        """How the log's files name it."""
        place = f"{self.deployment}/{_MARK}/{self.dataset}/{self.repository}/{self.version}/{self.path}"
        return f"{place}#{self.start}-{self.end}-{self.tag}"

    @classmethod
    def parse(cls, id_: str) -> Piece | None:
        """Return what an id stands for; None where it is a file of this cluster's log."""
        found = _ID.match(id_)
        if found is None:
            return None
        deployment, dataset, repository, version, path, start, end, tag = found.groups()
        return cls(deployment, dataset, repository, version, path, int(start), int(end), tag)


@dataclass(frozen=True)
class LogContent:
    """What a file of the log holds: events, and what could not be read of it."""

    records: list[Record]
    faults: tuple[str, ...] = ()


def is_foreign(deployment_id: str, file_id: str, origin: str = "") -> bool:
    """Tell whether a file of the log comes from a Dataset; with ``origin``: from this ``dataset/prefix``."""
    if not file_id.startswith(f"{deployment_id}/{_MARK}/"):
        return False
    if not origin:
        return True
    dataset, _, prefix = origin.partition("/")
    piece = Piece.parse(file_id)
    return piece is not None and piece.dataset == dataset and f"{piece.path}/".startswith(_below(prefix))


def origin_of(monitor: Monitor) -> str:
    """Return where requests and predictions of a monitor are read, as ``dataset/prefix``; empty: here."""
    drift = monitor.config.drift
    return f"{drift.predict_dataset}/{drift.predict_prefix}" if drift.predict_data == "dataset" else ""


class Logs:
    """The files of a deployment's log, of this cluster and of others."""

    def __init__(
        self, database: Database, log: InferenceLog, datasets: Datasets, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._log = log
        self._datasets = datasets
        self._now = now
        self._known: dict[str, tuple[int, dict[str, Piece]]] = {}
        self._looked: set[str] = set()  # merged files of which every part is taken down
        self._lock = Lock()

    def files(self, deployment_id: str) -> list[str]:
        """Return the paths of all files of this cluster's log that stand for themselves."""
        return [path for path in self._log.files(deployment_id) if not is_merged(path)]

    def begin(self, deployment_id: str) -> datetime | None:
        """Return the first hour that this cluster's log has something of; None where it has nothing."""
        return self._log.begin(deployment_id)

    def file(self, deployment_id: str, id_: str) -> list[Record]:
        """Return the events of one file; NotFoundError where it is there no more."""
        return self.content(deployment_id, id_).records

    def content(self, deployment_id: str, id_: str) -> LogContent:
        """Return what one file holds; NotFoundError where it is there no more."""
        piece = Piece.parse(id_)
        if piece is None:
            return LogContent(self._own(deployment_id, id_))
        known = self._database.log_files.find(id=id_)
        if known is None:
            raise NotFoundError(f"There is no file {id_!r} in the log.")
        files = self._open(piece)
        try:
            if _is_lines(piece.path):
                return _lines(piece, files.part(piece.path, piece.start, piece.end), known)
            if _is_document(piece.path):
                data = files.part(piece.path, piece.start, piece.end)
                return (_object if kserve.has_written(data) else _document)(piece, data, known)
            return _parquet(piece, *self._whole(files, piece), known)
        except InvalidInputError as error:
            return LogContent([], (error.message,))

    def erase(self, id_: str, event_ids: set[str]) -> None:
        """Take events out of a file of this cluster's log; a Dataset's files are its owner's."""
        if Piece.parse(id_) is None:
            known = self._database.log_files.find(id=id_)
            self._log.erase((known and known.merged_into) or id_, event_ids)

    def _own(self, deployment_id: str, path: str) -> list[Record]:
        """Return the events of a file of this cluster's log, wherever they are by now."""
        known = self._database.log_files.find(id=path)
        within = known.merged_into if known else ""
        try:
            return self._log.file(deployment_id, path, within)
        except NotFoundError:
            known = self._database.log_files.find(id=path)
            if known is None or known.merged_into == within:
                raise NotFoundError(
                    f"The log file {path} was deleted, with all events of its hour, since the log is kept "
                    f"for a limited time or size (at {known.gone_at.isoformat()})."
                    if known and known.gone_at
                    else f"There is no log file {path} any more."
                ) from None
            return self._log.file(deployment_id, path, known.merged_into)  # it was merged meanwhile

    def scan(self, monitor: Monitor) -> tuple[list[str], bool]:
        """Return the ids of what has come to the Dataset of a monitor since, by hour, some at once.

        With them comes whether these are all.
        """
        drift = monitor.config.drift
        files = self._datasets.open(monitor.owner, drift.predict_dataset, drift.predict_version)
        repository = self._datasets.identify(monitor.owner, drift.predict_dataset)
        last = self._last(monitor.deployment_id)
        found: list[Piece] = []
        for info in sorted(files.list(drift.predict_prefix), key=_order):
            whole = Piece(
                monitor.deployment_id,
                drift.predict_dataset,
                repository,
                files.version,
                info.path,
                0,
                info.size,
                f"{int(info.modified.timestamp() * 1e6):x}",
            )
            before = last.get(_place(whole))
            if _is_lines(info.path):
                found += self._grown(files, info, whole, before)
            elif _HOUR.search(info.path) and is_merged(info.path):
                found += self._parts(files, whole, last)
            elif (_HOUR.search(info.path) or _is_document(info.path)) and (
                before is None or before.id != whole.id
            ):
                found.append(whole)
            if len(found) >= _AT_ONCE:
                return [piece.id for piece in found], False
        return [piece.id for piece in found], True

    def _parts(self, files: DatasetFiles, whole: Piece, last: Mapping[str, Piece]) -> Iterator[Piece]:
        """Yield what a merged file was made of and nobody has read: its other parts were read as files."""
        if whole.id in self._looked:
            return
        folder = whole.path.rpartition("/")[0]
        for name in parts_of(files.part(whole.path, 0, whole.end)):
            part = replace(whole, path=f"{folder}/{name}")
            if _place(part) not in last:
                yield part
        self._looked.add(whole.id)

    def _whole(self, files: DatasetFiles, piece: Piece) -> tuple[bytes, str]:
        """Return the bytes of a file; where it was merged with others, of that one, and which part it is."""
        try:
            return files.part(piece.path, piece.start, piece.end), ""
        except NotFoundError:
            folder, _, name = piece.path.rpartition("/")
            for info in files.list(folder):
                if is_merged(info.path):
                    data = files.part(info.path, 0, info.size)
                    if name in parts_of(data):
                        return data, name
            raise

    def _grown(
        self, files: DatasetFiles, info: ObjectInfo, whole: Piece, before: Piece | None
    ) -> Iterator[Piece]:
        """Yield the whole lines that a file has got since, in pieces; a file that was replaced, all of it."""
        if before and before.end == info.size:
            return
        start = 0
        if before and before.end < info.size:
            same = _tag(files.part(info.path, before.start, before.end)) == before.tag
            start = before.end if same else 0
        settled = files.version != "live" or info.modified < self._now() - _SETTLED
        while start < info.size:
            data = files.part(info.path, start, min(start + _PIECE, info.size))
            size = data.rfind(b"\n") + 1
            while not size and start + len(data) < info.size:  # a line longer than a piece
                more = files.part(info.path, start + len(data), start + len(data) + _PIECE)
                if not more:
                    break
                data += more
                size = data.rfind(b"\n") + 1
            is_last = start + len(data) >= info.size
            if is_last and settled:
                size = len(data)
            if not size:
                return
            yield _part(whole, start, start + size, data[:size])
            start += size

    def _last(self, deployment_id: str) -> dict[str, Piece]:
        """Return the piece of each file that was taken down last; those of earlier looks are remembered."""
        with self._lock:
            number, last = self._known.setdefault(deployment_id, (0, {}))
            for file in self._database.log_files.between(
                "number", number + 1, None, deployment_id=deployment_id, sort="number"
            ):
                piece = Piece.parse(file.id)
                number = file.number
                if piece is not None:
                    last[_place(piece)] = piece
            self._known[deployment_id] = (number, last)
            return dict(last)

    def _open(self, piece: Piece) -> DatasetFiles:
        owner = self._database.deployments.get(piece.deployment).owner
        if self._datasets.identify(owner, piece.dataset) != piece.repository:
            raise NotFoundError(f"The dataset {piece.dataset!r} is another one by now.")
        number = None if piece.version == "live" else int(piece.version.removeprefix("v"))
        return self._datasets.open(owner, piece.dataset, number)


def _order(info: ObjectInfo) -> tuple[str, str]:
    """Sort files by hour, so that evidence takes events in about as they happened."""
    hour = _HOUR.search(info.path)
    return (f"{hour[1]}T{hour[2]}" if hour else info.modified.strftime("%Y-%m-%dT%H"), info.path)


def _place(piece: Piece) -> str:
    return f"{piece.repository}/{piece.version}/{piece.path}"


def _part(whole: Piece, start: int, end: int, data: bytes) -> Piece:
    return Piece(
        whole.deployment, whole.dataset, whole.repository, whole.version, whole.path, start, end, _tag(data)
    )


def _parquet(piece: Piece, data: bytes, part: str, known: LogFile) -> LogContent:
    records = parse_log_file(piece.deployment, data, part)
    # They came when they were found here: that decides what is late.
    return LogContent([Record(piece.deployment, known.written_at, record.event) for record in records])


def _object(piece: Piece, data: bytes, known: LogFile) -> LogContent:
    """Read what KServe's logger wrote; the tag of the piece is when."""
    written = datetime.fromtimestamp(int(piece.tag, 16) / 1e6, UTC)
    decoded = kserve.decode(data, written, known.written_at)
    faults = tuple(error.message for error in decoded.errors[:_LISTED])
    return LogContent([Record(piece.deployment, known.written_at, event) for event in decoded.events], faults)


def _lines(piece: Piece, data: bytes, known: LogFile) -> LogContent:
    if _tag(data) != piece.tag:
        raise InvalidInputError("It was changed after it had been found; what it has now is read anew.")
    return _by_line(piece, data, known)


def _document(piece: Piece, data: bytes, known: LogFile) -> LogContent:
    """Read an event or an array of events, however it is broken into lines; else an event a line."""
    try:
        records, wrong = _decoded(piece, data.strip(), known)
    except InvalidInputError as error:
        found = _by_line(piece, data, known)
        return found if found.records else LogContent([], (error.message,))
    return LogContent(records, _told(wrong))


def _by_line(piece: Piece, data: bytes, known: LogFile) -> LogContent:
    records: list[Record] = []
    faults: list[str] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.strip()
        if not text:
            continue
        try:
            events, wrong = _decoded(piece, text, known)
        except InvalidInputError as error:
            wrong = [error.message]
        else:
            records += events
        faults += (f"Line {number} from byte {piece.start} on: {message}" for message in wrong)
    return LogContent(records, _told(faults))


def _decoded(piece: Piece, text: bytes, known: LogFile) -> tuple[list[Record], list[str]]:
    """Return the events of an object or an array, and what is wrong with others of the array."""
    decoded = decode_json(text, batch=text.startswith(b"["), now=known.written_at)
    records = [Record(piece.deployment, known.written_at, event) for event in decoded.events]
    return records, [error.message for error in decoded.errors]


def _told(faults: list[str]) -> tuple[str, ...]:
    more = len(faults) - _LISTED
    return (*faults[:_LISTED], *([f"{more} more like these."] if more > 0 else []))


def _is_lines(path: str) -> bool:
    return path.lower().endswith(_LINES)


def _is_document(path: str) -> bool:
    return path.lower().endswith(_DOCUMENT)


def _tag(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


def _below(prefix: str) -> str:
    return f"{prefix.strip('/')}/".lstrip("/")
