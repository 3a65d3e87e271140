"""The form of an alert: what a rule looks like as typed, and the rule that what was typed makes.

Conditions are rows. Each has a key of its own that it keeps when others go, so that what was typed stays with
its row: ``row`` lists the keys, and the fields of one are ``conditions.<key>.<field>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from tidegauge.domain.alert import AlertRule, Condition, Operator, Subject
from tidegauge.domain.metrics import COMPUTED, EXPECTED, HEALTH, REGRESSION, MetricType
from tidegauge.domain.monitor import PREDICTION, Monitor
from tidegauge.domain.retraining import PipelineChoice, RetrainAction
from tidegauge.domain.status import Status
from tidegauge.errors import FieldError, InvalidInputError, TidegaugeError
from tidegauge.ui.forms import Form, parse

OTHER, MIXED = "-other-", "mixed"  # a metric that is typed; rows that are based on different things
_MOST_ROWS = 50
_USUAL = {"operator": Operator.GREATER_EQUAL.value, "status": Status.CRITICAL.value}  # of a fresh row
_PLACES = {"name": "metric"}  # where a row's field is called otherwise than the domain's


def metrics_of(monitor: Monitor) -> dict[MetricType, tuple[str, ...]]:
    """Return the metrics that each type of alert can be about."""
    config = monitor.config
    columns = tuple(feature.name for feature in monitor.inputs(selected=True))
    inputs = ("image",) if config.input_data_type == "image" else columns
    if config.performance.compute != "labelled_data":
        measured = COMPUTED
    elif config.model_type == "regression":
        measured = REGRESSION
    else:
        measured = (COMPUTED | EXPECTED) - REGRESSION
    return {
        MetricType.DRIFT: (*inputs, PREDICTION),
        MetricType.PERFORMANCE: tuple(sorted(measured)),
        MetricType.HEALTH: tuple(sorted(HEALTH)),
    }


def segments_of(monitor: Monitor) -> tuple[str, ...]:
    """Return the segments that a monitor has seen."""
    return tuple(monitor.evidence.segments) if monitor.evidence else ()


def keys(form: Form) -> tuple[str, ...]:
    """Return the keys of the rows; a form that was not sent yet has one."""
    return tuple(key for key in form.all("row") if key.isdecimal()) or ("0",)


def rearranged(form: Form) -> Form | None:
    """Return the form with a row more or less where a button asked for that, else None."""
    known = keys(form)
    fresh = str(max(map(int, known)) + 1)
    if "add" in form.values:
        after = (*known, fresh)[:_MOST_ROWS]
    elif "remove" in form.values:
        after = tuple(key for key in known if key != form.text("remove")) or (fresh,)
    else:
        return None
    usual = {f"conditions.{fresh}.{name}": (text,) for name, text in _USUAL.items()}
    return replace(form, values={**form.values, **usual, "row": after})


def form_of(rule: AlertRule, monitor: Monitor) -> Form:
    """Return the form that a rule would have been typed into."""
    subjects = {condition.on for condition in rule.conditions}
    based_on = next(iter(subjects)).value if len(subjects) == 1 else MIXED
    known = metrics_of(monitor)[rule.type]
    values: dict[str, Iterable[Any]] = {
        "name": [rule.name],
        "type": [rule.type.value],
        "based_on": [based_on],
        "combine": [rule.combine.value],
        "breaches": [rule.breaches],
        "repeat_minutes": [rule.repeat_minutes],
        "severity": [rule.severity.value],
        "tags": [", ".join(rule.tags)],
        "channels": rule.channels,
        "row": range(len(rule.conditions)),
        **({"tell_resolved": ["true"]} if rule.tell_resolved else {}),
        **(_texts_of_action(rule.retrain) if rule.retrain else {}),
    }
    for key, condition in enumerate(rule.conditions):
        texts = _texts_of(condition, known)
        values |= {f"conditions.{key}.{name}": [text] for name, text in texts.items() if text is not None}
    return Form({name: tuple(map(str, texts)) for name, texts in values.items()})


def read(form: Form) -> AlertRule:
    """Return the rule that was typed; InvalidInputError with all that is wrong, at its field."""
    errors: list[FieldError] = []
    conditions = []
    for key in _filled(form):
        try:
            condition = parse(Condition, _condition(form, key))
            condition.check()
            conditions.append(condition)
        except InvalidInputError as error:
            errors += (_at(key, item) for item in error.errors)
    try:
        rule = parse(AlertRule, _rule(form))
        if rule.retrain:
            errors += (_renamed(item, f"retrain.{item.field}") for item in rule.retrain.errors())
    except InvalidInputError as error:
        errors += error.errors
    if errors:
        raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))
    return replace(rule, conditions=tuple(conditions))


def placed(form: Form, error: TidegaugeError) -> TidegaugeError:
    """Return an error whose fields are those of the form: what is wrong with one condition, at its row."""
    return type(error)(error.message, tuple(_placed(form, item) for item in error.errors))


def _placed(form: Form, error: FieldError) -> FieldError:
    rows = _filled(form)
    if error.field == "surely":
        wrong = [key for key in rows if form.flag(f"conditions.{key}.surely")]
    elif error.field == "metric":
        wrong = [key for key in rows if error.message.startswith(f"{_metric(form, key)} ")]
    else:
        return error
    return _at((*wrong, *rows)[0], error)


def _filled(form: Form) -> tuple[str, ...]:
    """Return the keys of the rows that say something; the first, where none does."""
    said = tuple(
        key
        for key in keys(form)
        if _subject(form, key) not in ("", Subject.METRIC)
        or _metric(form, key)
        or form.text(f"conditions.{key}.bound")
    )
    return said or keys(form)[:1]


def _subject(form: Form, key: str) -> str:
    based_on = form.text("based_on", Subject.METRIC)
    return form.text(f"conditions.{key}.on", Subject.METRIC) if based_on == MIXED else based_on


def _metric(form: Form, key: str) -> str:
    chosen = form.text(f"conditions.{key}.metric")
    return form.text(f"conditions.{key}.other") if chosen == OTHER else chosen


def _condition(form: Form, key: str) -> dict[str, str]:
    """Return what a row says of the thing that it is based on; the rest of it does not show."""
    subject, row = _subject(form, key), f"conditions.{key}."
    texts = {"on": subject, "operator": form.text(f"{row}operator")}
    if subject == Subject.METRIC:
        texts |= {"name": _metric(form, key), "surely": form.text(f"{row}surely")}
    if subject == Subject.STATUS:
        texts["status"] = form.text(f"{row}status")
    else:
        texts["bound"] = _number(form.text(f"{row}bound"))
    if subject != Subject.QUIET:
        texts["segment"] = form.text(f"{row}segment")
    return {name: text for name, text in texts.items() if text}


def _number(text: str) -> str:
    try:
        float(text or 0)
    except ValueError as error:
        raise InvalidInputError.of("bound", f"bound is {text!r}; give a number such as 0.85.") from error
    return text


def _rule(form: Form) -> dict[str, Any]:
    """Return everything but the conditions."""
    names = ("name", "type", "combine", "breaches", "repeat_minutes", "severity")
    return {
        "name": "",
        **{name: text for name in names if (text := form.text(name))},
        "conditions": (),
        "tell_resolved": form.flag("tell_resolved"),
        "tags": tuple(tag for part in form.text("tags").split(",") if (tag := part.strip())),
        "channels": form.all("channels"),
        "retrain": _action(form) if form.flag("retrain") else None,
    }


def _action(form: Form) -> dict[str, Any]:
    """Return the retraining that was asked for; without a Code or a Dataset chosen that part is left out."""
    found = form.nested("retrain.")
    if "code" in (pipeline := found.get("pipeline", {})):
        pipeline["parameters"] = _pairs(pipeline.get("parameters", ""))
    else:
        found.pop("pipeline", None)
    if "dataset" not in found.get("held_out", {}):
        found.pop("held_out", None)
    return found


def _pairs(text: str) -> dict[str, str]:
    """Read a parameter of a pipeline from each line."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, separator, value = line.partition("=")
        if not separator:
            field = "retrain.pipeline.parameters"
            raise InvalidInputError.of(field, f"{field} has the line {line!r}; write name=value on each.")
        found[name.strip()] = value.strip()
    return found


