"""Update Schema: features are added, removed and selected in a dialog that stays open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parts_pages import EVIL, Visitor, add_monitor, open_pages
from tidegauge.domain.monitor import Feature, FeatureKind, MonitorState, ValueType
from tidegauge.domain.monitor_config import DriftConfig, MonitorConfig

DRIFT = MonitorConfig(drift=DriftConfig(enabled=True))
PREDICTION = Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    with open_pages(tmp_path_factory.mktemp("home")) as visitor:
        yield visitor


def inputs(*names: str) -> tuple[Feature, ...]:
    return tuple(Feature(name, FeatureKind.INPUT, ValueType.CONTINUOUS) for name in names)


def test_a_pending_monitor_becomes_ready_by_its_prediction(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "pending", config=DRIFT, state=MonitorState.PENDING)
    path = f"/monitors/{monitor.id}/schema"
    text = pages.text(path)
    assert "The schema has no prediction output" in text
    assert 'aria-label="+ Add"' in text
    assert 'name="name"' not in text
    row = pages.post(path, {"do": "open"}).text
    for label in ("Name", "Column/Feature Type", "Value Type"):
        assert f">{label}</label>" in row
    for word in (
        "Input Feature",
        "Prediction Output",
        "Timestamp",
        "Row ID",
        "Categorical",
        "Continuous",
    ):
        assert f">{word}</option>" in row
    data = {
        "do": "add", "adding": "true", "name": "prediction", "kind": "prediction_output",
        "value_type": "categorical",
    }  # fmt: skip
    answer = pages.post(path, data)
    assert answer.status_code == 200
    assert "prediction was added." in answer.text
    assert "The schema is complete" in answer.text
    assert 'aria-label="+ Add"' in answer.text
    found = pages.services.monitors.get("operator", monitor.id)
    assert (found.state, found.schema) == (MonitorState.READY, (PREDICTION,))


def test_a_nameless_feature_is_told_at_its_field(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "nameless", config=DRIFT, state=MonitorState.PENDING)
    data = {"do": "add", "adding": "true", "name": "", "kind": "row_id", "value_type": "continuous"}
    answer = pages.post(f"/monitors/{monitor.id}/schema", data)
    assert answer.status_code == 422
    assert "Name is missing; name the feature." in answer.text
    assert '<option value="row_id" selected>' in answer.text
    assert '<option value="continuous" selected>' in answer.text


def test_a_name_that_no_column_may_have_is_refused(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "taken", config=DRIFT, state=MonitorState.PENDING)
    data = {"do": "add", "adding": "true", "name": "prediction", "kind": "input_feature"}
    answer = pages.post(f"/monitors/{monitor.id}/schema", {**data, "value_type": "categorical"})
    assert answer.status_code == 422
    assert "which is the score of predictions" in answer.text
    assert 'value="prediction"' in answer.text


def test_features_are_selected_at_once(pages: Visitor) -> None:
    schema = (*inputs("age", "weight", "dose"), PREDICTION)
    monitor = add_monitor(pages.services, "columns", schema=schema)
    path = f"/monitors/{monitor.id}/schema"
    text = pages.text(path)
    assert text.count('name="selected"') == 4
    assert 'data-all="selected"' in text
    answer = pages.post(path, {"do": "select", "selected": ["age", "prediction"]})
    assert "The selection was saved." in answer.text
    found = pages.services.monitors.get("operator", monitor.id).schema
    assert [feature.name for feature in found if feature.selected] == ["age", "prediction"]


def test_what_is_not_saved_yet_stays_while_a_feature_is_added(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "unsaved", schema=inputs("age", "weight"))
    text = pages.post(f"/monitors/{monitor.id}/schema", {"do": "open", "selected": "weight"}).text
    assert 'value="weight" aria-label="weight is selected" checked' in text
    assert 'value="age" aria-label="age is selected">' in text


def test_a_feature_is_removed(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "less", schema=inputs("age", "weight"))
    path = f"/monitors/{monitor.id}/schema"
    assert "age was removed." in pages.post(path, {"remove": "age"}).text
    assert pages.services.monitors.get("operator", monitor.id).schema == inputs("weight")
    answer = pages.post(path, {"remove": "age"})
    assert answer.status_code == 404
    assert "The schema has no feature &#39;age&#39;." in answer.text


def test_an_active_monitor_keeps_its_schema(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "fixed", schema=inputs("age"), state=MonitorState.ACTIVE)
    path = f"/monitors/{monitor.id}/schema"
    text = pages.text(path)
    assert "stop it before you change its schema" in text
    assert "<button" not in text.partition('id="sheet"')[2].partition("</section>")[0]
    assert pages.post(path, {"remove": "age"}).status_code == 409


def test_strangers_and_others_see_nothing(pages: Visitor) -> None:
    theirs = add_monitor(pages.services, "theirs", owner="another")
    path = f"/monitors/{theirs.id}/schema"
    assert pages.stranger().get(path).headers["location"] == f"/sign-in?next={path}"
    assert pages.somebody_else().get(path).status_code == 404
    assert pages.somebody_else().post(path, {"do": "open"}).status_code == 404


def test_html_in_names_is_text(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, EVIL, schema=inputs(EVIL))
    path = f"/monitors/{monitor.id}/schema"
    for text in (pages.text(path), pages.post(path, {"remove": EVIL}).text):
        assert EVIL not in text
        assert "&lt;script&gt;" in text
