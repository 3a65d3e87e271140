"""Monitors as files: read, compared with the server, carried out, written back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from pydantic_core import to_jsonable_python

from tidegauge.client.reading import read, short
from tidegauge.domain.alert import Alert
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import needs_baseline
from tidegauge.domain.monitor_config.file import MonitorFile, compare, file_of
from tidegauge.domain.report import Change
from tidegauge.errors import ConflictError, FieldError, InvalidInputError, NotFoundError, TidegaugeError

if TYPE_CHECKING:
    from tidegauge.client import Client
from tidegauge.typed import adapter

_BOOL, _TIME = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
_CONFIG = "config."


class _Loader(yaml.SafeLoader):
    """Only true and false are booleans: the key ``on`` of a condition, or a class ``NO``, is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _TIME)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Refuse text that is not of its type, such as !!int abc, where PyYAML fails in many ways."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                problem=f"{short(node.value)} cannot be read as {kind}; correct it",
                problem_mark=node.start_mark,
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice, of which YAML would silently take the second."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} is given twice; keep one", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


@dataclass(frozen=True)
class Document:
    """A file that was read: what it wants, where each of its fields stands, and what is wrong with it."""

    wanted: MonitorFile
    name: str
    node: yaml.Node
    errors: tuple[FieldError, ...] = ()

    def refusal(self, errors: Iterable[FieldError]) -> InvalidInputError:
        """Return errors of its fields as one, each with its line."""
        return _refusal(self.name, self.node, errors)


@dataclass(frozen=True)
class Plan:
    """What has to change until the server has what a document wants; ``losses`` says what goes for good."""

    document: Document
    monitor: Monitor | None
    alerts: tuple[Alert, ...]
    changes: tuple[Change, ...]

    @property
    def losses(self) -> tuple[str, ...]:
        found = []
        if self.monitor and self._rebuilds() and (self.stops() or self.monitor.evidence):
            found.append("makes a new baseline, with which evidence begins again")
        gone = [repr(alert.name) for alert in self.alerts if not self._keeps(alert)]
        if gone:
            found.append(f"deletes the alert{'s' * (len(gone) > 1)} {', '.join(gone)} with their record")
        return tuple(found)

    def stops(self) -> bool:
        """Tell whether an active monitor has to stop in between."""
        active = self.monitor is not None and self.monitor.state is MonitorState.ACTIVE
        return active and (self._rebuilds() or bool(self.about("schema.")))

    def about(self, section: str) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.field.startswith(section))

    def _rebuilds(self) -> bool:
        config = self.document.wanted.config
        of_table = config.input_data_type == "tabular" and config.drift.enabled
        needing = needs_baseline(change.field.removeprefix(_CONFIG) for change in self.about(_CONFIG))
        return bool(needing) or (of_table and bool(self.about("schema.")))

    def _keeps(self, alert: Alert) -> bool:
        rules = self.document.wanted.alerts
        return rules is None or alert.name in {rule.name for rule in rules}


def read_document(data: bytes, name: str) -> Document:
    """Read YAML or JSON; InvalidInputError tells everything that is wrong at once, each with its line."""
    document = draft_document(data, name)
    if document.errors:
        raise document.refusal(document.errors)
    return document


