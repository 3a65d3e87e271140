"""The form of a monitor's configuration: every field of it, as texts, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from tidegauge.domain.monitor_config import (
    CustomFunction,
    DriftConfig,
    EvidenceConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    PerSource,
    TrainData,
)
from tidegauge.errors import FieldError, InvalidInputError, TidegaugeError
from tidegauge.ui.forms import Form, parse

TABS = ("settings", "health", "drift", "performance")
_CUSTOM = CustomFunction("", 1, "")
_WHOLE = MonitorConfig(
    drift=DriftConfig(custom=_CUSTOM, image=ImageShape(0, 0), train_data=TrainData("", 0)),
    performance=PerformanceConfig(custom=_CUSTOM),
    evidence=EvidenceConfig(per_source=PerSource("", 0)),
)
#: Parts that are there or not; an error of the whole part stands at its first field.
_PARTS = {
    "drift.custom": "drift.custom.code",
    "drift.image": "drift.image.height",
    "drift.train_data": "drift.train_data.dataset",
    "performance.custom": "performance.custom.code",
    "evidence.per_source": "evidence.per_source.attribute",
}
#: Fields that errors of other fields speak of, as the form calls them.
_WORDS = {
    "performance.groundtruth_column": "Groundtruth Column Name",
    "performance.prediction_column": "Prediction Column Name",
    "performance.timestamp_column": "Timestamp Column Name",
    "performance.compute": "Compute Metrics",
    "drift.predict_data": "Dataset Content",
    "drift.algorithm": "Algorithm",
    "input_data_type": "Input Data Type",
}
_SETTINGS = ("model_type", "input_data_type", "frequency_minutes", "time_zone", "minimum_samples", "segments")
_SHAPE = {
    "drift.image.channels": "1",
    "drift.image.channel_order": "channels_last",
}  # where there is none yet


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


#: Every field of the form, which are those that errors name.
FIELDS = tuple(name for name, _ in _leaves(asdict(_WHOLE)))
_BLANK = {name: "" for name, value in _leaves(asdict(_WHOLE)) if not isinstance(value, bool)} | _SHAPE


def filled_with(config: MonitorConfig) -> Form:
    """Return the form of a configuration."""
    texts = {name: (text,) for name, text in _BLANK.items()}
    for name, value in _leaves(asdict(config)):
        if value is True:
            texts[name] = ("true",)
        elif value is not None and value is not False and name in FIELDS:
            texts[name] = (f"{value:g}" if isinstance(value, float) else str(value),)
    return Form(texts)


def read(form: Form) -> MonitorConfig:
    """Build the configuration of what was typed, without what does not apply.

    InvalidInputError names every field that cannot be read, and those of the others that are wrong.
    """
    wanted = _wanted(form)
    try:
        return parse(MonitorConfig, wanted)
    except InvalidInputError as error:
        more = [found for found in _legible(wanted, error).errors() if not _told(found.field, error)]
        errors = (*error.errors, *more)
        raise InvalidInputError(" ".join(found.message for found in errors), errors) from error


def placed(error: TidegaugeError) -> TidegaugeError:
    """Return the error with those of whole parts at a field of theirs, in the words of the form."""
    if not error.errors:
        return error
    return type(error)(error.message, tuple(_placed(found) for found in error.errors))


def _placed(found: FieldError) -> FieldError:
    message = found.message
    for name, word in _WORDS.items():
        if name != found.field:
            message = message.replace(name, word)
    field = _PARTS.get(found.field, found.field)
    return FieldError(field, message.replace(found.field, field, 1))


def wrong_tabs(form: Form) -> list[str]:
    """Return the tabs that have errors, in their order."""
    found = {name.partition(".")[0] for name in form.errors}
    tabs = {name if name in TABS else "settings" for name in found}
    return [tab for tab in TABS if tab in tabs]


def _wanted(form: Form) -> dict[str, Any]:
    given = form.nested()
    is_image = given.get("input_data_type") != "tabular"
    evidence = dict(given.get("evidence", {}))
    tolerances = evidence.pop("tolerances", {})
    if is_image:
        evidence["tolerances"] = {
            **tolerances,
            "jpeg_quality": tolerances.get("jpeg_quality"),
            "resize": form.flag("evidence.tolerances.resize"),
        }
    return {
        **{name: given[name] for name in _SETTINGS if name in given},
        "keep_images": form.flag("keep_images") or not is_image,
        "health": {**given.get("health", {}), "enabled": form.flag("health.enabled")},
        "drift": _drift(given.get("drift", {}), is_image=is_image),
        "performance": _performance(given.get("performance", {}), given.get("model_type") == "regression"),
        "evidence": evidence,
        "time": given.get("time", {}),
    }


def _drift(given: Mapping[str, Any], *, is_image: bool) -> dict[str, Any]:
    if "enabled" not in given:
        return {}
    wanted = dict(given)
    custom, image, train = (wanted.pop(name, {}) for name in ("custom", "image", "train_data"))
    if given.get("algorithm") == "custom":
        wanted["custom"] = custom
    if is_image:
        wanted["image"] = image
    else:
        train.pop("images_saved_as", None)
    wanted["train_data"] = train
    if given.get("predict_data") != "dataset":
        for name in ("predict_dataset", "predict_version", "predict_prefix"):
            wanted.pop(name, None)
    return wanted


def _performance(given: Mapping[str, Any], is_regression: bool) -> dict[str, Any]:
    if "enabled" not in given:
        return {}
    wanted = dict(given)
    compute, custom = given.get("compute"), wanted.pop("custom", {})
    if compute == "custom":
        wanted["custom"] = custom
    if compute == "precomputed_metrics":
        wanted.pop("groundtruth_column", None)
        wanted.pop("prediction_column", None)
    if compute != "labelled_data" or is_regression:
        wanted.pop("positive", None)
    if not given.get("dataset"):
        wanted.pop("dataset_version", None)
    return wanted


def _legible(wanted: Mapping[str, Any], error: TidegaugeError) -> MonitorConfig:
    """Return the configuration without what cannot be read: a part that has such a field is left out."""
    rest = deepcopy(dict(wanted))
    for found in error.errors:
        part = next((part for part in _PARTS if found.field.startswith(f"{part}.")), found.field)
        *above, last = part.split(".")
        place = rest
        for name in above:
            place = place.get(name, {})
        place.pop(last, None)
    return parse(MonitorConfig, rest)


def _told(field: str, error: TidegaugeError) -> bool:
    """Tell whether an error is of a field, or of a part of it."""
    return any(f"{found.field}.".startswith(f"{field}.") for found in error.errors)
