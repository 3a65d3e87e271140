from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from tidegauge.domain.monitor_config import (
    CustomFunction,
    DriftConfig,
    EvidenceConfig,
    HealthConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    PerSource,
    TimeConfig,
    Tolerances,
    TrainData,
    needs_baseline,
)
from tidegauge.domain.monitor_config.checks import RANGES, value_at
from tidegauge.errors import InvalidInputError
from tidegauge.stats.evidence.process import LIFE
from tidegauge.stats.images import changes

ADAPTER = TypeAdapter(MonitorConfig)
FULL = MonitorConfig(
    drift=DriftConfig(
        enabled=True,
        custom=CustomFunction("metrics", 1, "drift.py:score"),
        predict_data="dataset",
        predict_dataset="logs",
        predict_version=1,
        algorithm="custom",
        image=ImageShape(200, 200),
        train_data=TrainData("chest-xray", 1),
    ),
    performance=PerformanceConfig(
        enabled=True,
        compute="custom",
        custom=CustomFunction("metrics", 1, "lib/performance.py:score"),
        dataset="answers",
        dataset_version=1,
    ),
    evidence=EvidenceConfig(per_source=PerSource("patient", 10)),
)
HERE = {"drift.predict_data": "cloudevents", "drift.predict_dataset": "", "drift.predict_version": None}
FULL_IMAGE = MonitorConfig(
    drift=DriftConfig(enabled=True, image=ImageShape(200, 200), train_data=TrainData("chest-xray", 1))
)
#: As the release before this one stored it.
STORED = {
    "model_type": "classification",
    "input_data_type": "image",
    "frequency_minutes": 5,
    "time_zone": "UTC",
    "minimum_samples": 5,
    "health": {"enabled": True},
    "drift": {
        "enabled": True,
        "algorithm": "auto",
        "image": {"height": 200, "width": 200, "channels": 1, "channel_order": "channels_last"},
        "train_data": {"dataset": "chest-xray", "version": 1},
        "predict_data": "cloudevents",
    },
    "performance": {
        "enabled": True,
        "compute": "labelled_data",
        "prefix": "",
        "groundtruth_column": "label",
        "prediction_column": "output",
        "timestamp_column": "timestamp",
        "positive": "",
    },
}


def fields(config: MonitorConfig) -> list[str]:
    return [error.field for error in config.errors()]


def with_value(config: object, name: str, value: object) -> object:
    """Return the frozen configuration with another value in a dotted field."""
    first, _, rest = name.partition(".")
    inner = with_value(getattr(config, first), rest, value) if rest else value
    return replace(config, **{first: inner})  # type: ignore[type-var]


def test_what_an_older_release_stored_still_loads_and_means_the_same() -> None:
    config = ADAPTER.validate_python(STORED)
    assert config == replace(FULL_IMAGE, performance=PerformanceConfig(enabled=True))
    assert ADAPTER.dump_python(config, mode="json") == {
        **ADAPTER.dump_python(FULL_IMAGE, mode="json"),
        "performance": {
            **ADAPTER.dump_python(MonitorConfig(), mode="json")["performance"],
            "enabled": True,
        },
    }
    assert config.errors() == []


def test_the_defaults_are_valid_and_lack_nothing() -> None:
    assert (MonitorConfig().errors(), MonitorConfig().missing()) == ([], ())
    assert MonitorConfig().health.enabled


def test_the_defaults_of_evidence_are_those_of_the_statistics() -> None:
    assert EvidenceConfig().life == LIFE
    tolerated = [changes.reencoded(Tolerances().jpeg_quality or 0), changes.resized()]
    assert [tolerance.name for tolerance in tolerated] == [tolerance.name for tolerance in changes.HARMLESS]


def test_everything_at_once_is_valid() -> None:
    assert fields(FULL) == []
    assert ADAPTER.validate_json(ADAPTER.dump_json(FULL)) == FULL


@pytest.mark.parametrize("name", RANGES)
def test_a_number_out_of_its_range_is_told_with_its_field(name: str) -> None:
    low, high = RANGES[name]
    for good in (low, high):
        assert name not in fields(with_value(FULL, name, good))  # type: ignore[arg-type]
    for bad in (low - 1, high + 1, math.nan):
        (error,) = with_value(FULL, name, bad).errors()  # type: ignore[attr-defined]
        assert error.field == name
        assert error.message.startswith(f"{name} is {bad}; give a ")


