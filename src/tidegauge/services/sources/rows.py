"""The rows of files that come late: labels, or metrics that somebody else has computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

from tidegauge.domain.labels import LabelColumns, label_text, parse_timestamp
from tidegauge.domain.metrics import COMPUTED, implausible

COUNT = "n"  # column with the samples of each row
_UNCOUNTED = -1


@dataclass(frozen=True)
class Row:
    """One usable row: a label with the answer that it judges, or one metric (``output``) and its value.

    ``index`` of a metric is how many samples it is of, or -1.
    """

    number: int
    time: datetime
    output: str
    label: str
    index: int = 0


@dataclass(frozen=True)
class Fault:
    """What cannot be used, and why; ``number`` is None for what is not about one row."""

    number: int | None
    reason: str
    time: datetime | None = None


class Columns(Protocol):
    """What is read of each file."""

    @property
    def digest(self) -> str:
        """Files are read anew where this changes."""
        ...

    def parse(self, frame: pl.DataFrame) -> tuple[list[Row], list[Fault]]:
        """Return the usable rows, and what is wrong with the rest."""
        ...


class LabelRows:
    """A label in each row, with the time of the request and the answer."""

    def __init__(self, columns: LabelColumns) -> None:
        self._columns = columns
        self.digest = f"{columns.timestamp}/{columns.output}/{columns.label}"

    def parse(self, frame: pl.DataFrame) -> tuple[list[Row], list[Fault]]:
        names = (self._columns.timestamp, self._columns.output, self._columns.label)
        missing = _missing(frame, names)
        if missing:
            return [], [missing]
        rows: list[Row] = []
        faults: list[Fault] = []
        texts: dict[str, str] = {}  # few distinct labels, many rows
        cells = (frame.get_column(name).to_list() for name in names)
        for number, (time, output, label) in enumerate(zip(*cells, strict=True), 1):
            moment = _moment(names[0], time, number)
            if isinstance(moment, Fault):
                faults.append(moment)
                continue
            empty = [name for name, cell in zip(names[1:], (output, label), strict=True) if is_empty(cell)]
            if empty:
                faults.append(Fault(number, are_empty(empty), moment))
                continue
            for cell in (output, label):
                if cell not in texts:
                    texts[cell] = label_text(cell)
            rows.append(Row(number, moment, texts[output], texts[label]))
        return rows, faults


class MetricRows:
    """A time in each row, and a column for each metric; ``n`` may say of how many samples."""

    def __init__(self, timestamp: str) -> None:
        self._timestamp = timestamp
        self.digest = f"metrics/{timestamp}"

    def parse(self, frame: pl.DataFrame) -> tuple[list[Row], list[Fault]]:
        missing = _missing(frame, (self._timestamp,))
        if missing:
            return [], [missing]
        names = [name for name in frame.columns if name in COMPUTED]
        faults = list(self._unknown(frame, names))
        rows: list[Row] = []
        counts = frame.get_column(COUNT).to_list() if COUNT in frame.columns else [None] * len(frame)
        cells = {name: frame.get_column(name).to_list() for name in names}
        for number, time in enumerate(frame.get_column(self._timestamp).to_list(), 1):
            moment = _moment(self._timestamp, time, number)
            if isinstance(moment, Fault):
                faults.append(moment)
                continue
            try:
                count = _count(counts[number - 1])
            except ValueError as error:
                faults.append(Fault(number, str(error), moment))
                continue
            for name in names:
                cell = cells[name][number - 1]
                if is_empty(cell):
                    continue  # not every row has every metric
                reason = _wrong(name, cell)
                if reason:
                    faults.append(Fault(number, reason, moment))
                else:
                    rows.append(Row(number, moment, name, repr(float(cell)), count))
        return rows, faults

    def _unknown(self, frame: pl.DataFrame, names: Sequence[str]) -> Iterator[Fault]:
        others = [name for name in frame.columns if name not in (*names, COUNT, self._timestamp)]
        if others:
            shown = ", ".join(map(repr, others))
            yield Fault(None, f"{shown} {'are' if others[1:] else 'is'} no metric and left out.")
        if not names:
            yield Fault(None, "It has no column with the name of a metric, such as 'accuracy'.")


def _missing(frame: pl.DataFrame, names: Sequence[str]) -> Fault | None:
    missing = [name for name in names if name not in frame.columns]
    if not missing:
        return None
    lacks, has = (", ".join(map(repr, some)) for some in (missing, frame.columns))
    return Fault(None, f"It has no column {lacks}, but {has}.")


def _moment(name: str, cell: str | None, number: int) -> datetime | Fault:
    if cell is None or is_empty(cell):
        return Fault(number, f"{name} is empty.")
    try:
        return parse_timestamp(cell)
    except ValueError:
        return Fault(number, f"{name} is {cell!r}; write ISO 8601 or epoch seconds or milliseconds.")


def _wrong(name: str, cell: str) -> str:
    try:
        value = float(cell)
    except ValueError:
        return f"{name} is {cell!r}; write a number."
    return implausible(name, value)


def _count(cell: str | None) -> int:
    if cell is None or is_empty(cell):
        return _UNCOUNTED
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < 2**31 or not value.is_integer():
        raise ValueError(f"{COUNT} is {cell!r}; write the number of samples.")
    return int(value)


def are_empty(names: Sequence[str]) -> str:
    """Say which cells of a row are empty."""
    return f"{' and '.join(names)} {'are' if names[1:] else 'is'} empty."


def is_empty(cell: str | None) -> bool:
    """Tell whether a cell says nothing."""
    return cell is None or not cell.strip() or cell.strip().lower() == "nan"
