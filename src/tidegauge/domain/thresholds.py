"""Thresholds: soft and hard bounds per feature or metric, and the verdict they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidegauge.domain.metrics import MetricType, larger_is_worse, no_metric
from tidegauge.domain.metrics import names as metric_names
from tidegauge.domain.status import Status
from tidegauge.errors import FieldError, InvalidInputError

_FIELDS = ("type", "soft", "hard")


@dataclass(frozen=True)
class Threshold:
    """Past ``soft`` the verdict is warning, past ``hard`` critical; which way is worse is the metric's."""

    name: str
    type: MetricType
    soft: float
    hard: float


def parse_thresholds(data: bytes | str | Mapping[str, Any]) -> dict[str, Threshold]:
    """Read ``{name: {"type", "soft", "hard"}}``; InvalidInputError lists everything that is wrong at once."""
    entries = data
    if isinstance(data, bytes | str):
        try:
            entries = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError.of(
                "thresholds", f"The thresholds are not valid JSON: {error}."
            ) from error
    if not isinstance(entries, Mapping) or not entries:
        raise InvalidInputError.of(
            "thresholds", 'The thresholds must be an object such as {"image": {"type": "drift", ...}}.'
        )
    errors: list[FieldError] = []
    found: dict[str, Threshold] = {}
    for name, entry in entries.items():
        wrong = _check(name, entry)
        errors += wrong
        if not wrong:
            found[name] = Threshold(
                name, MetricType(entry["type"]), float(entry["soft"]), float(entry["hard"])
            )
    if errors:
        raise InvalidInputError(" ".join(error.message for error in errors), tuple(errors))
    return found


def _check(name: object, entry: object) -> list[FieldError]:
    if not isinstance(name, str) or not name.strip():
        return [FieldError("thresholds", f"A threshold has the name {name!r}; name a feature or a metric.")]
    if not isinstance(entry, Mapping):
        return [FieldError(name, f"{name} is {entry!r}; give an object with type, soft and hard.")]
    errors = [
        FieldError(f"{name}.{key}", f"{name}.{key} is unknown; use only type, soft and hard.")
        for key in entry
        if key not in _FIELDS
    ]
    types = [kind.value for kind in MetricType]
    if entry.get("type") not in types:
        errors.append(
            FieldError(f"{name}.type", f"{name}.type is {entry.get('type')!r}; use {', '.join(types)}.")
        )
    else:
        errors += _check_name(name, MetricType(entry["type"]))
    errors += [
        FieldError(f"{name}.{key}", f"{name}.{key} is {entry.get(key)!r}; give a finite number.")
        for key in ("soft", "hard")
        if not _is_number(entry.get(key))
    ]
    return errors or _check_order(name, MetricType(entry["type"]), entry["soft"], entry["hard"])


def _check_name(name: str, kind: MetricType) -> list[FieldError]:
    """A threshold on a metric that does not exist would never be judged, and nobody would notice."""
    known = metric_names(kind)
    reason = "" if known is None else no_metric(name, f"{kind.value} metric", known)
    return [FieldError(name, reason)] if reason else []


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False


def _check_order(name: str, kind: MetricType, soft: float, hard: float) -> list[FieldError]:
    upwards = larger_is_worse(name, kind)
    if (soft <= hard) if upwards else (soft >= hard):
        return []
    way = "larger" if upwards else "smaller"
    return [
        FieldError(
            f"{name}.hard",
            f"{name} has soft {soft:g} and hard {hard:g}, but for {name} {way} is worse, "
            f"so soft must not be {'above' if upwards else 'below'} hard; swap them.",
        )
    ]


def evaluate(value: float | None, threshold: Threshold, n: int, minimum: int) -> Status:
    """Judge a value from ``n`` samples; with fewer than ``minimum`` (or no value) the verdict is unknown."""
    if value is None or not math.isfinite(value) or n < minimum:
        return Status.UNKNOWN
    sign = 1 if larger_is_worse(threshold.name, threshold.type) else -1
    if sign * value > sign * threshold.hard:
        return Status.CRITICAL
    return Status.WARNING if sign * value > sign * threshold.soft else Status.HEALTHY
