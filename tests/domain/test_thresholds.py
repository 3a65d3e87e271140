from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tidegauge.domain.metrics import MetricType
from tidegauge.domain.status import Status, worst
from tidegauge.domain.thresholds import Threshold, evaluate, parse_thresholds
from tidegauge.errors import InvalidInputError

PUBLISHED = Path(__file__).parent / "thresholds"
NAN = float("nan")


def refused(data: Any) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        parse_thresholds(data)
    return {error.field: error.message for error in caught.value.errors}


def entry(**changes: Any) -> dict[str, Any]:
    return {"type": "drift", "soft": 0.2, "hard": 0.3} | changes


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("image_cloudevents", 6),
        ("image_sagemaker", 6),
        ("insurance_cloudevents", 18),
        ("insurance_datasources", 18),
        ("insurance_sagemaker", 18),
        ("titanic_datasources", 11),
    ],
)
def test_published_files_load(name: str, count: int):
    data = (PUBLISHED / f"{name}.json").read_bytes()
    found = parse_thresholds(data)
    assert len(found) == count
    for key, values in orjson.loads(data).items():
        assert found[key] == Threshold(key, MetricType(values["type"]), values["soft"], values["hard"])


def test_the_published_file_with_soft_and_hard_swapped_is_refused_metric_by_metric():
    errors = refused((PUBLISHED / "precomputed_scores.json").read_bytes())
    assert list(errors) == ["accuracy.hard", "precision.hard", "f1_score.hard"]
    for field, message in errors.items():
        assert "smaller is worse" in message
        assert message.startswith(field.removesuffix(".hard"))


def test_text_bytes_and_mappings_read_alike():
    values = {"image": entry()}
    text = orjson.dumps(values)
    assert parse_thresholds(text) == parse_thresholds(text.decode()) == parse_thresholds(values)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", "no", b"{'image': 1}", b'{"image": NaN}'])
def test_what_is_not_json_is_refused(data: Any):
    assert "not valid JSON" in refused(data)["thresholds"]


@pytest.mark.parametrize("data", [b"[]", b"3", b"null", b"{}", {}])
def test_what_is_no_object_is_refused(data: Any):
    assert "must be an object" in refused(data)["thresholds"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (5, "image"),
        (entry(type="drfit"), "image.type"),
        (entry(type=None), "image.type"),
        (entry(type=["drift"]), "image.type"),
        ({"soft": 0.2, "hard": 0.3}, "image.type"),
        ({"type": "drift", "hard": 0.3}, "image.soft"),
        (entry(soft="0.2"), "image.soft"),
        (entry(soft=True), "image.soft"),
        (entry(soft=NAN), "image.soft"),
        (entry(hard=float("inf")), "image.hard"),
        (entry(hard=10**400), "image.hard"),
        (entry(hard=None), "image.hard"),
        (entry(medium=0.25), "image.medium"),
        (entry(soft=0.4), "image.hard"),
    ],
)
def test_a_wrong_entry_is_refused_by_field(value: Any, field: str):
    errors = refused({"image": value})
    assert list(errors) == [field]
    assert errors[field].endswith(".")


def test_everything_wrong_is_told_at_once():
    errors = refused(
        {"image": entry(soft="x", hard=NAN, note=1), "accuracy": entry(type="drfit"), "ok": entry()}
    )
    assert list(errors) == ["image.note", "image.soft", "image.hard", "accuracy.type"]


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [("recal", "performance", "did you mean recall?"), ("latency_p59", "health", "did you mean latency_p")],
)
def test_a_metric_that_does_not_exist_is_refused(name: str, kind: str, hint: str):
    assert hint in refused({name: entry(type=kind)})[name]


def test_a_drift_threshold_may_name_any_feature():
    assert list(parse_thresholds({"Größe (cm)": entry()})) == ["Größe (cm)"]
    assert "thresholds" in refused({"": entry()})


@pytest.mark.parametrize(
    ("name", "kind", "larger_is_worse"),
    [
        ("image", "drift", True),
        ("rmse", "performance", True),
        ("log_loss", "performance", True),
        ("accuracy", "performance", False),
        ("roc_auc", "performance", False),
        ("r2_score", "performance", False),
        ("latency_p99", "health", True),
        ("5xx_requests_rate", "health", True),
    ],
)
def test_the_direction_belongs_to_the_metric(name: str, kind: str, larger_is_worse: bool):
    small_first, large_first = entry(type=kind), entry(type=kind, soft=0.3, hard=0.2)
    good, bad = (small_first, large_first) if larger_is_worse else (large_first, small_first)
    assert refused({name: bad})
    threshold = parse_thresholds({name: good})[name]
    worse, better = (9.0, -9.0) if larger_is_worse else (-9.0, 9.0)
    assert evaluate(worse, threshold, 12, 5) is Status.CRITICAL
    assert evaluate(0.25, threshold, 12, 5) is Status.WARNING
    assert evaluate(better, threshold, 12, 5) is Status.HEALTHY


def test_soft_may_equal_hard():
    threshold = parse_thresholds({"image": entry(soft=0.3)})["image"]
    assert evaluate(0.3, threshold, 12, 5) is Status.HEALTHY
    assert evaluate(0.31, threshold, 12, 5) is Status.CRITICAL


@pytest.mark.parametrize(("value", "status"), [(0.2, "healthy"), (0.3, "warning")])
def test_a_breach_is_strict(value: float, status: str):
    assert evaluate(value, parse_thresholds({"image": entry()})["image"], 12, 5) == status


@pytest.mark.parametrize(("value", "n"), [(None, 12), (NAN, 12), (9.0, 4), (9.0, 0)])
def test_without_a_value_or_enough_data_the_verdict_is_unknown(value: float | None, n: int):
    assert evaluate(value, parse_thresholds({"image": entry()})["image"], n, 5) is Status.UNKNOWN


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "unknown"),
        (["unknown", "unknown"], "unknown"),
        (["unknown", "healthy"], "healthy"),
        (["healthy", "warning", "unknown"], "warning"),
        (["unknown", "critical", "warning"], "critical"),
    ],
)
def test_the_worst_status_counts(statuses: list[str], expected: str):
    assert worst([Status(status) for status in statuses]) == expected
