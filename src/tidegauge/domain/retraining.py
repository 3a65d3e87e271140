"""Retrainings: from labelled live data to a candidate, a comparison and a decision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum

from tidegauge.domain.strict import STRICT
from tidegauge.errors import ConflictError, FieldError, InvalidInputError

#: Metrics whose paired difference has an interval that holds for few disagreements, too.
METRICS = ("accuracy", "balanced_accuracy", "recall", "specificity")


class RetrainingState(StrEnum):
    COLLECTING = "collecting"  # labelled live images, into a new version of the training data
    TRAINING = "training"
    COMPARING = "comparing"
    WAITING = "waiting"  # for the decision of a person
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return not _NEXT[self]


_NEXT: Mapping[RetrainingState, frozenset[RetrainingState]] = {
    RetrainingState.COLLECTING: frozenset(
        {RetrainingState.TRAINING, RetrainingState.REFUSED, RetrainingState.FAILED}
    ),
    RetrainingState.TRAINING: frozenset(
        {RetrainingState.COMPARING, RetrainingState.REFUSED, RetrainingState.FAILED}
    ),
    RetrainingState.COMPARING: frozenset(
        {
            RetrainingState.WAITING,
            RetrainingState.PROMOTING,
            RetrainingState.REFUSED,
            RetrainingState.FAILED,
        }
    ),
    RetrainingState.WAITING: frozenset({RetrainingState.PROMOTING, RetrainingState.REFUSED}),
    RetrainingState.PROMOTING: frozenset({RetrainingState.PROMOTED, RetrainingState.FAILED}),
    RetrainingState.PROMOTED: frozenset(),
    RetrainingState.REFUSED: frozenset(),
    RetrainingState.FAILED: frozenset(),
}


def check_step(before: RetrainingState, after: RetrainingState) -> None:
    """Raise ConflictError where the state machine has no such step."""
    if after not in _NEXT[before]:
        raise ConflictError(f"The retraining is {before.value}; from there it cannot become {after.value}.")


class Promote(StrEnum):
    ASK = "ask"
    AUTO = "auto"


@dataclass(frozen=True)
class DatasetVersion:
    """A version of a Dataset."""

    __pydantic_config__ = STRICT
    dataset: str
    version: int

    def __str__(self) -> str:
        return f"{self.dataset} v{self.version}"


@dataclass(frozen=True)
class PipelineChoice:
    """A pipeline file of a Code; without a version the newest that is ready."""

    __pydantic_config__ = STRICT
    code: str
    code_version: int | None = None
    file: str = "pipeline.py"
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class RetrainingRule:
    """How to retrain, and when the candidate may be promoted.

    ``pipeline`` left out: the one that trained the model last. ``held_out`` left out: as in the monitor's
    last retraining. The candidate passes if the 95% interval of its ``metric`` less that of the serving
    version lies above -``margin``.
    """

    __pydantic_config__ = STRICT
    pipeline: PipelineChoice | None = None
    held_out: DatasetVersion | None = None
    promote: Promote = Promote.ASK
    metric: str = "accuracy"
    margin: float = 0.02

    def errors(self) -> list[FieldError]:
        """Return every field that has a wrong value."""
        found = []
        if self.metric not in METRICS:
            found.append(FieldError("metric", f"metric is {self.metric!r}; use one of {', '.join(METRICS)}."))
        if not 0 <= self.margin <= 0.5:
            found.append(FieldError("margin", f"margin is {self.margin}; give a number from 0 to 0.5."))
        for key, value in (self.pipeline.parameters if self.pipeline else {}).items():
            if isinstance(value, float) and not math.isfinite(value):
                name = f"pipeline.parameters.{key}"
                found.append(FieldError(name, f"{name} is {value}; give a finite number."))
        return found

    def check(self) -> None:
        """Raise InvalidInputError with every field that has a wrong value."""
        errors = self.errors()
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))


@dataclass(frozen=True)
class RetrainingPlan(RetrainingRule):
    """What one retraining was asked to do: with labelled live images from ``start`` to ``end``."""

    start: datetime | None = None
    end: datetime | None = None
    note: str = ""


@dataclass(frozen=True)
class RetrainAction(RetrainingRule):
    """Start a retraining when an alert fires, with the live data of the ``days`` before.

    None is started while one is under way, nor within ``pause_hours`` after the last one began.
    """

    days: int = 30
    pause_hours: float = 24.0

    def errors(self) -> list[FieldError]:
        found = super().errors()
        if not 1 <= self.days <= 3650:
            found.append(FieldError("days", f"days is {self.days}; give a whole number from 1 to 3650."))
        if not 0 <= self.pause_hours <= 87_600:
            found.append(
                FieldError(
                    "pause_hours", f"pause_hours is {self.pause_hours}; give a number from 0 to 87600."
                )
            )
        return found

    @property
    def text(self) -> str:
        """The action in words."""
        held_out = f"compared on {self.held_out}" if self.held_out else "compared on what was held out last"
        pipeline = f"{self.pipeline.code}:{self.pipeline.file}" if self.pipeline else "the last pipeline"
        return (
            f"{pipeline} on {self.days} days, {held_out} by {self.metric} with margin {self.margin:g}, "
            f"{self.promote.value}, pause of {self.pause_hours:g} hours"
        )

    def plan(self, now: datetime) -> RetrainingPlan:
        """Return what to do when the alert fires now."""
        shared = {part.name: getattr(self, part.name) for part in fields(RetrainingRule)}
        return RetrainingPlan(**shared, start=now - timedelta(days=self.days), end=now)


@dataclass(frozen=True)
class Collected:
    """What became of the live images of the span.

    ``added`` went into ``data``, the version after ``before``; ``tested`` were kept from it to compare on.
    The others were left out: ``unlabelled`` (no truth), ``ambiguous`` (several requests at one
    time, with labels that disagree), ``unknown_class``, ``held_out`` (in the held-out set), ``known`` (in the
    training data already), ``gone`` (the log has the image no more). ``corrected`` replaced an earlier label,
    and ``withdrawn`` were taken out of the training data, being held out.
    """

    before: DatasetVersion
    events: str  # SHA-256 of the ids of the events that were added
    added: int = 0
    tested: int = 0
    unlabelled: int = 0
    ambiguous: int = 0
    unknown_class: int = 0
    held_out: int = 0
    known: int = 0
    gone: int = 0
    corrected: int = 0
    withdrawn: int = 0
    unit: bool = False  # clients send grey levels from 0 to 1
    data: DatasetVersion | None = None


@dataclass(frozen=True)
class Measured:
    """A metric with its interval; None: nothing to measure."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class PairedMetric:
    """One metric of both models on the same images."""

    name: str
    serving: Measured
    candidate: Measured