def test_every_number_has_a_range() -> None:
    def numbers(value: object, prefix: str = "") -> list[str]:
        found = []
        for key, inner in value.items():  # type: ignore[attr-defined]
            if isinstance(inner, dict):
                found += numbers(inner, f"{prefix}{key}.")
            elif isinstance(inner, int | float) and not isinstance(inner, bool):
                found.append(f"{prefix}{key}")
        return found

    assert sorted(numbers(ADAPTER.dump_python(FULL))) == sorted(RANGES)


def test_a_value_below_a_part_that_is_not_given_is_none() -> None:
    assert value_at(MonitorConfig(), "drift.image.height") is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("time_zone", "Mars/Olympus", "use an IANA name"),
        ("segments", "Hospital Name", "name an attribute of the events"),
        ("evidence.per_source.attribute", "", "name an attribute of the events"),
        ("performance.prefix", "../other", "without '..'"),
        ("drift.train_data.dataset", " ", "name the Dataset"),
        ("drift.custom.code", "", "name the Code repository"),
        ("drift.custom.function", "score", "give file and function"),
        ("drift.custom.function", "../x.py:score", "give file and function"),
        ("drift.custom.function", "/etc/x.py:score", "give file and function"),
        ("performance.groundtruth_column", "", "name the column"),
        ("performance.timestamp_column", "output", "so is performance.prediction_column"),
    ],
)
def test_a_text_that_cannot_be_is_told_with_its_field(name: str, value: str, sentence: str) -> None:
    (error,) = with_value(FULL, name, value).errors()  # type: ignore[attr-defined]
    assert error.field == name
    assert sentence in error.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"drift.algorithm": "auto"}, "drift.custom"),
        ({"drift.custom": None}, "drift.custom"),
        ({"drift.algorithm": "chi_squared", "drift.custom": None}, "drift.algorithm"),
        ({"performance.compute": "labelled_data"}, "performance.custom"),
        ({"performance.custom": None}, "performance.custom"),
        ({"drift.predict_dataset": ""}, "drift.predict_dataset"),
        ({**HERE, "drift.predict_dataset": "other"}, "drift.predict_dataset"),
        ({**HERE, "drift.predict_prefix": "a/b"}, "drift.predict_prefix"),
        ({**HERE, "drift.predict_version": 2}, "drift.predict_version"),
        ({"performance.dataset": ""}, "performance.dataset_version"),
        ({"input_data_type": "tabular"}, "drift.image"),
        (
            {"input_data_type": "tabular", "drift.image": None, "drift.train_data.images_saved_as": "numpy"},
            "drift.train_data.images_saved_as",
        ),
        (
            {"input_data_type": "tabular", "drift.image": None, "evidence.tolerances.resize": False},
            "evidence.tolerances",
        ),
        ({"input_data_type": "tabular", "drift.image": None, "keep_images": False}, "keep_images"),
        ({"model_type": "regression", "performance.positive": "PNEUMONIA"}, "performance.positive"),
        ({"performance.positive": "PNEUMONIA"}, "performance.positive"),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused(changes: dict[str, object], field: str) -> None:
    config: object = FULL
    for name, value in changes.items():
        config = with_value(config, name, value)
    assert fields(config) == [field]  # type: ignore[arg-type]


def test_all_errors_come_at_once() -> None:
    config = replace(
        FULL,
        time_zone="Mars/Olympus",
        frequency_minutes=0,
        health=HealthConfig(frequency_minutes=0),
        time=TimeConfig(clock_skew_seconds=-1),
        performance=PerformanceConfig(compute="custom", prefix="/x"),
    )
    with pytest.raises(InvalidInputError) as caught:
        config.check()
    assert sorted(error.field for error in caught.value.errors) == [
        "frequency_minutes",
        "health.frequency_minutes",
        "performance.custom",
        "performance.prefix",
        "time.clock_skew_seconds",
        "time_zone",
    ]


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"evidence\.alfa"):
        ADAPTER.validate_python({"evidence": {"alfa": 0.1}})


def test_tables_need_no_image_shape() -> None:
    drift = DriftConfig(enabled=True)
    assert MonitorConfig(drift=drift).missing() == ("drift.image", "drift.train_data")
    assert MonitorConfig(input_data_type="tabular", drift=drift).missing() == ("drift.train_data",)


def test_an_active_monitor_takes_on_what_needs_no_baseline() -> None:
    names = ["frequency_minutes", "performance.positive", "health.enabled", "time.grace_seconds"]
    assert needs_baseline([*names, "time_zone", "minimum_samples", "evidence.minimum_effect"]) == ()
    needed = ("drift.image.height", "evidence.alpha", "model_type")
    assert needs_baseline([*names, *needed]) == needed
