"""Update Schema: the features of a monitor, in a dialog that stays open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import Response

from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, ValueType
from tidegauge.domain.users import Principal
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.ui.forms import Filled, Form, parse, seen
from tidegauge.ui.site import Pages, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

_SCHEMA = "monitors/schema.html"
_KINDS = {
    FeatureKind.INPUT: "Input Feature",
    FeatureKind.PREDICTION: "Prediction Output",
    FeatureKind.TIMESTAMP: "Timestamp",
    FeatureKind.ROW_ID: "Row ID",
}
_VALUES = {ValueType.CATEGORICAL: "Categorical", ValueType.CONTINUOUS: "Continuous"}
_ADD = Form({"adding": ("true",), "kind": (FeatureKind.PREDICTION,), "value_type": (ValueType.CATEGORICAL,)})

router = Pages(prefix="/monitors/{monitor_id}/schema")


@router.get("")
def schema_dialog(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return _show(caller, monitor, Form(), "")


@router.post("")
def change_schema(caller: Caller, services: Everything, monitor_id: str, form: Filled) -> Response:
    """Open the row for a new feature, add it, remove a feature, or select some of them."""
    monitor = services.monitors.get(caller, monitor_id)
    if form.text("do") == "open":
        return _show(caller, monitor, replace(form, values={**form.values, **_ADD.values}), "")
    try:
        changed, told = _change(caller, services, monitor, form)
    except TidegaugeError as error:
        return refuse(_SCHEMA, form, error, **_values(caller, monitor, ""))
    return _show(caller, changed, Form(), told)


def _change(caller: Principal, services: Services, monitor: Monitor, form: Form) -> tuple[Monitor, str]:
    """Do what the button says; return the monitor as it is then, and what was done."""
    removed = form.text("remove")
    if removed:
        return services.monitors.remove_feature(monitor, removed, caller.name), f"{removed} was removed."
    if form.text("do") == "select":
        form.check_seen(seen(monitor.schema))
        chosen = frozenset(form.all("selected"))
        schema = tuple(
            replace(feature, selected=feature.name in chosen) if _can_be_left_out(feature) else feature
            for feature in monitor.schema
        )
        return services.monitors.set_schema(monitor, schema, caller.name), "The selection was saved."
    name = form.text("name")
    if not name:
        raise InvalidInputError.of("name", "name is missing; name the feature.")
    given = {field: form.text(field) for field in ("name", "kind", "value_type")}
    return services.monitors.add_feature(monitor, parse(Feature, given), caller.name), f"{name} was added."


def _can_be_left_out(feature: Feature) -> bool:
    """Tell whether a feature is one that has a score of its own."""
    return feature.kind in (FeatureKind.INPUT, FeatureKind.PREDICTION)


def _show(caller: Principal, monitor: Monitor, form: Form, told: str) -> Response:
    return render(_SCHEMA, form=form, **_values(caller, monitor, told))


def _values(caller: Principal, monitor: Monitor, told: str) -> dict[str, Any]:
    return {
        "user": caller,
        "monitor": monitor,
        "seen": seen(monitor.schema),
        "unmet": monitor.unmet(),
        "told": told,
        "kinds": _KINDS,
        "values": _VALUES,
        "leavable": [feature.name for feature in monitor.schema if _can_be_left_out(feature)],
    }
