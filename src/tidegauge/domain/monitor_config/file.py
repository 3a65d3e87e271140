"""A monitor as a file: what it is to be, with its schema, thresholds and alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from tidegauge.domain.alert import AlertRule
from tidegauge.domain.metrics import MetricType, never_measured
from tidegauge.domain.monitor import Feature, Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.monitor_config.parts import DOCUMENTED
from tidegauge.domain.report import Change
from tidegauge.domain.report_parts import differences
from tidegauge.domain.thresholds import Threshold, parse_thresholds
from tidegauge.errors import FieldError, InvalidInputError


@dataclass(frozen=True)
class Bounds:
    """Past soft the verdict is warning, past hard critical."""

    __pydantic_config__ = DOCUMENTED
    type: MetricType
    """What the feature or metric is of."""
    soft: float
    """Past it: warning."""
    hard: float
    """Past it: critical."""


@dataclass(frozen=True)
class MonitorFile:
    """A monitor. Of the configuration, what is left out has its default; any other section stays as it is."""

    __pydantic_config__ = DOCUMENTED
    deployment: str
    """Name or id of the deployment to watch."""
    config: MonitorConfig = field(default_factory=MonitorConfig)
    """What the monitor is told to do."""
    schema: tuple[Feature, ...] | None = None
    """Every feature; one that is not here is removed."""
    thresholds: Mapping[str, Bounds] | None = None
    """Every threshold, by the name of its feature or metric."""
    alerts: tuple[AlertRule, ...] | None = None
    """Every alert, matched by its name; one that is not here is deleted."""
    state: Literal["ready", "active"] | None = None
    """active: the monitor is started; ready: it is stopped."""

    def errors(self) -> list[FieldError]:
        """Return everything that is wrong with it, as far as that can be told without the server."""
        found = [] if self.deployment.strip() else [FieldError("deployment", "deployment is empty; name it.")]
        found += (error.below("config") for error in self.config.errors())
        if self.state:
            found += (
                FieldError(
                    f"config.{name}", f"config.{name} is missing; give it, or leave out state: {self.state}."
                )
                for name in self.config.missing()
            )
        found += self._schema_errors()
        found += self._threshold_errors()
        found += self._alert_errors()
        return found

    def _schema_errors(self) -> Iterator[FieldError]:
        names = [feature.name for feature in self.schema or ()]
        for number, (name, feature) in enumerate(zip(names, self.schema or (), strict=True)):
            where = f"schema.{number}.name"
            try:
                feature.check()
            except InvalidInputError as error:
                yield from (item.below(f"schema.{number}") for item in error.errors)
                continue
            if name in names[:number]:
                yield FieldError(where, f"{where} is {name!r}, as of another feature; choose another name.")

    def _threshold_errors(self) -> Iterator[FieldError]:
        if self.thresholds is None:
            return
        for name, bounds in self.thresholds.items():
            reason = self._never_measured(name) if bounds.type is MetricType.PERFORMANCE else ""
            if reason:
                yield FieldError(f"thresholds.{name}", f"thresholds.{reason}")
        try:
            parse_thresholds(_plain(self.thresholds))
        except InvalidInputError as error:
            for item in error.errors:
                is_whole = item.field == "thresholds"
                yield item if is_whole else item.below("thresholds")

    def _alert_errors(self) -> Iterator[FieldError]:
        names = [rule.name for rule in self.alerts or ()]
        for number, rule in enumerate(self.alerts or ()):
            where = f"alerts.{number}"
            if rule.name in names[:number]:
                yield FieldError(
                    f"{where}.name",
                    f"{where}.name is {rule.name!r}, as of another alert; choose another name.",
                )
            yield from (error.below(where) for error in rule.errors())
            for place, error in rule.unknown(self.config, self.schema or ()):
                field = f"{where}.conditions.{place}.name"
                yield FieldError(field, f"{field}: {error.message}")

    def _never_measured(self, name: str) -> str:
        """Say why labels never give a metric; what files and functions of users give may be any."""
        if self.config.performance.compute != "labelled_data":
            return ""
        return never_measured([name], self.config.model_type)


def file_of(monitor: Monitor, rules: tuple[AlertRule, ...]) -> MonitorFile:
    """Return a monitor as the file that would make it."""
    states: Mapping[MonitorState, Literal["ready", "active"]] = {
        MonitorState.READY: "ready",
        MonitorState.ACTIVE: "active",
    }
    return MonitorFile(
        monitor.name,
        monitor.config,
        monitor.schema,
        {name: _bounds(threshold) for name, threshold in monitor.thresholds.items()} or None,
        rules,
        states.get(monitor.state),
    )


def compare(now: MonitorFile | None, wanted: MonitorFile) -> tuple[Change, ...]:
    """Name what has to change, field by field, until a monitor is what a file wants; None: there is none yet.

    What is added or removed as a whole is one change, in words.
    """
    found = [] if now else [Change("deployment", None, wanted.deployment)]
    now = now or MonitorFile(wanted.deployment)
    found += (
        Change(f"config.{change.field}", change.before, change.after)
        for change in differences(now.config, wanted.config)
    )
    if wanted.schema is not None:
        found += _differences("schema", _named(now.schema), _named(wanted.schema))
    if wanted.thresholds is not None:
        found += _differences("thresholds", now.thresholds or {}, wanted.thresholds)
    if wanted.alerts is not None:
        found += _differences("alerts", _named(now.alerts), _named(wanted.alerts))
    if wanted.state and wanted.state != now.state:
        found.append(Change("state", now.state, wanted.state))
    return tuple(found)


def _differences(section: str, now: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Change]:
    for name in [*wanted, *(name for name in now if name not in wanted)]:
        before, after = now.get(name), wanted.get(name)
        if before is None or after is None:
            yield Change(f"{section}.{name}", before and _words(before), after and _words(after))
            continue
        for part in fields(before):
            old, new = getattr(before, part.name), getattr(after, part.name)
            if old != new:
                yield Change(f"{section}.{name}.{part.name}", _shown(old), _shown(new))


def _words(item: Feature | Bounds | AlertRule) -> str:
    if isinstance(item, AlertRule):
        return f"{item.type.value}: {item.text}"
    if isinstance(item, Bounds):
        return f"{item.type.value}: soft {item.soft:g}, hard {item.hard:g}"
    return f"{item.kind.value}, {item.value_type.value}{'' if item.selected else ', not selected'}"


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [getattr(item, "text", item) for item in value]
    return getattr(value, "text", value)


def _named(items: tuple[Any, ...] | None) -> dict[str, Any]:
    return {item.name: item for item in items or ()}


def _bounds(threshold: Threshold) -> Bounds:
    return Bounds(threshold.type, threshold.soft, threshold.hard)


def _plain(thresholds: Mapping[str, Bounds]) -> dict[str, Any]:
    return {
        name: {"type": bounds.type.value, "soft": bounds.soft, "hard": bounds.hard}
        for name, bounds in thresholds.items()
    }
