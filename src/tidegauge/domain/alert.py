"""Alerts: a user's rules over what a monitor finds."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tidegauge.domain.identity import check_name
from tidegauge.domain.metrics import MetricType, names, never_measured, no_metric
from tidegauge.domain.monitor import Feature, Metric, MonitorRun, SegmentResult, score_names
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.retraining import RetrainAction
from tidegauge.domain.status import Status
from tidegauge.domain.strict import STRICT
from tidegauge.errors import FieldError, InvalidInputError, raise_all

EVERY = "*"  # as the name of a condition: any feature or metric of the alert's type


class Operator(StrEnum):
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="


_COMPARE: Mapping[Operator, Callable[[float, float], bool]] = {
    Operator.LESS: operator.lt,
    Operator.LESS_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_EQUAL: operator.ge,
}
_RANK = {Status.HEALTHY: 0.0, Status.WARNING: 1.0, Status.CRITICAL: 2.0}


class Subject(StrEnum):
    METRIC = "metric"  # a score or a metric, by name
    EVIDENCE = "evidence"  # the natural logarithm of the e-process, or its alarm
    STATUS = "status"  # of the part of the monitor that the alert is about
    QUIET = "quiet"  # minutes without any event


class Combine(StrEnum):
    ALL = "all"
    ANY = "any"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True)
class Condition:
    """``name operator bound``, of a metric, of evidence, of a status, or of the time without events.

    Evidence without a bound means its alarm. A status is compared by rank: healthy, warning, critical.
    ``surely``: the whole confidence sequence must be past the bound, so that noise cannot fire it, and the
    whole of it on the other side before it is over. ``segment`` names the segment that is judged: empty is
    the whole, ``*`` the whole and every segment.
    """

    __pydantic_config__ = STRICT
    on: Subject = Subject.METRIC
    name: str = ""
    operator: Operator = Operator.GREATER_EQUAL
    bound: float | None = None
    status: Status | None = None
    surely: bool = False
    segment: str = ""

    def errors(self) -> list[FieldError]:
        """Return every field that this kind of condition lacks, or that makes no sense in it."""
        found = []
        if self.on is Subject.METRIC and not self.name.strip():
            found.append(FieldError("metric", "metric is empty; name a metric such as accuracy."))
        if self.on in (Subject.METRIC, Subject.QUIET) and self.bound is None:
            found.append(FieldError("bound", f"bound is missing; a condition on {self.on.value} has one."))
        if self.bound is not None and not math.isfinite(self.bound):
            found.append(FieldError("bound", f"bound is {self.bound}; give a finite number."))
        if self.on is Subject.STATUS and self.status not in _RANK:
            found.append(FieldError("status", "status is missing; use healthy, warning or critical."))
        if self.surely and self.on is not Subject.METRIC:
            found.append(FieldError("surely", "surely is for metrics only; leave it out."))
        if self.segment and self.on is Subject.QUIET:
            found.append(
                FieldError(
                    "segment",
                    f"segment is {self.segment!r}, but minutes without events are the whole's; leave it out.",
                )
            )
        return found

    def check(self) -> None:
        """Raise InvalidInputError with every field that is wrong."""
        raise_all(self.errors())

    @property
    def text(self) -> str:
        """The condition in words."""
        place = {"": "", EVERY: " in any segment"}.get(self.segment, f" in {self.segment}")
        if self.on is Subject.EVIDENCE and self.bound is None:
            return f"drift alarm{place}"
        if self.on is Subject.STATUS:
            return f"status {self.operator.value} {self.status.value if self.status else ''}{place}"
        name = {Subject.EVIDENCE: "evidence", Subject.QUIET: "minutes without events"}.get(self.on, self.name)
        return f"{name} {'surely ' if self.surely else ''}{self.operator.value} {self.bound:g}{place}"

    def holds(self, run: MonitorRun, type_: MetricType) -> tuple[bool | None, float | None]:
        """Tell whether it holds in ``run`` and at which value.

        None: there is nothing to judge, or it is undecided: the bound is within the confidence sequence.
        """
        judged = self._judged(run, type_)
        for wanted in (True, None, False):  # what is undecided is not over
            for verdict, value, _ in judged:
                if verdict is wanted:
                    return verdict, value
        return None, None

    def where(self, run: MonitorRun, type_: MetricType) -> tuple[str, ...]:
        """Return the segments that it holds in; the whole is none."""
        return tuple(dict.fromkeys(name for verdict, _, name in self._judged(run, type_) if verdict and name))

    def _judged(self, run: MonitorRun, type_: MetricType) -> list[tuple[bool | None, float, str]]:
        """Judge what there is to judge: verdict, value and segment of each."""
        parts: dict[str, MonitorRun | SegmentResult] = {"": run, **{one.name: one for one in run.segments}}
        names = list(parts) if self.segment == EVERY else [name for name in (self.segment,) if name in parts]
        found = [
            (verdict, value, name)
            for name in names
            for verdict, value in self._of_part(parts[name], type_, run.quiet_minutes)
        ]
        return [(verdict, value, name) for verdict, value, name in found if value is not None]

    def _of_part(
        self, part: MonitorRun | SegmentResult, type_: MetricType, quiet: float | None
    ) -> list[tuple[bool | None, float | None]]:
        if self.on is Subject.METRIC:
            metrics = (m for m in part.metrics if m.type is type_ and self.name in (m.name, EVERY))
            return [self._judge(metric) for metric in metrics]
        if self.on is Subject.STATUS:
            rank = _RANK.get(part.part(type_))
            wanted = _RANK[self.status or Status.HEALTHY]
            return [] if rank is None else [(self._compare(rank, wanted), rank)]
        if self.on is Subject.QUIET:
            return [self._bounded(quiet)]
        if part.evidence is None:
            return []
        alarmed = part.evidence.alarm, part.evidence.log_e
        return [alarmed if self.bound is None else self._bounded(part.evidence.log_e)]

    def _judge(self, metric: Metric) -> tuple[bool | None, float | None]:
        if not self.surely:
            return self._bounded(metric.value)
        upwards = self.operator in (Operator.GREATER, Operator.GREATER_EQUAL)
        ends = (metric.surely_low, metric.surely_high)
        sure, likely = (self._bounded(end)[0] for end in (ends if upwards else ends[::-1]))
        if sure is None or likely is None:
            return None, None
        return (sure if sure == likely else None), metric.value

    def _bounded(self, value: float | None) -> tuple[bool | None, float | None]:
        if value is None or self.bound is None:
            return None, None
        return self._compare(value, self.bound), value

    def _compare(self, value: float, bound: float) -> bool:
        return _COMPARE[self.operator](value, bound)


@dataclass(frozen=True)
class AlertRule:
    """Fires once its conditions hold in ``breaches`` windows in a row, resolves once they no longer do.

    What it tells goes to ``channels`` (names), and again every ``repeat_minutes`` (0: never) while it fires.
    With ``retrain`` a retraining begins when it fires.
    """

    __pydantic_config__ = STRICT
    name: str
    type: MetricType
    conditions: tuple[Condition, ...]
    combine: Combine = Combine.ALL
    breaches: int = 1
    severity: Severity = Severity.WARNING
    tags: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    repeat_minutes: int = 0
    tell_resolved: bool = True
    retrain: RetrainAction | None = None

    def errors(self) -> list[FieldError]:
        """Return everything for which it could never be judged."""
        found: list[FieldError] = []
        try:
            check_name(self.name)
        except InvalidInputError as error:
            found += error.errors
        if not self.conditions:
            found.append(FieldError("conditions", "conditions is empty; give one or more."))
        for number, condition in enumerate(self.conditions):
            # Of one condition everybody knows which is meant.
            where = f"conditions.{number}" if len(self.conditions) > 1 else ""
            found += (error.below(where) for error in condition.errors())
        for name, value, low, high in (
            ("breaches", self.breaches, 1, 1000),
            ("repeat_minutes", self.repeat_minutes, 0, 525_600),
        ):
            if not low <= value <= high:
                message = f"{name} is {value}; give a whole number from {low} to {high}."
                found.append(FieldError(name, message))
        if self.retrain is not None:
            found += (error.below("retrain") for error in self.retrain.errors())
        return found

    def unknown(self, config: MonitorConfig, schema: Iterable[Feature]) -> list[tuple[int, FieldError]]:
        """Return the conditions on metrics that a monitor never has, by their place; they never hold."""
        is_drift = self.type is MetricType.DRIFT
        known = score_names(config, schema) if is_drift else names(self.type)
        what = "score of drift" if is_drift else f"metric of {self.type.value}"
        measured = self.type is MetricType.PERFORMANCE and config.performance.compute == "labelled_data"
        found = []
        for place, condition in enumerate(self.conditions):
            name = condition.name
            if known is None or condition.on is not Subject.METRIC or not name.strip() or name == EVERY:
                continue
            given = {n for n in known if not measured or not never_measured([n], config.model_type)}
            if name in known and measured:
                reason = never_measured([name], config.model_type)
            else:
                reason = no_metric(name, what, given)
            if reason:
                found.append((place, FieldError("metric", reason)))
        return found

    def check(self) -> None:
        """Raise InvalidInputError for a rule that could never be judged, with everything that is wrong."""
        raise_all(self.errors())

    @property
    def text(self) -> str:
        """The conditions in words."""
        joint = " and " if self.combine is Combine.ALL else " or "
        text = joint.join(condition.text for condition in self.conditions)
        return f"{text}, {self.breaches} windows in a row" if self.breaches > 1 else text

    def judge(self, run: MonitorRun) -> tuple[bool | None, float | None]:
        """Tell whether the conditions hold in one run, and a value of theirs; None: nothing to judge."""
        found = [condition.holds(run, self.type) for condition in self.conditions]
        verdicts = [verdict for verdict, _ in found]
        values = [value for verdict, value in found if verdict] or [value for _, value in found]
        value = next((value for value in values if value is not None), None)
        if self.combine is Combine.ANY:
            return (True if True in verdicts else None if None in verdicts else False), value
        return (False if False in verdicts else None if None in verdicts else True), value

    def where(self, run: MonitorRun) -> tuple[str, ...]:
        """Return the segments that its conditions hold in; the whole is none."""
        return tuple(dict.fromkeys(name for one in self.conditions for name in one.where(run, self.type)))

    def fires(self, runs: Sequence[MonitorRun]) -> bool:
        """Tell whether it fires at the last of these windows, which are in order of time."""
        verdicts = [holds for holds, _ in map(self.judge, runs) if holds is not None]
        return len(verdicts) >= self.breaches and all(verdicts[-self.breaches :])


@dataclass(frozen=True)
class Alert:
    """A rule of a monitor and where it stands.

    Nothing is told before ``muted_until``. ``judged_until`` is the end of the latest window that could be
    judged; ``firing_since`` the end of the window it fired in, None while it does not.
    """

    id: str
    monitor_id: str
    name: str
    rule: AlertRule
    created_at: datetime
    muted_until: datetime | None = None
    judged_until: datetime | None = None
    firing_since: datetime | None = None
    told_at: datetime | None = None


class Told(StrEnum):
    FIRED = "fired"
    REPEATED = "repeated"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class AlertEvent:
    """What an alert has told: in which run, at which value. ``late``: of a window that was run again."""

    id: str
    alert_id: str
    monitor_id: str
    run_id: str
    name: str
    rule: str
    value: float
    at: datetime  # end of the window
    told: Told = Told.FIRED
    severity: Severity = Severity.WARNING
    summary: str = ""
    late: bool = False
    tags: tuple[str, ...] = field(default=())
