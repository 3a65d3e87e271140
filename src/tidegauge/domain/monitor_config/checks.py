"""What a configuration must fulfil: every rule, each error with its dotted field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from tidegauge.domain.monitor_config.parts import Tolerances
from tidegauge.errors import FieldError

if TYPE_CHECKING:
    from tidegauge.domain.monitor_config import MonitorConfig

#: The least and the largest value of every number.
RANGES: Mapping[str, tuple[float, float]] = {
    "frequency_minutes": (1, 1440),
    "minimum_samples": (1, 1_000_000),
    "health.frequency_minutes": (1, 1440),
    "drift.custom.version": (1, 1_000_000),
    "drift.predict_version": (1, 1_000_000),
    "drift.image.height": (8, 8192),
    "drift.image.width": (8, 8192),
    "drift.image.channels": (1, 3),
    "drift.train_data.version": (1, 1_000_000),
    "performance.custom.version": (1, 1_000_000),
    "performance.dataset_version": (1, 1_000_000),
    "evidence.alpha": (1e-9, 0.5),
    "evidence.life": (1000, 1_000_000_000),
    "evidence.minimum_effect": (0.0, 10.0),
    "evidence.tolerances.jpeg_quality": (1, 100),
    "evidence.tolerances.brightness": (0.0, 0.5),
    "evidence.tolerances.contrast": (0.0, 0.5),
    "evidence.tolerances.rotation_degrees": (0.0, 45.0),
    "evidence.tolerances.zoom": (0.0, 0.5),
    "evidence.tolerances.noise": (0.0, 50.0),
    "evidence.per_source.gap": (1, 1_000_000),
    "time.grace_seconds": (0, 86_400),
    "time.clock_skew_seconds": (0, 86_400),
}
_NAMES = ("drift.train_data.dataset", "drift.custom.code", "performance.custom.code")
_COLUMNS = ("groundtruth_column", "prediction_column", "timestamp_column")
_FUNCTION = re.compile(r"(?!/)[^:]+\.py:[A-Za-z_]\w*")
_ATTRIBUTE = re.compile(r"[a-z0-9]+")


def value_at(config: MonitorConfig, name: str) -> Any:
    """Return the value of a dotted field; None where it, or what it is part of, is not given."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def check_fields(config: MonitorConfig) -> list[FieldError]:
    """Return everything that is wrong with the values, by themselves and beside each other."""
    return [*_numbers(config), *_texts(config), *_switches(config), *_inputs(config), *_answers(config)]


def _numbers(config: MonitorConfig) -> Iterator[FieldError]:
    for name, (low, high) in RANGES.items():
        value = value_at(config, name)
        if value is not None and not low <= value <= high:
            kind = "whole number" if isinstance(low, int) else "number"
            yield FieldError(name, f"{name} is {value}; give a {kind} from {low} to {high}.")


def _texts(config: MonitorConfig) -> Iterator[FieldError]:
    if config.time_zone not in available_timezones():
        yield FieldError(
            "time_zone", f"time_zone is {config.time_zone!r}; use an IANA name such as Europe/Berlin."
        )
    for name in ("drift.predict_prefix", "performance.prefix"):
        value = value_at(config, name)
        if value.startswith("/") or ".." in value.split("/"):
            yield FieldError(
                name,
                f"{name} is {value!r}; give a path in the store without a leading '/' and without '..'.",
            )
    for name in _NAMES:
        value = value_at(config, name)
        if value is not None and not value.strip():
            what = "Dataset" if name.endswith("dataset") else "Code repository"
            yield FieldError(name, f"{name} is empty; name the {what}.")
    for name in ("drift.custom.function", "performance.custom.function"):
        value = value_at(config, name)
        if value is not None and (not _FUNCTION.fullmatch(value) or ".." in value.split("/")):
            yield FieldError(
                name, f"{name} is {value!r}; give file and function, such as metrics/drift.py:score."
            )
    for name in ("segments", "evidence.per_source.attribute"):
        value = value_at(config, name)
        if value is not None and not _ATTRIBUTE.fullmatch(value) and (value or name != "segments"):
            yield FieldError(
                name,
                f"{name} is {value!r}; name an attribute of the events, of a-z and 0-9, such as hospital.",
            )
    yield from _columns(config)


