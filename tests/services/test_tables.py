"""Monitors of tables and of regressions, from the collector to the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.simulated import OWNER, START, Clock, Site

from tidegauge.domain.alert import AlertRule, Condition, Operator
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, MonitorRun, MonitorState, ValueType
from tidegauge.domain.monitor_config import (
    CustomFunction,
    DriftConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    TrainData,
)
from tidegauge.domain.status import Status
from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.phantoms import draw
from tidegauge.services.labels import PostedLabel

CLASSES = ("sick", "well")
WARDS = np.array(["east", "north", "west"])


def people(rng: np.random.Generator, n: int, older: float = 0.0) -> dict[str, Any]:
    """Return patients whose risk grows with age and pressure."""
    age = rng.normal(50 + older, 12, n).round(1)
    pressure = rng.normal(120, 15, n).round()
    smoker = rng.random(n) < 0.3
    return {"age": age, "pressure": pressure, "ward": rng.choice(WARDS, n), "smoker": smoker}


def risk(table: dict[str, Any]) -> np.ndarray:
    return 1 / (1 + np.exp(-((table["age"] - 50) / 6 + (table["pressure"] - 120) / 10 + table["smoker"])))


def days_in_bed(table: dict[str, Any]) -> np.ndarray:
    return 3 + 0.1 * table["age"] + 2.0 * table["smoker"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site.build(tmp_path / "home", CLASSES, Clock())
    try:
        yield site
    finally:
        site.close()


def train(site: Site, folder: Path, form: str = "csv", **columns: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    table = people(rng, 600)
    folder.mkdir(parents=True)
    frame = pl.DataFrame({"patient_id": np.arange(600), **table, "label": risk(table) > 0.5, **columns})
    frame.write_csv(folder / "train.csv") if form == "csv" else frame.write_parquet(folder / "train.parquet")
    site.register(RepositoryKind.DATASET, "patients", folder)
    return table


def classifier(site: Site, folder: Path) -> None:
    rng = np.random.default_rng(2)
    held_out = people(rng, 400)
    share = risk(held_out)
    scores = np.column_stack([share, 1 - share]).astype(np.float32)
    truth = np.where(rng.random(400) < share, "sick", "well")
    site.deploy(folder, [CLASSES[k] for k in scores.argmax(1)], "sick", "risk", scores, truth)


def regressor(site: Site, folder: Path) -> None:
    held_out = people(np.random.default_rng(2), 400)
    site.classes = ()
    site.deploy(folder, [], "", "stay", outputs=days_in_bed(held_out))


def settings(model_type: str, frequency: int = 5, **drift: Any) -> MonitorConfig:
    return MonitorConfig(
        model_type=model_type,  # type: ignore[arg-type]
        input_data_type="tabular",
        frequency_minutes=frequency,
        drift=DriftConfig(enabled=True, train_data=TrainData("patients", 1), **drift),
        performance=PerformanceConfig(enabled=True),
    )


def watch(site: Site, config: MonitorConfig) -> Monitor:
    monitor = settled(site, site.services.monitors.create(site.deployment, config, OWNER))
    assert monitor.state is MonitorState.READY, monitor.message
    site.monitor_id = monitor.id
    return site.services.monitors.start(monitor, OWNER)


def settled(site: Site, monitor: Monitor) -> Monitor:
    while (found := site.services.monitors.get(OWNER, monitor.id)).state is MonitorState.BASELINING:
        time.sleep(0.02)
    return found


def rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    return pl.DataFrame(table).to_dicts()


def play(site: Site, table: dict[str, Any], answers: np.ndarray, window: int) -> list[str]:
    """Ask about the rows of a table one by one within a window of five minutes, then look at it."""
    start = START + timedelta(minutes=5 * window)
    site.clock.now = start + timedelta(minutes=4)
    times = [start + timedelta(seconds=2 * k) for k in range(len(answers))]
    ids = site.ask([[row] for row in rows(table)], [[answer] for answer in answers.tolist()], times)
    site.clock.now = start + timedelta(minutes=6)
    site.work()
    return ids


def runs(site: Site) -> tuple[MonitorRun, ...]:
    monitor = site.services.monitors.get(OWNER, site.monitor_id)
    return site.services.monitors.runs(monitor, None, None)


def scored(share: np.ndarray) -> np.ndarray:
    return np.column_stack([share, 1 - share])


def test_features_are_inferred_from_the_training_data(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data", note=[f"seen on day {k}" for k in range(600)], empty=[None] * 600)
    classifier(site, tmp_path / "model")
    monitor = watch(site, settings("classification"))
    found = {f.name: (f.kind.value, f.value_type.value, f.selected) for f in monitor.schema}
    assert found == {
        "prediction": ("prediction_output", "categorical", True),
        "patient_id": ("row_id", "categorical", True),
        "age": ("input_feature", "continuous", True),
        "pressure": ("input_feature", "continuous", True),
        "ward": ("input_feature", "categorical", True),
        "smoker": ("input_feature", "categorical", True),
        "note": ("input_feature", "categorical", False),
        "empty": ("input_feature", "categorical", False),
    }


def test_clean_windows_are_quiet_and_drift_is_found_in_the_feature_that_moved(
    site: Site, tmp_path: Path
) -> None:
    train(site, tmp_path / "data", "parquet")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification"))
    rng = np.random.default_rng(3)
    for window in range(6):
        table = people(rng, 40, older=0 if window < 4 else 25)
        play(site, table, scored(risk(table)), window)
    found = runs(site)
    assert [run.drift for run in found] == [Status.HEALTHY] * 4 + [Status.CRITICAL] * 2
    assert [bool(run.evidence and run.evidence.alarm) for run in found] == [False] * 4 + [True] * 2
    assert found[-1].evidence
    assert found[-1].evidence.feature == "age"
    scores = {m.name: m.value for m in found[-1].metrics if m.type is MetricType.DRIFT}
    assert set(scores) == {"age", "pressure", "ward", "smoker", "prediction"}
    assert max(scores, key=lambda name: scores[name] or 0) == "age"
    assert (scores["age"] or 0) > 0.5
    assert not found[-1].problems


def test_a_regression_has_errors_with_intervals_once_labels_come(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    regressor(site, tmp_path / "model")
    monitor = watch(site, settings("regression"))
    prediction = next(f for f in monitor.schema if f.kind is FeatureKind.PREDICTION)
    assert prediction.value_type is ValueType.CONTINUOUS
    table = people(np.random.default_rng(3), 60)
    told = days_in_bed(table)
    ids = play(site, table, told, 0)
    (run,) = runs(site)
    assert run.metric("mae") is None or run.metric("mae").value is None  # type: ignore[union-attr]
    assert not [m.name for m in run.metrics if m.name.startswith("expected")]
    noise = np.random.default_rng(4).normal(0, 1, 60)
    posted = [PostedLabel(id_, float(value)) for id_, value in zip(ids, told + noise, strict=True)]
    monitor = site.services.monitors.get(OWNER, site.monitor_id)
    site.services.runs.post_labels(monitor, [*posted[1:], PostedLabel(ids[0], "long")], OWNER)
    site.work()
    (run,) = runs(site)
    mae, r2 = run.metric("mae"), run.metric("r2_score")
    assert mae
    assert r2
    assert mae.value == pytest.approx(np.abs(noise[1:]).mean(), rel=1e-6)
    assert mae.low is not None
    assert mae.high is not None
    assert mae.low < mae.value < mae.high
    assert mae.surely_low is None
    assert run.problems == ("The label 'long' is no number; it is left out.",)


def test_predicted_numbers_that_move_have_a_score(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    regressor(site, tmp_path / "model")
    watch(site, settings("regression"))
    table = people(np.random.default_rng(3), 60)
    play(site, table, days_in_bed(table), 0)
    play(site, table, days_in_bed(table) + 10, 1)
    values = [run.metric("prediction").value for run in runs(site)]  # type: ignore[union-attr]
    assert values[0] < 0.25  # type: ignore[operator]
    assert values[1] > 0.9  # type: ignore[operator]


def test_a_feature_that_is_not_selected_has_no_score_and_is_still_read(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    monitors = site.services.monitors
    monitor = settled(site, monitors.create(site.deployment, settings("classification"), OWNER))
    before = monitor.baseline
    left_out = Feature("age", FeatureKind.INPUT, ValueType.CONTINUOUS, selected=False)
    monitor = settled(site, monitors.add_feature(monitor, left_out, OWNER))
    silent = Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL, selected=False)
    monitor = settled(site, monitors.add_feature(monitor, silent, OWNER))
    assert monitor.baseline != before
    assert [f.name for f in monitor.schema if not f.selected] == ["prediction", "age"]
    site.monitor_id = monitors.start(monitor, OWNER).id
    table = people(np.random.default_rng(3), 40, older=60)
    play(site, table, scored(risk(table)), 0)
    (run,) = runs(site)
    assert {m.name for m in run.metrics if m.type is MetricType.DRIFT} == {"pressure", "ward", "smoker"}
    assert run.drift is Status.HEALTHY


def test_pending_says_what_is_missing(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    monitors = site.services.monitors
    monitor = settled(site, monitors.create(site.deployment, settings("classification"), OWNER))
    strange = Feature("weight", FeatureKind.INPUT, ValueType.CONTINUOUS)
    monitor = settled(site, monitors.add_feature(monitor, strange, OWNER))
    assert monitor.state is MonitorState.PENDING
    assert "no column weight" in monitor.message
    answer = Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL, selected=False)
    monitor = settled(site, monitors.add_feature(monitor, answer, OWNER))
    assert monitor.state is MonitorState.PENDING  # for the same reason
    monitor = settled(site, monitors.remove_feature(monitor, "weight", OWNER))
    assert (monitor.state, monitor.message) == (MonitorState.READY, "")
    monitor = settled(site, monitors.remove_feature(monitor, "prediction", OWNER))
    assert monitor.state is MonitorState.PENDING
    assert "no prediction output" in monitor.message
    monitor = settled(site, monitors.set_schema(monitor, (), OWNER))
    assert monitor.state is MonitorState.READY  # with nothing given, all is inferred again


def test_what_a_person_has_removed_does_not_come_back(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    monitors = site.services.monitors
    monitor = settled(site, monitors.create(site.deployment, settings("classification"), OWNER))
    monitor = settled(site, monitors.remove_feature(monitor, "ward", OWNER))
    monitor = settled(site, monitors.rebaseline(monitor, OWNER))
    assert "ward" not in {feature.name for feature in monitor.schema}


def test_a_column_may_not_be_called_prediction(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data", prediction=["a"] * 600)
    classifier(site, tmp_path / "model")
    monitors = site.services.monitors
    monitor = settled(site, monitors.create(site.deployment, settings("classification"), OWNER))
    kinds = [f.kind for f in monitor.schema if f.name == "prediction"]
    assert kinds == [FeatureKind.PREDICTION]
    with pytest.raises(InvalidInputError, match="score of predictions"):
        monitors.add_feature(monitor, Feature("prediction", FeatureKind.INPUT, ValueType.CATEGORICAL), OWNER)


def test_a_table_needs_a_table_to_train_on(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    drift = DriftConfig(enabled=True, image=ImageShape(8, 8), train_data=TrainData("patients", 1))
    with pytest.raises(InvalidInputError, match="input_data_type image needs images"):
        site.services.monitors.create(site.deployment, MonitorConfig(drift=drift), OWNER)


def test_an_accepted_span_of_rows_becomes_the_baseline(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification"))
    rng = np.random.default_rng(3)
    for window in range(3):
        table = people(rng, 60, older=25)
        play(site, table, scored(risk(table)), window)
    monitor = site.services.monitors.get(OWNER, site.monitor_id)
    assert runs(site)[-1].drift is Status.CRITICAL
    site.services.acceptance.accept(monitor, START, START + timedelta(minutes=15), OWNER, "older people")
    while (monitor := site.services.monitors.get(OWNER, site.monitor_id)).progress:
        time.sleep(0.02)
    assert not monitor.message
    for window in range(3, 5):
        table = people(rng, 60, older=25)
        play(site, table, scored(risk(table)), window)
    last = runs(site)[-1]
    assert last.drift is Status.HEALTHY
    assert last.evidence
    assert last.evidence.n == 120
    with pytest.raises(ConflictError, match="no drift alarm"):
        site.services.acceptance.acknowledge(
            site.services.monitors.get(OWNER, site.monitor_id), OWNER, "nothing"
        )


def test_what_cannot_be_read_is_a_dead_letter_with_its_reason(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification"))
    good = {"age": 50, "pressure": 120, "ward": "east", "smoker": True}
    asked = [[good], [{**good, "age": "old"}], [[1, 2, 3]], [good, good]]
    told = [[[0.2, 0.8]], [[0.2, 0.8]], [[0.2, 0.8]], [[0.2, 0.8]]]
    site.clock.now = START + timedelta(minutes=4)
    site.ask(asked, told, [START + timedelta(seconds=k) for k in range(4)])
    site.clock.now = START + timedelta(minutes=6)
    site.work()
    (run,) = runs(site)
    reasons = " ".join(run.problems)
    assert len(run.problems) == 3
    assert "age is 'old', but it is continuous in the schema" in reasons
    assert "values [1, 3], which are neither inputs named after the 4 input features" in reasons
    assert "2 rows and the response 1 answers" in reasons
    assert run.metric("age").n == 1  # type: ignore[union-attr]


def test_a_column_that_requests_leave_out_has_moved(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification"))
    table = people(np.random.default_rng(3), 30)
    del table["ward"]
    play(site, table, scored(np.full(30, 0.5)), 0)
    (run,) = runs(site)
    assert run.metric("ward").value == 1.0  # type: ignore[union-attr]


def test_a_window_without_requests_has_no_scores(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification"))
    site.clock.now = START + timedelta(minutes=6)
    site.work()
    (run,) = runs(site)
    assert {m.value for m in run.metrics if m.type is MetricType.DRIFT} == {None}
    assert run.drift is Status.UNKNOWN


def test_what_labels_of_the_model_never_give_is_refused(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    regressor(site, tmp_path / "model")
    monitors = site.services.monitors
    monitor = settled(site, monitors.create(site.deployment, settings("regression"), OWNER))
    with pytest.raises(InvalidInputError, match="accuracy is of classes, but model_type is regression"):
        monitors.set_thresholds(monitor, {"accuracy": {"type": "performance", "soft": 0.9, "hard": 0.8}})
    monitors.set_thresholds(monitor, {"mae": {"type": "performance", "soft": 1, "hard": 2}})
    sure = Condition(name="mae", operator=Operator.GREATER, bound=2.0, surely=True)
    with pytest.raises(InvalidInputError, match="surely is for proportions"):
        monitors.add_alert(monitor, AlertRule("errors", MetricType.PERFORMANCE, (sure,)))
    monitors.add_alert(monitor, AlertRule("errors", MetricType.PERFORMANCE, (replace(sure, surely=False),)))


def test_thresholds_are_suggested_for_every_column_without_missing_values(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data", dose=[None if k % 3 else 1.5 * k for k in range(600)])
    classifier(site, tmp_path / "model")
    monitor = watch(site, settings("classification"))
    found = site.services.advice.suggest(monitor, 40, 1, 1)
    assert set(found.thresholds) == {"age", "pressure", "ward", "smoker", "prediction"}
    assert 0.2 < found.thresholds["age"]["soft"] < found.thresholds["age"]["hard"] < 0.6


@pytest.mark.parametrize("algorithm", ["chi_squared", "psi", "mmd", "jensen_shannon", "wasserstein"])
def test_every_algorithm_scores_the_column_that_moved_above_the_others(
    site: Site, tmp_path: Path, algorithm: str
) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification", algorithm=algorithm))
    table = people(np.random.default_rng(3), 60)
    table["ward"] = np.full(60, "south")
    play(site, table, scored(risk(table)), 0)
    (run,) = runs(site)
    values = {m.name: m.value for m in run.metrics if m.type is MetricType.DRIFT}
    ward = values.pop("ward")
    assert ward is not None
    assert all(value is not None and 0 <= value < ward <= 1 for value in values.values())


def test_rows_and_answers_come_in_every_protocol(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification"))
    row = {"age": 71.0, "pressure": 140.0, "ward": "east", "smoker": True}
    asked: list[dict[str, Any]] = [
        {"instances": [{**row, "trace": [1, 2]}]},
        {"instances": [[71.0, 140.0, "east", True]]},
        {"inputs": {name: [[value]] for name, value in row.items()}},
        {
            "inputs": [
                {"name": "age", "shape": [1], "datatype": "FP32", "data": [71.0]},
                {"name": "pressure", "shape": [1, 1], "datatype": "FP64", "data": [140.0]},
                {"name": "ward", "shape": [1, 1], "datatype": "BYTES", "data": ["east"]},
                {"name": "smoker", "shape": [1], "datatype": "BOOL", "data": [True]},
            ]
        },
    ]
    told: list[dict[str, Any]] = [
        {"predictions": [[0.8, 0.2]]},
        {"predictions": ["sick"]},
        {"outputs": [[0.2]]},
        {"outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [0.2]}]},
    ]
    site.clock.now = START + timedelta(minutes=4)
    site.log(asked, told, [START + timedelta(seconds=k) for k in range(4)])
    site.clock.now = START + timedelta(minutes=6)
    site.work()
    (run,) = runs(site)
    assert not run.problems
    assert run.metric("prediction").detail["window"] == {"sick": 4}  # type: ignore[union-attr]
    means = {name: run.metric(name).detail.get("mean") for name in ("age", "pressure")}  # type: ignore[union-attr]
    assert means == {"age": 71.0, "pressure": 140.0}
    shares = {n: run.metric(n).detail["missing"] for n in ("age", "ward", "smoker")}  # type: ignore[union-attr]
    assert shares == {"age": 0.0, "ward": 0.0, "smoker": 0.0}


def test_label_files_judge_predicted_numbers_by_their_time(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    regressor(site, tmp_path / "model")
    watch(site, settings("regression"))
    table = people(np.random.default_rng(3), 30)
    play(site, table, days_in_bed(table), 0)
    times = [f"{START + timedelta(seconds=2 * k):%Y-%m-%dT%H:%M:%S}" for k in range(30)]
    told = days_in_bed(table)
    labels = pl.DataFrame({"timestamp": times, "output": told, "label": told + 2})
    site.services.store.put(f"{site.deployment.livedata}/first.csv", labels.write_csv().encode())
    site.work()
    found = runs(site)[0].metric("mae")
    assert found
    assert found.value == pytest.approx(2.0)


def test_evidence_of_a_table_goes_on_after_a_restart(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    watch(site, settings("classification"))
    rng = np.random.default_rng(3)
    for window in range(2):
        table = people(rng, 40, older=5)
        play(site, table, scored(risk(table)), window)
    site.services.collector.close()
    again = Site.build(tmp_path / "home", CLASSES, site.clock)
    again.deployment, again.monitor_id = site.deployment, site.monitor_id
    try:
        table = people(rng, 40, older=5)
        play(again, table, scored(risk(table)), 2)
        assert [run.evidence.n for run in runs(again) if run.evidence] == [40, 80, 120]
    finally:
        again.close()


def test_a_function_of_the_user_scores_a_table(site: Site, tmp_path: Path) -> None:
    train(site, tmp_path / "data")
    classifier(site, tmp_path / "model")
    code = tmp_path / "code"
    code.mkdir()
    (code / "drift.py").write_text(
        "def score(baseline, window):\n"
        "    assert baseline.schema == window.schema, (baseline.schema, window.schema)\n"
        "    assert baseline.height == 600 and set(window['ward']) == {'north', None}\n"
        "    return min(1.0, abs(window['age'].mean() - baseline['age'].mean()) / 100)\n"
    )
    site.register(RepositoryKind.CODE, "metrics", code)
    custom = CustomFunction("metrics", 1, "drift.py:score")
    watch(site, settings("classification", algorithm="custom", custom=custom))
    table = people(np.random.default_rng(3), 20, older=30)
    table["ward"] = [None, *["north"] * 19]
    play(site, table, scored(risk(table)), 0)
    (run,) = runs(site)
    assert not run.problems
    assert run.metric("table").value == pytest.approx(0.3, abs=0.1)  # type: ignore[union-attr]
    assert run.metric("age").value > 0.6  # type: ignore[union-attr, operator]


def test_images_may_be_answered_with_numbers(site: Site, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    images = np.stack([draw("NORMAL", rng, size=32).reshape(32, 32, 1) for _ in range(90)])
    site.classes = ()
    site.deploy(tmp_path / "model", [], "", "bone-age", outputs=rng.normal(100, 10, 200))
    site.add_images("plates", tmp_path / "plates", images[:60], np.array(["NORMAL"] * 60))
    drift = DriftConfig(enabled=True, image=ImageShape(32, 32), train_data=TrainData("plates", 1))
    watch(site, replace(settings("regression"), input_data_type="image", drift=drift))
    site.clock.now = START + timedelta(minutes=4)
    times = [START + timedelta(seconds=k) for k in range(30)]
    told = rng.normal(100, 10, (30, 1)).astype(np.float32)
    ids = site.send(images[60:], told, times)
    site.clock.now = START + timedelta(minutes=6)
    site.work()
    monitor = site.services.monitors.get(OWNER, site.monitor_id)
    posted = [PostedLabel(id_, float(value[0]) + 3) for id_, value in zip(ids, told, strict=True)]
    site.services.runs.post_labels(monitor, posted, OWNER)
    site.work()
    (run,) = runs(site)
    assert not run.problems
    assert run.metric("mae").value == pytest.approx(3, abs=1e-4)  # type: ignore[union-attr]
    assert run.metric("image").n == run.metric("prediction").n == 30  # type: ignore[union-attr]
    assert run.evidence
    assert run.evidence.n == 30
    assert {image.confidence for image in run.images} == {None}
    assert {float(image.prediction) for image in run.images} == {float(value[0]) for value in told}