@dataclass(frozen=True)
class PairedSet:
    """Both models on one set of images.

    ``difference`` is candidate less serving in the metric of the rule; ``p_value`` that of McNemar's exact
    test on ``better`` and ``worse``: images that only the candidate, or only the serving version, has right.
    """

    name: str
    images: int
    difference: Measured
    better: int
    worse: int
    p_value: float
    metrics: tuple[PairedMetric, ...] = ()
    judged: bool = True  # false: too few images for the rule to look at


@dataclass(frozen=True)
class Comparison:
    """The candidate beside the serving version, and what the rule says of it."""

    serving: int
    candidate: int
    sets: tuple[PairedSet, ...]
    passes: bool
    reason: str


def judge(rule: RetrainingRule, sets: tuple[PairedSet, ...]) -> tuple[bool, str]:
    """Tell whether the candidate passes on every set, and why, in one sentence."""
    told = [_judge(rule, one) for one in sets if one.judged]
    if not told:
        return False, "There is nothing to compare on."
    failing = [reason for passes, reason in told if not passes]
    if failing:
        return False, f"{'; '.join(failing)}."
    return True, f"{'; '.join(reason for _, reason in told)}."


def _judge(rule: RetrainingRule, one: PairedSet) -> tuple[bool, str]:
    found = one.difference
    if found.value is None or found.low is None or found.high is None:
        return False, f"On {one.name} there is nothing to measure the {_worded(rule.metric)} by"
    what = f"{_worded(rule.metric)} {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    if found.low > -rule.margin:
        better = "better" if found.low > 0 else f"not worse by {rule.margin:g}"
        return True, f"On {one.name} the candidate is surely {better}: {what}, {found.n} images"
    if found.high < -rule.margin or found.high < 0:
        return False, f"On {one.name} the candidate is surely worse: {what}, {found.n} images"
    return False, (
        f"On {one.name} it is not sure that the candidate is not worse by {rule.margin:g}: {what}, "
        f"{found.n} images"
    )


def _worded(metric: str) -> str:
    return metric.replace("_", " ")


@dataclass(frozen=True)
class RetrainingStep:
    """One change of a retraining's state: when, by whom and why."""

    before: RetrainingState
    after: RetrainingState
    by: str
    why: str
    at: datetime


@dataclass(frozen=True)
class Retraining:
    """A new version of training data, a pipeline run on it, and the candidate that came of it.

    ``cause`` is manual, or the name of the alert. ``resume``: the monitor was active when promotion began.
    ``under_way`` is the monitor's id until it has ended: unique, so that there is one at a time.
    """

    id: str
    monitor_id: str
    state: RetrainingState
    by: str
    cause: str
    created_at: datetime
    plan: RetrainingPlan
    model: str = ""
    serving: int | None = None  # version of the model when it began
    collected: Collected | None = None
    pipeline_run: str = ""
    candidate: int | None = None  # version of the model
    comparison: Comparison | None = None
    history: tuple[RetrainingStep, ...] = ()
    progress: str = ""
    message: str = ""
    resume: bool = False
    under_way: str | None = None
    ended_at: datetime | None = None