def draft_document(data: bytes, name: str) -> Document:
    """Read YAML or JSON that may have errors; InvalidInputError where nothing can be made of it."""
    try:
        loader = _Loader(data)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidInputError.of("file", f"{name}, line {line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError.of("file", f"{name} is no text that can be read: {reason}.") from error
    except RecursionError as error:
        raise InvalidInputError.of("file", f"{name} is nested too deeply; no monitor is.") from error
    if node is None:
        raise InvalidInputError.of("file", f"{name} is empty; it must name a deployment.")
    if not isinstance(value, dict):
        raise InvalidInputError.of("file", f"{name} has no fields; give deployment, config and so on.")
    reading = read(adapter(MonitorFile).validate_python, value)
    errors = tuple(reading.errors())
    if not reading.variants:
        raise _refusal(name, node, errors)
    return Document(reading.variants[0], name, node, errors)


def write_document(file: MonitorFile, schema_url: str = "") -> str:
    """Return a file as YAML; every field stands in it, so that later defaults do not change what it means."""
    values = {key: value for key, value in to_jsonable_python(file).items() if value is not None}
    head = f"# yaml-language-server: $schema={schema_url}\n" if schema_url else ""
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def export(client: Client, key: str) -> MonitorFile:
    """Return a monitor of the server as a file."""
    monitor = client.monitors.get(key)
    return file_of(monitor, tuple(alert.rule for alert in client.monitors.alerts(monitor.id)))


def plan(client: Client, document: Document) -> Plan:
    """Compare a document with the server; InvalidInputError with its errors and what is not there."""
    wanted = document.wanted
    errors = list(document.errors)
    known = [f"{error.field}." for error in errors]
    try:
        errors += (
            error
            for error in _absent(client, wanted)
            if not any(field.startswith(f"{error.field}.") for field in known)
        )
    except TidegaugeError:
        if not errors:  # else these are told though the server cannot be asked
            raise
    if errors:
        raise document.refusal(errors)
    deployment = client.deployments.get(wanted.deployment)
    try:
        monitor = client.monitors.get(deployment.id)
    except NotFoundError:
        return Plan(document, None, (), compare(None, wanted))
    alerts = tuple(client.monitors.alerts(monitor.id))
    now = file_of(monitor, tuple(alert.rule for alert in alerts))
    return Plan(document, monitor, alerts, compare(now, wanted))


def carry_out(client: Client, todo: Plan, wait: Callable[[Monitor], Monitor]) -> Monitor | None:
    """Make the changes of a plan; ``wait`` waits for a baseline. To go on after an error, plan again."""
    if not todo.changes:
        return todo.monitor
    wanted = todo.document.wanted
    before = todo.monitor
    if before and before.state is MonitorState.BASELINING:
        before = wait(before)
    was_active = before is not None and before.state is MonitorState.ACTIVE
    if before and todo.stops():
        client.monitors.stop(before.id)
    monitor = _configure(client, todo, before)
    if monitor.state is MonitorState.BASELINING:
        monitor = wait(monitor)
    if wanted.schema is not None and set(wanted.schema) != set(monitor.schema):
        monitor = client.monitors.set_schema(monitor.id, wanted.schema)
        if monitor.state is MonitorState.BASELINING:
            monitor = wait(monitor)
    if todo.about("thresholds.") and wanted.thresholds is not None:
        client.monitors.set_thresholds(monitor.id, to_jsonable_python(wanted.thresholds))
    if todo.about("alerts."):
        _carry_alerts(client, monitor, todo)
    return _carry_state(client, monitor.id, wanted.state or ("active" if was_active else None))


def _configure(client: Client, todo: Plan, before: Monitor | None) -> Monitor:
    wanted = todo.document.wanted
    try:
        if before is None:
            return client.monitors.create(wanted.deployment, wanted.config)
        if todo.about(_CONFIG):
            return client.monitors.configure(before.id, wanted.config)
    except InvalidInputError as error:
        if not error.errors:
            raise
        raise todo.document.refusal(_of_config(item) for item in error.errors) from error
    if before.state is MonitorState.ERROR and wanted.state:
        return client.monitors.baseline(before.id)
    return client.monitors.get(before.id)


def _carry_alerts(client: Client, monitor: Monitor, todo: Plan) -> None:
    there = {alert.name: alert for alert in todo.alerts}
    rules = {rule.name: rule for rule in todo.document.wanted.alerts or ()}
    for name, rule in rules.items():
        if name not in there:
            client.monitors.add_rule(monitor.id, rule)
        elif there[name].rule != rule:
            client.monitors.change_alert(monitor.id, there[name].id, rule)
    for name, alert in there.items():
        if name not in rules:
            client.monitors.delete_alert(monitor.id, alert.id)


def _carry_state(client: Client, key: str, state: str | None) -> Monitor:
    monitor = client.monitors.get(key)
    if state is None or monitor.state == state:
        return monitor
    if state == "ready" and monitor.state is MonitorState.ACTIVE:
        return client.monitors.stop(key)
    if state == "active" and monitor.state is MonitorState.READY:
        return client.monitors.start(key)
    raise ConflictError(
        f"state is {state} in the file, but the monitor is {monitor.state.value}. {monitor.message}".strip()
    )


def _absent(client: Client, wanted: MonitorFile) -> Iterator[FieldError]:
    """Name what a file speaks of that the server does not have."""
    if wanted.deployment.strip():
        try:
            client.deployments.get(wanted.deployment)
        except NotFoundError as error:
            yield FieldError("deployment", f"deployment: {error.message}")
    train = wanted.config.drift.train_data
    if train and wanted.config.drift.enabled:
        try:
            client.datasets.version(train.dataset, train.version)
        except NotFoundError as error:
            yield FieldError("config.drift.train_data", f"config.drift.train_data: {error.message}")
    rules = wanted.alerts or ()
    channels = {channel.name for channel in client.channels.list()} if any(r.channels for r in rules) else ()
    for number, rule in enumerate(rules):
        for name in rule.channels:
            if name not in channels:
                field = f"alerts.{number}.channels"
                yield FieldError(
                    field, f"{field}: there is no channel {name!r}; add it with: tidegauge channel add {name}"
                )


def _of_config(error: FieldError) -> FieldError:
    """Return an error of a configuration as one of the file that it stands in."""
    if error.field.startswith(_CONFIG):
        return error
    return FieldError(f"{_CONFIG}{error.field}", f"{_CONFIG}{error.message}")


def _refusal(name: str, node: yaml.Node, errors: Iterable[FieldError]) -> InvalidInputError:
    told = tuple(
        FieldError(error.field, f"{name}, line {_line(node, error.field)}: {error.message}")
        for error in errors
    )
    return InvalidInputError(" ".join(error.message for error in told), told)


def _line(node: yaml.Node, field: str) -> int:
    """Return the line, from 1, of a dotted field, or of the innermost part of it that the file has."""
    mark = node.start_mark
    for part in field.split("."):
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            node = node.value[int(part)]
            mark = node.start_mark
        else:
            break
    return mark.line + 1
