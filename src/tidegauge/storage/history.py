"""What monitors found, in narrow rows: read by the month, and for all monitors of a person at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Row, Select, Text, bindparam, cast, func, or_, select, true, type_coerce

from tidegauge.domain.series import COLUMNS, WindowResult
from tidegauge.storage import tables
from tidegauge.storage.rows import Rows

_MONITORS, _WINDOWS = tables.monitors.c, tables.window_results.c
_DAYS, _EVENTS, _ALERTS = tables.tallies.c, tables.alert_events.c, tables.alerts.c
#: Of a month of windows few times are shown: they are not made of the database's texts before.
_RAW = tuple(
    type_coerce(_WINDOWS[name], Text).label(name) if name in ("start", "end") else _WINDOWS[name]
    for name in COLUMNS
)
_SHOWN = (
    "id",
    "deployment_id",
    "name",
    "owner",
    "shared",
    "state",
    "status",
    "progress",
    "message",
    "metric_names",
    "realised",
    "realised_at",
)


@dataclass(frozen=True)
class SeenBy:
    """Whose view it is: a person sees their own and what anybody shares, an operator ``everything``."""

    owner: str
    everything: bool = False


class WindowResults(Rows[WindowResult]):
    """The latest result of each window."""

    def put(self, result: WindowResult) -> None:
        """Write the result of a window, in place of an earlier one; within a transaction."""
        changes = {column.name: getattr(result, column.name) for column in self._table.c}
        if not self.update(changes.pop("id"), **changes):
            self.add(result)

    def of(self, monitor_id: str, start: datetime | None, end: datetime | None) -> Sequence[Row[Any]]:
        """Return ``COLUMNS`` of the windows that begin in [start, end), in order of time."""
        bounds = {name: moment for name, moment in (("first", start), ("last", end)) if moment is not None}

        def build() -> Select[Any]:
            sides = {
                "first": _WINDOWS.start >= bindparam("first"),
                "last": _WINDOWS.start < bindparam("last"),
            }
            return (
                select(*_RAW)
                .where(_WINDOWS.monitor_id == bindparam("monitor"), *(sides[side] for side in bounds))
                .order_by(_WINDOWS.start, _WINDOWS.end)
            )

        query = self._built(("of", *bounds), build)
        with self._connections.connect() as connection:
            return connection.execute(query, {"monitor": monitor_id, **bounds}).fetchall()

    def at_a_glance(self, seen_by: SeenBy) -> list[Mapping[str, Any]]:
        """Return each monitor that a person sees, with the columns of its newest window or None."""
        with self._connections.connect() as connection:
            return [dict(row) for row in connection.execute(_NEWEST, asdict(seen_by)).mappings()]

    def days(self, seen_by: SeenBy, since: datetime) -> list[tuple[str, datetime, Mapping[str, int]]]:
        """Return monitor, day, and windows by status of each day of all monitors that a person sees."""
        return self._rows(_DAYS_OF, seen_by, since)

    def fired(self, seen_by: SeenBy, since: datetime) -> list[tuple[str, str, int]]:
        """Return day (as text), severity, and how often alerts fired, of all monitors that a person sees."""
        return self._rows(_FIRED, seen_by, since)

    def firing(self, seen_by: SeenBy) -> dict[str, int]:
        """Return how many alerts of each monitor fire now."""
        with self._connections.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(_FIRING, asdict(seen_by))}

    def _rows(self, query: Select[Any], seen_by: SeenBy, since: datetime) -> list[Any]:
        with self._connections.connect() as connection:
            return [tuple(row) for row in connection.execute(query, {**asdict(seen_by), "since": since})]


_SEEN = or_(
    _MONITORS.owner == bindparam("owner"),
    _MONITORS.shared.is_(True),
    bindparam("everything", type_=Boolean) == true(),
)


def _newest() -> Select[Any]:
    inner = tables.window_results.alias("inner_windows")
    last = (
        select(inner.c.id)
        .where(inner.c.monitor_id == _MONITORS.id)
        .order_by(inner.c.start.desc(), inner.c.end.desc())
        .limit(1)
        .correlate(tables.monitors)
        .scalar_subquery()
    )
    joined = tables.monitors.outerjoin(tables.window_results, _WINDOWS.id == last)
    window = [_WINDOWS[name].label(f"window_{name}") for name in COLUMNS]
    return select(*(_MONITORS[name] for name in _SHOWN), *window).select_from(joined).where(_SEEN)


_NEWEST = _newest()
_DAYS_OF = (
    select(_DAYS.monitor_id, _DAYS.day, _DAYS.statuses)
    .join(tables.monitors, _MONITORS.id == _DAYS.monitor_id)
    .where(_SEEN, _DAYS.day >= bindparam("since"))
    .order_by(_DAYS.day)
)
_DAY = func.substr(cast(_EVENTS.at, Text), 1, 10)
_FIRED = (
    select(_DAY, _EVENTS.severity, func.count())
    .join(tables.monitors, _MONITORS.id == _EVENTS.monitor_id)
    .where(_SEEN, _EVENTS.at >= bindparam("since"), _EVENTS.told == "fired")
    .group_by(_DAY, _EVENTS.severity)
)
_FIRING = (
    select(_ALERTS.monitor_id, func.count())
    .join(tables.monitors, _MONITORS.id == _ALERTS.monitor_id)
    .where(_SEEN, _ALERTS.firing_since.is_not(None))
    .group_by(_ALERTS.monitor_id)
)
