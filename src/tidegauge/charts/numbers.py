"""The numbers of a chart as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tidegauge.charts.look import short
from tidegauge.charts.over_time import PARTS, power
from tidegauge.charts.view import View, columns, features
from tidegauge.domain.series import Span

Cell = str | float | int | None
_SPAN = ("start", "end", "windows")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Numbers:
    """Rows of a chart, in its order; ``run`` is the run of a span's worst window."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def to_csv(self) -> str:
        """Return the table as CSV; text that a spreadsheet would take for a formula is quoted."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([_text(name) for name in self.columns])
        writer.writerows(
            [_text(cell) if isinstance(cell, str) else cell for cell in row] for row in self.rows
        )
        return out.getvalue()


def numbers(name: str, view: View) -> Numbers:
    """Return the numbers of the chart of this name."""
    if name == "predictions":
        return _predictions(view)
    if name == "confusion":
        pairs = tuple((label, answer, count) for (label, answer), count in view.answers.confusion.items())
        return Numbers(("label", "prediction", "count"), pairs)
    if name == "timeline":
        return _over_time(
            view, ("status", *PARTS), lambda span: [getattr(span, p).value for p in ("status", *PARTS)]
        )
    if name == "evidence":
        return _over_time(view, ("power_of_ten", "alarm"), _evidence)
    if name == "drift":
        return _over_time(
            view, ("score", "feature"), lambda span: _farthest(span, features(view.series.names))
        )
    shown = columns(name, view.series.names)
    return _over_time(view, _headings(shown), lambda span: _points(span, shown))


def _over_time(view: View, names: Sequence[str], cells: Callable[[Span], list[Cell]]) -> Numbers:
    rows = tuple(
        (_time(span.start), _time(span.end), span.windows, *cells(span), span.run_id)
        for span in view.series.spans
    )
    return Numbers((*_SPAN, *names, "run"), rows)


def _evidence(span: Span) -> list[Cell]:
    if span.evidence is None:
        return [None, None]
    return [short(power(span.evidence)), "yes" if span.alarm else "no"]


def _farthest(span: Span, names: Sequence[str]) -> list[Cell]:
    scores = {name: span.points[name].most for name in names if name in span.points}
    if not scores:
        return [None, None]
    leader = max(scores, key=scores.__getitem__)
    return [short(scores[leader]), leader]


def _headings(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}{part}" for name in names for part in ("", "_low", "_high", "_least", "_most"))


def _points(span: Span, names: Sequence[str]) -> list[Cell]:
    found: list[Cell] = []
    for name in names:
        point = span.points.get(name)
        if point is None:
            found += [None] * 5
        else:
            parts = (point.value, point.low, point.high, point.least, point.most)
            found += [None if number is None else short(number) for number in parts]
    return found


def _predictions(view: View) -> Numbers:
    answers = view.answers
    if answers.means is not None:
        return Numbers(("when", "mean"), (("now", answers.means[0]), ("baseline", answers.means[1])))
    rows = tuple((name, answers.told.get(name, 0), answers.baseline.get(name, 0)) for name in answers.classes)
    return Numbers(("answer", "now", "baseline"), rows)


def _text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