def _texts_of(condition: Condition, known: tuple[str, ...]) -> Mapping[str, Any]:
    listed = condition.name in (*known, "*")
    return {
        "on": condition.on.value,
        "metric": condition.name if listed else OTHER if condition.name else "",
        "other": "" if listed else condition.name,
        "operator": condition.operator.value,
        "bound": None if condition.bound is None else f"{condition.bound:.15g}",
        "status": condition.status.value if condition.status else None,
        "surely": "true" if condition.surely else None,
        "segment": condition.segment,
    }


def _texts_of_action(action: RetrainAction) -> dict[str, Iterable[Any]]:
    parts: dict[str, Any] = {
        f"retrain.{part.name}": getattr(action, part.name)
        for part in fields(action)
        if part.name not in ("pipeline", "held_out")
    }
    if action.pipeline:
        parts |= {f"retrain.pipeline.{name}": text for name, text in _texts_of_pipeline(action.pipeline)}
    if action.held_out:
        parts["retrain.held_out.dataset"] = action.held_out.dataset
        parts["retrain.held_out.version"] = action.held_out.version
    return {"retrain": ["true"], **{name: [value] for name, value in parts.items()}}


def _texts_of_pipeline(pipeline: PipelineChoice) -> Iterable[tuple[str, Any]]:
    yield "code", pipeline.code
    yield "code_version", pipeline.code_version or ""
    yield "file", pipeline.file
    yield "parameters", "\n".join(f"{name}={value}" for name, value in pipeline.parameters.items())


def _at(key: str, error: FieldError) -> FieldError:
    return _renamed(error, f"conditions.{key}.{_PLACES.get(error.field, error.field)}")


def _renamed(error: FieldError, name: str) -> FieldError:
    """Put an error to another field, which its sentence begins with as pages expect it."""
    begins = error.message.startswith(f"{error.field} ")
    return FieldError(name, f"{name}{error.message.removeprefix(error.field)}" if begins else error.message)
