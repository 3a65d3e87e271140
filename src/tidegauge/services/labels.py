"""Labels: true answers (or metrics) that come late, as files below a prefix or by event id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidegauge.domain.identity import new_id
from tidegauge.domain.labels import label_text
from tidegauge.domain.observation import DeadLetter, Label, LabelFile
from tidegauge.domain.tables import read_table
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.services.sources.files import Files
from tidegauge.services.sources.rows import Columns, Fault, Row, are_empty, is_empty
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectInfo

_LISTED = 1000  # problems of a file that are kept with their row; all are counted
_TYPES = (".csv", ".parquet")
_CHUNK = 1000
_AHEAD = timedelta(days=1)  # of now; what is later is a wrong date
_TRIES = 5

Touch = Callable[[Iterable[datetime]], None]


@dataclass(frozen=True)
class PostedLabel:
    """The true answer to one logged request; ``index`` is the place in a request of several."""

    event_id: str
    label: str | int | float | bool | None
    index: int = 0


@dataclass(frozen=True)
class Receipt:
    """What became of posted labels: ``accepted`` are durable, ``corrected`` of them replaced another one.

    ``unknown`` are event ids that no logged event has, with ``[index]`` where the event has no such answer;
    nothing is kept of these but a dead letter.
    """

    accepted: int
    corrected: int
    unknown: tuple[str, ...]
    empty: int = 0  # labels that say nothing, or not of which event; of these there is a dead letter, too


@dataclass(frozen=True)
class LabelFolder:
    """Files below ``prefix``, and what is read of them; ``name`` tells them from those of other places."""

    files: Files
    prefix: str
    columns: Columns
    name: str = ""


class _OvertakenError(Exception):
    """Another reader has taken in the same file meanwhile."""


class Labels:
    """Takes labels in, keeps what they replace, and says which moments they touch."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def refresh(self, deployment_id: str, folder: LabelFolder, touch: Touch) -> None:
        """Take in every file of ``folder`` that is new or has changed, and forget those that are gone.

        ``touch`` hears the times of the rows that came, changed or went, within the transaction of each file.
        """
        for _ in range(_TRIES):
            try:
                self._look(deployment_id, folder, touch)
                break
            except _OvertakenError:
                continue  # another has taken in the same file: perhaps what it was before

    def _look(self, deployment_id: str, folder: LabelFolder, touch: Touch) -> None:
        known = {file.id: file for file in self._database.label_files.where(deployment_id=deployment_id)}
        for info in folder.files.list(folder.prefix.strip("/")):
            name = info.path.rpartition("/")[2]
            if name.startswith(".") or not name.lower().endswith(_TYPES):
                continue
            digest = f"{info.size} {info.modified.isoformat()} {folder.columns.digest}"
            file = LabelFile(folder.name + info.path, deployment_id, digest, 0, 0, self._now())
            before = known.pop(file.id, None)
            if before is None or before.digest != digest:
                self._take_in(file, before, info, folder, touch)
        for file in known.values():
            self._replace(file, file, [], [], touch, is_gone=True)

    def post(
        self,
        deployment_id: str,
        labels: Sequence[PostedLabel],
        events: Mapping[str, tuple[datetime, int]],
        by: str,
        touch: Touch,
    ) -> Receipt:
        """Take in labels by event id; ``events`` has time and number of answers of those that are known.

        The last label of an answer counts. ``touch`` hears the times touched, within the transaction.
        """
        now = self._now()
        empty: list[tuple[str, str]] = []
        newest: dict[tuple[str, int], PostedLabel] = {}
        for label in labels:
            if reason := _unsaid(label):
                empty.append((label.event_id, reason))
            else:
                newest[label.event_id, label.index] = label
        known = {
            key: label
            for key, label in newest.items()
            if key[0] in events and 0 <= key[1] < events[key[0]][1]
        }
        reasons = {
            id_ if id_ not in events else f"{id_} [{index}]": _unanswered(events.get(id_), index)
            for id_, index in newest
            if (id_, index) not in known
        }
        letters = [
            DeadLetter(new_id(), deployment_id, "label", id_, by, reason, None, now)
            for id_, reason in (*reasons.items(), *empty)
        ]
        added: list[Label] = []
        replaced: list[str] = []
        with self._database.transaction():
            self._database.deployments.lock(deployment_id)
            before = self._current(deployment_id, sorted({key[0] for key in known}))
            for (event_id, index), posted in known.items():
                text = label_text(posted.label)
                old = before.get((event_id, index))
                if old is not None and old.label == text:
                    continue  # sent again
                if old is not None:
                    replaced.append(old.id)
                time = events[event_id][0]
                added.append(Label(new_id(), deployment_id, time, event_id, index, "", text, by, 0, now))
            self._supersede(replaced, now)
            self._database.labels.add_all(added)
            self._database.dead_letters.add_all(letters)
            touch({label.time for label in added})
        return Receipt(len(known), len(replaced), tuple(reasons), len(empty))

    def of_window(self, deployment_id: str, start: datetime, end: datetime) -> tuple[Label, ...]:
        """Return the labels that count of the window [start, end), in order of time."""
        return self._database.labels.between(
            "time", start, end, sort="time", deployment_id=deployment_id, superseded_at=None
        )

    def replaced(self, deployment_id: str, start: datetime, end: datetime) -> tuple[Label, ...]:
        """Return the labels of the window [start, end) that count no more."""
        rows = self._database.labels.between("time", start, end, deployment_id=deployment_id)
        return tuple(row for row in rows if row.superseded_at is not None)

    def _take_in(
        self, file: LabelFile, before: LabelFile | None, info: ObjectInfo, folder: LabelFolder, touch: Touch
    ) -> None:
        rows: list[Row] = []
        try:
            frame = read_table(folder.files.get(info.path), info.path.rpartition("/")[2], as_text=True)
            parsed, faults = folder.columns.parse(frame)
            latest = self._now() + _AHEAD
            rows = [row for row in parsed if row.time <= latest]
            faults += [_ahead(row) for row in parsed if row.time > latest]
        except (InvalidInputError, NotFoundError) as error:  # deleted since it was listed
            faults = [Fault(None, error.message)]
        self._replace(replace(file, rows=len(rows), problems=len(faults)), before, rows, faults, touch)

    def _replace(
        self,
        file: LabelFile,
        before: LabelFile | None,
        rows: Sequence[Row],
        faults: Sequence[Fault],
        touch: Touch,
        *,
        is_gone: bool = False,
    ) -> None:
        """Make the labels of a file those of these rows, in one transaction.

        ``before`` is what was known of the file; _OvertakenError where something else is known by now.
        """
        deployment_id, path, now = file.deployment_id, file.id, self._now()
        letters = [
            DeadLetter(
                new_id(),
                deployment_id,
                "label",
                "",
                path if fault.number is None else f"{path}, row {fault.number}",
                fault.reason,
                fault.time,
                now,
            )
            for fault in faults[:_LISTED]
        ]
        with self._database.transaction():
            self._database.deployments.lock(deployment_id)  # who takes in the same file waits here
            if self._database.label_files.find(id=path) != before:
                raise _OvertakenError
            gone, added = self._compared(deployment_id, path, rows, now)
            self._supersede([label.id for label in gone], now)
            for start in range(0, len(added), _CHUNK):
                self._database.labels.add_all(added[start : start + _CHUNK])
            self._database.dead_letters.delete_where(deployment_id=deployment_id, source=path)
            self._database.dead_letters.delete_below("source", f"{path}, row ", deployment_id=deployment_id)
            self._database.dead_letters.add_all(letters)
            self._database.label_files.delete(path)
            if not is_gone:
                self._database.label_files.add(file)
            touch({label.time for label in (*gone, *added)})

    def _compared(
        self, deployment_id: str, path: str, rows: Sequence[Row], now: datetime
    ) -> tuple[list[Label], list[Label]]:
        """Return which labels of a file have gone, and which have come.

        By content, not by place: a row that is put in at the top touches only its own window.
        """
        old: dict[tuple[datetime, str, str, int], list[Label]] = defaultdict(list)
        for label in self._database.labels.where(
            deployment_id=deployment_id, source=path, superseded_at=None
        ):
            old[label.time, label.output, label.label, label.index].append(label)
        added = []
        for row in rows:
            same = old[row.time, row.output, row.label, row.index]
            if same:
                same.pop()
            else:
                added.append(
                    Label(
                        new_id(),
                        deployment_id,
                        row.time,
                        "",
                        row.index,
                        row.output,
                        row.label,
                        path,
                        row.number,
                        now,
                    )
                )
        return [label for rest in old.values() for label in rest], added

    def _supersede(self, ids: Sequence[str], now: datetime) -> None:
        for start in range(0, len(ids), _CHUNK):
            self._database.labels.update_where({"id": ids[start : start + _CHUNK]}, superseded_at=now)

    def _current(self, deployment_id: str, event_ids: Sequence[str]) -> dict[tuple[str, int], Label]:
        found: dict[tuple[str, int], Label] = {}
        for start in range(0, len(event_ids), _CHUNK):
            part = event_ids[start : start + _CHUNK]
            for label in self._database.labels.where(
                deployment_id=deployment_id, event_id=part, superseded_at=None
            ):
                found[label.event_id, label.index] = label
        return found


def _unsaid(label: PostedLabel) -> str:
    """Say which cell of a label by event id is empty, as in files; empty where none is."""
    names = [] if label.event_id.strip() else ["event_id"]
    if label.label is None or is_empty(str(label.label)):
        names.append("label")
    return are_empty(names) if names else ""


def _unanswered(event: tuple[datetime, int] | None, index: int) -> str:
    """Say why a label by event id judges nothing."""
    if event is None:
        return "No logged event has this id."
    count = event[1]
    return f"The index is {index}, but the event has {count} answer{'s' if count > 1 else ''}, from 0 on."


def _ahead(row: Row) -> Fault:
    return Fault(row.number, f"Its time is {row.time.isoformat()}, which lies in the future.", row.time)
