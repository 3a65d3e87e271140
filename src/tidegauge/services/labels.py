"""Labels dropped as files below a prefix of the store."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from tidegauge.domain.labels import LabelColumns, LabelProblem, LabelRows, label_text, parse_timestamp
from tidegauge.domain.tables import read_table
from tidegauge.errors import InvalidInputError, NotFoundError
from tidegauge.storage.objects import ObjectStore

_LISTED = 1000  # problems kept with file and row; all are counted
_TYPES = (".csv", ".parquet")


def read_labels(
    store: ObjectStore, prefix: str, columns: LabelColumns, start: datetime, end: datetime
) -> LabelRows:
    """Read the labelled answers of the window [start, end) from every CSV and Parquet file below ``prefix``.

    Outputs and labels are text (``label_text``). A file that cannot be read or lacks a column, a timestamp
    that cannot be read (whatever the window), and an empty cell in a row of the window are problems with file
    and row. Raises InvalidInputError for a window without zones, or one that ends before it starts.
    """
    if start.tzinfo is None or end.tzinfo is None or end < start:
        raise InvalidInputError.of(
            "window", f"The window {start} to {end} is not valid; give two times with zones."
        )
    found = _Found(columns, start, end)
    for info in store.list(prefix.strip("/")):
        name = info.path.rpartition("/")[2]
        if name.startswith(".") or not name.lower().endswith(_TYPES):
            continue
        try:
            found.add_file(info.path, read_table(store.get(info.path), name, as_text=True))
        except (InvalidInputError, NotFoundError) as error:  # deleted since it was listed
            found.add_problem(info.path, None, error.message)
    return found.rows()


class _Found:
    """The rows and problems found so far."""

    def __init__(self, columns: LabelColumns, start: datetime, end: datetime) -> None:
        self._columns = columns
        self._start, self._end = start, end
        self._timestamps: list[datetime] = []
        self._outputs: list[str] = []
        self._labels: list[str] = []
        self._problems: list[LabelProblem] = []
        self._problem_count = 0
        self._texts: dict[str, str] = {}  # few distinct labels, many rows

    def add_problem(self, file: str, row: int | None, reason: str) -> None:
        self._problem_count += 1
        if len(self._problems) < _LISTED:
            self._problems.append(LabelProblem(file, row, reason))

    def add_file(self, file: str, frame: pl.DataFrame) -> None:
        names = (self._columns.timestamp, self._columns.output, self._columns.label)
        missing = [name for name in names if name not in frame.columns]
        if missing:
            lacks, has = (", ".join(map(repr, some)) for some in (missing, frame.columns))
            self.add_problem(file, None, f"It has no column {lacks}, but {has}.")
            return
        cells = (frame.get_column(name).to_list() for name in names)
        for row, (time, output, label) in enumerate(zip(*cells, strict=True), 1):
            if _empty(time):
                self.add_problem(file, row, f"{names[0]} is empty.")
                continue
            try:
                timestamp = parse_timestamp(time)
            except ValueError:
                self.add_problem(
                    file, row, f"{names[0]} is {time!r}; write ISO 8601 or epoch seconds or milliseconds."
                )
                continue
            if not self._start <= timestamp < self._end:
                continue
            empty = [name for name, cell in zip(names[1:], (output, label), strict=True) if _empty(cell)]
            if empty:
                self.add_problem(file, row, f"{' and '.join(empty)} {'are' if empty[1:] else 'is'} empty.")
                continue
            self._timestamps.append(timestamp)
            self._outputs.append(self._text(output))
            self._labels.append(self._text(label))

    def rows(self) -> LabelRows:
        return LabelRows(
            tuple(self._timestamps),
            tuple(self._outputs),
            tuple(self._labels),
            tuple(self._problems),
            self._problem_count,
        )

    def _text(self, cell: str) -> str:
        if cell not in self._texts:
            self._texts[cell] = label_text(cell)
        return self._texts[cell]


def _empty(cell: str | None) -> bool:
    return cell is None or not cell.strip() or cell.strip().lower() == "nan"