def _columns(config: MonitorConfig) -> Iterator[FieldError]:
    seen: dict[str, str] = {}
    for column in _COLUMNS:
        name, value = f"performance.{column}", getattr(config.performance, column)
        if not value.strip():
            yield FieldError(name, f"{name} is empty; name the column.")
        elif value in seen:
            yield FieldError(
                name, f"{name} is {value!r}, and so is {seen[value]}; each needs a column of its own."
            )
        seen.setdefault(value, name)


def _switches(config: MonitorConfig) -> Iterator[FieldError]:
    """What is needed for one choice, and makes no sense with another."""
    drift, performance = config.drift, config.performance
    for name, given, choice, wanted in (
        ("drift.custom", drift.custom is not None, "drift.algorithm", "custom"),
        ("performance.custom", performance.custom is not None, "performance.compute", "custom"),
        ("drift.predict_dataset", bool(drift.predict_dataset), "drift.predict_data", "dataset"),
    ):
        chosen = value_at(config, choice)
        if chosen == wanted and not given:
            yield FieldError(name, f"{name} is missing; {choice}: {wanted} needs it.")
        elif given and chosen != wanted:
            yield FieldError(
                name, f"{name} is given, but {choice} is {chosen}; leave it out or choose {wanted}."
            )
    if performance.dataset_version is not None and not performance.dataset:
        yield FieldError(
            "performance.dataset_version",
            f"performance.dataset_version is {performance.dataset_version}, but there is no "
            "performance.dataset; name it.",
        )
    for name, is_given in (
        ("drift.predict_prefix", bool(drift.predict_prefix)),
        ("drift.predict_version", drift.predict_version is not None),
    ):
        if is_given and drift.predict_data != "dataset":
            yield FieldError(
                name,
                f"{name} is given, but drift.predict_data is {drift.predict_data}; "
                "leave it out or choose dataset.",
            )


def _inputs(config: MonitorConfig) -> Iterator[FieldError]:
    drift = config.drift
    if config.input_data_type == "image":
        if drift.algorithm == "chi_squared":
            yield FieldError(
                "drift.algorithm",
                "drift.algorithm is chi_squared, which compares categories, and an image is none; "
                "use kolmogorov_smirnov_and_chi_squared or auto.",
            )
        if drift.algorithm == "custom" and not config.keep_images:
            yield FieldError(
                "keep_images",
                "keep_images is False, but drift.algorithm is custom, and its function needs images.",
            )
        if drift.predict_data == "dataset" and not config.keep_images:
            yield FieldError(
                "keep_images",
                "keep_images is False, but drift.predict_data is dataset, whose files are not ours to "
                "change; use true.",
            )
        return
    train = drift.train_data
    for name, given in (
        ("drift.image", drift.image is not None),
        ("drift.train_data.images_saved_as", train is not None and train.images_saved_as is not None),
        ("evidence.tolerances", config.evidence.tolerances != Tolerances()),
        ("keep_images", not config.keep_images),
    ):
        if given:
            yield FieldError(
                name,
                f"{name} is about images, but input_data_type is {config.input_data_type}; leave it out.",
            )


def _answers(config: MonitorConfig) -> Iterator[FieldError]:
    performance = config.performance
    if not performance.positive:
        return
    name = "performance.positive"
    if config.model_type == "regression":
        yield FieldError(
            name, f"{name} is {performance.positive!r}, but a regression has no classes; leave it out."
        )
    elif performance.compute != "labelled_data":
        yield FieldError(
            name,
            f"{name} is {performance.positive!r}, but performance.compute is {performance.compute}, which "
            "takes no heed of it; leave it out.",
        )
