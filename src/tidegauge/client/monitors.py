"""Monitors, their schema, thresholds, alerts and runs."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic_core import to_jsonable_python

from tidegauge.client.connection import Connection, decode, wait_for
from tidegauge.client.sharing import Sharing
from tidegauge.domain.alert import Alert, AlertEvent, AlertRule
from tidegauge.domain.monitor import (
    Acknowledgement,
    ConfigVersion,
    DueWindow,
    Feature,
    Monitor,
    MonitorRun,
    MonitorState,
)
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.observation import DeadLetter, Maintenance
from tidegauge.domain.shown import Pictures
from tidegauge.errors import InvalidInputError, TidegaugeError

if TYPE_CHECKING:  # numpy and altair take a while to load
    from altair import TopLevelMixin

    from tidegauge.domain.series import Series

_REPORT_SECONDS = 600.0  # for a year of windows


class Monitors(Sharing[Monitor]):
    """Monitors, their schema, thresholds, alerts and runs."""

    _kind = Monitor

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/monitors"

    def create(self, deployment: str, config: MonitorConfig | Mapping[str, Any] | None = None) -> Monitor:
        body = {"deployment": deployment, "config": config or MonitorConfig()}
        return self._client.read(Monitor, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[Monitor]:
        return list(self._client.pages(Monitor, self._path, q))

    def get(self, key: str) -> Monitor:
        """Find a monitor by its id or by its deployment's name or id."""
        answer = self._client.json("GET", self._at(key))
        return decode(Monitor, answer["monitor"])

    def detail(self, key: str) -> dict[str, Any]:
        """Return the monitor with its deployment, alerts and transitions as plain values."""
        return dict(self._client.json("GET", self._at(key)))

    def configure(self, key: str, config: MonitorConfig | Mapping[str, Any]) -> Monitor:
        return self._client.read(Monitor, "PUT", f"{self._at(key)}/config", config)

    def baseline(self, key: str) -> Monitor:
        """Make the baseline anew; ``wait`` tells when it is done."""
        return self._client.read(Monitor, "POST", f"{self._at(key)}/baseline")

    def add_feature(
        self, key: str, name: str, kind: str, value_type: str, *, selected: bool = True
    ) -> Monitor:
        """Add a row to the schema, or replace the one with its name."""
        body = {"name": name, "kind": kind, "value_type": value_type, "selected": selected}
        return self._client.read(Monitor, "POST", f"{self._at(key)}/schema", body)

    def set_schema(self, key: str, features: Sequence[Feature]) -> Monitor:
        """Replace the whole schema."""
        return self._client.read(Monitor, "PUT", f"{self._at(key)}/schema", list(features))

    def remove_feature(self, key: str, name: str) -> Monitor:
        path = f"{self._at(key)}/schema/{quote(name, safe='')}"
        return self._client.read(Monitor, "DELETE", path)

    def set_thresholds(self, key: str, thresholds: Mapping[str, Any] | bytes) -> Monitor:
        """Replace the thresholds by those of a JSON document."""
        content = thresholds if isinstance(thresholds, bytes) else json.dumps(thresholds).encode()
        return self._client.read(Monitor, "PUT", f"{self._at(key)}/thresholds", content=content)

    def suggest_thresholds(
        self, key: str, size: int | None = None, soft_per_week: float = 1.0, hard_per_year: float = 1.0
    ) -> dict[str, Any]:
        """Suggest thresholds that clean windows pass as rarely as wished, as plain values."""
        params = {"soft_per_week": soft_per_week, "hard_per_year": hard_per_year}
        params |= {"size": size} if size is not None else {}
        return dict(self._client.json("GET", f"{self._at(key)}/thresholds/suggestion", params=params))

    def preview_thresholds(
        self, key: str, thresholds: Mapping[str, Any] | bytes, size: int | None = None
    ) -> dict[str, Any]:
        """Say how often thresholds would cry on clean data; nothing is saved."""
        content = thresholds if isinstance(thresholds, bytes) else json.dumps(thresholds).encode()
        params = {"size": size} if size is not None else {}
        path = f"{self._at(key)}/thresholds/preview"
        return dict(self._client.json("POST", path, content=content, params=params))

    def start(self, key: str) -> Monitor:
        return self._client.read(Monitor, "POST", f"{self._at(key)}/start")

    def stop(self, key: str) -> Monitor:
        return self._client.read(Monitor, "POST", f"{self._at(key)}/stop")

    def delete(self, key: str) -> None:
        self._client.request("DELETE", self._at(key))

    def run(self, key: str, start: datetime, end: datetime) -> MonitorRun:
        """Look at the window [start, end) now."""
        body = {"start": start, "end": end}
        return self._client.read(MonitorRun, "POST", f"{self._at(key)}/runs", body)

    def runs(
        self, key: str, start: datetime | None = None, end: datetime | None = None
    ) -> builtins.list[MonitorRun]:
        """Return the latest result of each window that begins in [start, end), in order of time."""
        params = {k: v.isoformat() for k, v in (("start", start), ("end", end)) if v}
        path = f"{self._at(key)}/runs"
        return self._client.read(builtins.list[MonitorRun], "GET", path, params=params)

    def series(
        self, key: str, start: datetime | None = None, end: datetime | None = None, most: int = 480
    ) -> Series:
        """Return what was found in the windows that begin in [start, end), in at most so many spans."""
        from tidegauge.domain.series import Series

        params = {k: v.isoformat() for k, v in (("start", start), ("end", end)) if v} | {"most": str(most)}
        return self._client.read(Series, "GET", f"{self._at(key)}/series", params=params)

    def chart(
        self, key: str, name: str = "drift", start: datetime | None = None, end: datetime | None = None
    ) -> TopLevelMixin:
        """Draw a chart of the windows that begin in [start, end), which a notebook shows by itself.

        ``name`` is a metric or a feature, or one of timeline, evidence, drift (the farthest feature),
        requests, latency, utilization, predictions and confusion. The latter two are of the newest 200
        windows. InvalidInputError for another one.
        """
        from tidegauge import charts

        charts.show_in_notebooks()
        monitor, series = self.get(key), self.series(key, start, end)
        if not charts.known(name, monitor.metric_names):
            raise InvalidInputError.of(
                "name", f"name is {name!r}; use {charts.names_of(monitor.metric_names)}."
            )
        answers = None
        if name in charts.OF_ANSWERS:
            since = charts.newest(series, charts.WINDOWS) or start
            answers = charts.Answers.of(self.runs(key, since, end)[-charts.WINDOWS :])
        link = f"{self._client.url}/monitors/{monitor.id}/runs/"
        return charts.draw(name, charts.View.of(monitor, series, answers, link))

    def pictures(self, run: MonitorRun, most: int = 8) -> Pictures:
        """Return the images of a window that are strangest to the baseline, which a notebook shows."""
        images = []
        for image in sorted(run.images, key=lambda one: -(one.strangeness or 0))[:most]:
            event = quote(image.event_id, safe="")
            path = f"/monitors/{run.monitor_id}/runs/{run.id}/images/{event}/{image.index}.png"
            words = f"{image.prediction}, strangeness {image.strangeness or 0:.2f}"
            images.append((self._client.request("GET", path).content, words))
        return Pictures(tuple(images))

    def backfill(self, key: str, start: datetime, end: datetime) -> int:
        """Make every window between two times due; return how many there are."""
        body = {"start": start, "end": end}
        return int(
            self._client.json("POST", f"{self._at(key)}/backfill", json=to_jsonable_python(body))["windows"]
        )

    def due(self, key: str) -> builtins.list[DueWindow]:
        """Return the windows that wait to be looked at."""
        return list(self._client.pages(DueWindow, f"{self._at(key)}/due-windows"))

    def acknowledge(self, key: str, note: str = "") -> Acknowledgement:
        """Acknowledge a drift alarm: evidence begins again, and spends a further share of false alarms."""
        return self._client.read(Acknowledgement, "POST", f"{self._at(key)}/acknowledge", {"note": note})

    def accept(self, key: str, start: datetime, end: datetime, note: str = "") -> Monitor:
        """Make what was observed between two times the baseline; ``wait_idle`` tells when it is done."""
        body = {"start": start, "end": end, "note": note}
        return self._client.read(Monitor, "POST", f"{self._at(key)}/accept", body)

    def wait_idle(
        self, key: str, progress: Callable[[Monitor], None] | None = None, timeout: float = 1800.0
    ) -> Monitor:
        """Wait until an accepted window is the baseline; TidegaugeError when it went wrong."""

        def look() -> Monitor:
            monitor = self.get(key)
            if progress:
                progress(monitor)
            return monitor

        monitor = wait_for(look, lambda m: not m.progress, f"The baseline of {key}", timeout)
        if monitor.message:
            raise TidegaugeError(monitor.message)
        return monitor

    def acknowledgements(self, key: str) -> builtins.list[Acknowledgement]:
        return list(self._client.pages(Acknowledgement, f"{self._at(key)}/acknowledgements"))

    def maintenances(self, key: str) -> builtins.list[Maintenance]:
        return list(self._client.pages(Maintenance, f"{self._at(key)}/maintenance"))

    def add_maintenance(self, key: str, start: datetime, end: datetime, reason: str = "") -> Maintenance:
        """Tell nothing of any alert about windows that meet [start, end)."""
        body = {"start": start, "end": end, "reason": reason}
        return self._client.read(Maintenance, "POST", f"{self._at(key)}/maintenance", body)

    def delete_maintenance(self, key: str, maintenance_id: str) -> None:
        self._client.request("DELETE", f"{self._at(key)}/maintenance/{maintenance_id}")

    def dead_letters(self, key: str) -> builtins.list[DeadLetter]:
        """Return the events and labels that could not be used, and why."""
        return list(self._client.pages(DeadLetter, f"{self._at(key)}/dead-letters"))

    def post_labels(self, key: str, labels: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Send true answers by event id: ``{"event_id": ..., "label": ..., "index": 0}``."""
        deployment = self.get(key).deployment_id
        body = {"labels": builtins.list(labels)}
        return dict(
            self._client.json("POST", f"/v1/deployments/{deployment}/labels", json=to_jsonable_python(body))
        )

    def report(
        self,
        key: str,
        start: datetime,
        end: datetime,
        format: str = "html",  # noqa: A002 - as in the URL
        *,
        images: bool = False,
    ) -> bytes:
        """Return a report on the windows that begin in [start, end), as a file: html, pdf or json.

        Without ``images`` no image of a patient is in it.
        """
        params = {
            "start": start.isoformat(),
            "end": end.isoformat(),
            "format": format,
            "images": str(images).lower(),
        }
        path = f"{self._at(key)}/report"
        return self._client.request("GET", path, params=params, timeout=_REPORT_SECONDS).content

    def add_alert(
        self, key: str, name: str, metric: str, operator: str, bound: float, type_: str = "performance"
    ) -> Alert:
        """Add an alert with one condition: ``metric operator bound``."""
        condition = {"name": metric, "operator": operator, "bound": bound}
        return self.add_rule(key, {"name": name, "type": type_, "conditions": [condition]})

    def add_rule(self, key: str, rule: AlertRule | Mapping[str, Any]) -> Alert:
        """Add an alert with any rule."""
        return self._client.read(Alert, "POST", f"{self._at(key)}/alerts", rule)

    def change_alert(self, key: str, alert_id: str, rule: AlertRule | Mapping[str, Any]) -> Alert:
        return self._client.read(Alert, "PUT", f"{self._at(key)}/alerts/{alert_id}", rule)

    def mute_alert(self, key: str, alert_id: str, until: datetime | None) -> Alert:
        """Tell nothing of an alert before ``until``; None ends that."""
        return self._client.read(Alert, "POST", f"{self._at(key)}/alerts/{alert_id}/mute", {"until": until})

    def alerts(self, key: str) -> builtins.list[Alert]:
        return self._client.read(builtins.list[Alert], "GET", f"{self._at(key)}/alerts")

    def delete_alert(self, key: str, alert_id: str) -> None:
        self._client.request("DELETE", f"{self._at(key)}/alerts/{alert_id}")

    def alert_events(self, key: str) -> builtins.list[AlertEvent]:
        return list(self._client.pages(AlertEvent, f"{self._at(key)}/alert-events"))

    def wait(
        self, key: str, progress: Callable[[Monitor], None] | None = None, timeout: float = 1800.0
    ) -> Monitor:
        """Wait until baselining has ended; TidegaugeError when it went wrong."""

        def look() -> Monitor:
            monitor = self.get(key)
            if progress:
                progress(monitor)
            return monitor

        monitor = wait_for(
            look, lambda m: m.state is not MonitorState.BASELINING, f"The baseline of {key}", timeout
        )
        if monitor.state is MonitorState.ERROR:
            raise TidegaugeError(f"The monitor is in error: {monitor.message}")
        return monitor

    def configs(self, key: str) -> builtins.list[ConfigVersion]:
        """Return what the monitor was told to do, by whom and when, newest first."""
        return list(self._client.pages(ConfigVersion, f"{self._at(key)}/configs"))

    def _at(self, key: str) -> str:
        return f"{self._path}/{quote(key, safe='')}"
