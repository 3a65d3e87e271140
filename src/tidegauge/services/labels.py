"""Labels: true answers that come late, as files below a prefix of the store or by event id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from tidegauge.domain.identity import new_id
from tidegauge.domain.labels import LabelColumns, label_text, parse_timestamp
from tidegauge.domain.observation import DeadLetter, Label, LabelFile
from tidegauge.domain.tables import read_table
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectInfo, ObjectStore

_LISTED = 1000  # problems of a file that are kept with their row; all are counted
_TYPES = (".csv", ".parquet")
_CHUNK = 1000

Touch = Callable[[Iterable[datetime]], None]


@dataclass(frozen=True)
class PostedLabel:
    """The true answer to one logged request; ``index`` is the place in a request of several."""

    event_id: str
    label: str | int | float | bool
    index: int = 0


@dataclass(frozen=True)
class Receipt:
    """What became of posted labels: ``accepted`` are durable, ``corrected`` of them replaced another one.

    ``unknown`` are event ids that no logged event has; nothing is kept of these but a dead letter.
    """

    accepted: int
    corrected: int
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    """One usable row of a label file."""

    number: int
    time: datetime
    output: str
    label: str


class Labels:
    """Takes labels in, keeps what they replace, and says which moments they touch."""

    def __init__(self, database: Database, store: ObjectStore, now: Callable[[], datetime]) -> None:
        self._database = database
        self._store = store
        self._now = now

    def refresh(self, deployment_id: str, prefix: str, columns: LabelColumns, touch: Touch) -> None:
        """Take in every file below ``prefix`` that is new or has changed, and forget those that are gone.

        ``touch`` hears the times of the rows that came, changed or went, within the transaction of each file.
        """
        known = {file.id: file for file in self._database.label_files.where(deployment_id=deployment_id)}
        for info in self._store.list(prefix.strip("/")):
            name = info.path.rpartition("/")[2]
            if name.startswith(".") or not name.lower().endswith(_TYPES):
                continue
            before = known.pop(info.path, None)
            if before is None or before.digest != _digest(info, columns):
                self._take_in(deployment_id, info, columns, touch)
        for file in known.values():
            self._replace(deployment_id, file.id, [], [], None, touch)

    def post(
        self,
        deployment_id: str,
        labels: Sequence[PostedLabel],
        times: Mapping[str, datetime],
        by: str,
        touch: Touch,
    ) -> Receipt:
        """Take in labels by event id; ``times`` are those of the events that are known.

        The last label of an event counts. ``touch`` hears the times touched, within the transaction.
        """
        now = self._now()
        newest = {(label.event_id, label.index): label for label in labels}
        known = {key: label for key, label in newest.items() if key[0] in times}
        unknown = tuple(dict.fromkeys(key[0] for key in newest if key[0] not in times))
        before = self._current(deployment_id, sorted({key[0] for key in known}))
        added: list[Label] = []
        replaced: list[str] = []
        touched: set[datetime] = set()
        for (event_id, index), posted in known.items():
            text = label_text(posted.label)
            old = before.get((event_id, index))
            if old is not None and old.label == text:
                continue  # sent again
            if old is not None:
                replaced.append(old.id)
            touched.add(times[event_id])
            added.append(
                Label(new_id(), deployment_id, times[event_id], event_id, index, "", text, by, 0, now)
            )
        letters = [
            DeadLetter(new_id(), deployment_id, "label", id_, by, "No logged event has this id.", None, now)
            for id_ in unknown
        ]
        with self._database.transaction():
            self._supersede(replaced, now)
            self._database.labels.add_all(added)
            self._database.dead_letters.add_all(letters)
            touch(touched)
        return Receipt(len(known), len(replaced), unknown)

    def of_window(self, deployment_id: str, start: datetime, end: datetime) -> tuple[Label, ...]:
        """Return the labels that count of the window [start, end), in order of time."""
        return self._database.labels.between(
            "time", start, end, sort="time", deployment_id=deployment_id, superseded_at=None
        )

    def problems(self, deployment_id: str, start: datetime, end: datetime) -> tuple[str, ...]:
        """Say what was left out: of the window [start, end), and what has no time."""
        within = self._database.dead_letters.between(
            "time", start, end, deployment_id=deployment_id, kind="label"
        )
        timeless = self._database.dead_letters.where(
            deployment_id=deployment_id, kind="label", time=None, limit=_LISTED
        )
        return tuple(f"{letter.source}: {letter.reason}" for letter in (*within, *timeless))

    def _take_in(self, deployment_id: str, info: ObjectInfo, columns: LabelColumns, touch: Touch) -> None:
        rows: list[_Row] = []
        problems: list[tuple[int | None, str, datetime | None]] = []
        try:
            rows, problems = _parse(
                read_table(self._store.get(info.path), info.path.rpartition("/")[2], as_text=True), columns
            )
        except (InvalidInputError, NotFoundError) as error:  # deleted since it was listed
            problems = [(None, error.message, None)]
        file = LabelFile(
            info.path, deployment_id, _digest(info, columns), len(rows), len(problems), self._now()
        )
        self._replace(deployment_id, info.path, rows, problems, file, touch)

    def _replace(
        self,
        deployment_id: str,
        path: str,
        rows: Sequence[_Row],
        problems: Sequence[tuple[int | None, str, datetime | None]],
        file: LabelFile | None,
        touch: Touch,
    ) -> None:
        """Make the labels of a file those of these rows, in one transaction."""
        now = self._now()
        # By content, not by place: a row that is put in at the top touches only its own window.
        old: dict[tuple[datetime, str, str], list[Label]] = defaultdict(list)
        for label in self._database.labels.where(
            deployment_id=deployment_id, source=path, superseded_at=None
        ):
            old[label.time, label.output, label.label].append(label)
        added = []
        for row in rows:
            same = old[row.time, row.output, row.label]
            if same:
                same.pop()
            else:
                added.append(
                    Label(
                        new_id(), deployment_id, row.time, "", 0, row.output, row.label, path, row.number, now
                    )
                )
        gone = [label for rest in old.values() for label in rest]
        letters = [
            DeadLetter(
                new_id(),
                deployment_id,
                "label",
                "",
                path if number is None else f"{path}, row {number}",
                reason,
                time,
                now,
            )
            for number, reason, time in problems[:_LISTED]
        ]
        with self._database.transaction():
            self._supersede([label.id for label in gone], now)
            for start in range(0, len(added), _CHUNK):
                self._database.labels.add_all(added[start : start + _CHUNK])
            self._database.dead_letters.delete_where(deployment_id=deployment_id, source=path)
            self._database.dead_letters.delete_below("source", f"{path}, row ", deployment_id=deployment_id)
            self._database.dead_letters.add_all(letters)
            self._database.label_files.delete(path)
            if file is not None:
                self._database.label_files.add(file)
            touch({label.time for label in (*gone, *added)})

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


def _digest(info: ObjectInfo, columns: LabelColumns) -> str:
    names = f"{columns.timestamp}/{columns.output}/{columns.label}"
    return f"{info.size} {info.modified.isoformat()} {names}"


def _parse(
    frame: pl.DataFrame, columns: LabelColumns
) -> tuple[list[_Row], list[tuple[int | None, str, datetime | None]]]:
    """Return the usable rows, and what is wrong with the others: row, reason, and time where it has one."""
    names = (columns.timestamp, columns.output, columns.label)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        lacks, has = (", ".join(map(repr, some)) for some in (missing, frame.columns))
        return [], [(None, f"It has no column {lacks}, but {has}.", None)]
    rows: list[_Row] = []
    problems: list[tuple[int | None, str, datetime | None]] = []
    texts: dict[str, str] = {}  # few distinct labels, many rows
    cells = (frame.get_column(name).to_list() for name in names)
    for number, (time, output, label) in enumerate(zip(*cells, strict=True), 1):
        if _empty(time):
            problems.append((number, f"{names[0]} is empty.", None))
            continue
        try:
            moment = parse_timestamp(time)
        except ValueError:
            problems.append(
                (
                    number,
                    f"{names[0]} is {time!r}; write ISO 8601 or epoch seconds or milliseconds.",
                    None,
                )
            )
            continue
        empty = [name for name, cell in zip(names[1:], (output, label), strict=True) if _empty(cell)]
        if empty:
            problems.append((number, f"{' and '.join(empty)} {'are' if empty[1:] else 'is'} empty.", moment))
            continue
        for cell in (output, label):
            if cell not in texts:
                texts[cell] = label_text(cell)
        rows.append(_Row(number, moment, texts[output], texts[label]))
    return rows, problems


def _empty(cell: str | None) -> bool:
    return cell is None or not cell.strip() or cell.strip().lower() == "nan"
