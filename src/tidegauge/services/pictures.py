"""The chart that goes with a message: what its alert is about, over the last windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from tidegauge.domain.alert import Alert
from tidegauge.domain.channel import Delivery
from tidegauge.domain.monitor import Monitor, MonitorRun
from tidegauge.storage.database import Database

_WINDOWS = 48
_REVISIONS = 4  # of a window, on average: labels may come in several parts

Render = Callable[[Alert, Monitor, Sequence[MonitorRun]], bytes]


class Pictures:
    """Looks up what a delivery is about and has it drawn."""

    def __init__(self, database: Database, render: Render) -> None:
        self._database = database
        self._render = render

    def draw(self, delivery: Delivery) -> bytes | None:
        """Return the chart as PNG; None where what it is about is gone."""
        message = delivery.message
        alert = self._database.alerts.find(id=message.alert_id)
        monitor = self._database.monitors.find(id=message.monitor_id)
        if alert is None or monitor is None:
            return None
        found = self._database.monitor_runs.between(
            "start",
            None,
            message.start + timedelta(microseconds=1),
            sort="-start",
            limit=_WINDOWS * _REVISIONS,
            monitor_id=monitor.id,
        )
        newest: dict[object, MonitorRun] = {}
        for run in found:
            known = newest.get((run.start, run.end))
            if known is None or known.revision < run.revision:
                newest[run.start, run.end] = run
        runs = sorted(newest.values(), key=lambda run: run.start)[-_WINDOWS:]
        return self._render(alert, monitor, runs) if runs else None
