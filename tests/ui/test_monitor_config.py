"""Add Monitor and its configuration afterwards: four tabs, every field, every error at its field."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parts import SIDE, write_images, write_model
from parts_pages import EVIL, Visitor, add_deployment, add_monitor, add_repository, open_pages
from tidegauge.domain.catalogue import RepositoryKind, Source, SourceType, VersionState
from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.monitor_config import (
    CustomFunction,
    DriftConfig,
    EvidenceConfig,
    ImageShape,
    MonitorConfig,
    PerformanceConfig,
    PerSource,
    TimeConfig,
    Tolerances,
    TrainData,
)
from tidegauge.errors import InvalidInputError
from tidegauge.ui import config_form
from tidegauge.ui.forms import Form

ENOUGH = {"model_type": "classification", "input_data_type": "image", "keep_images": "true"}
IMAGE = {"drift.image.height": "200", "drift.image.width": "200"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    with open_pages(tmp_path_factory.mktemp("home")) as visitor:
        add_repository(visitor.services, RepositoryKind.DATASET, "chest-xray", versions=2)
        add_repository(visitor.services, RepositoryKind.CODE, "metrics")
        yield visitor


def form(**values: str) -> Form:
    return Form({name: (value,) for name, value in values.items()})


def errors(text: str) -> dict[str, str]:
    """Return what is said at each field."""
    found = re.findall(r'<p class="error" id="([^"]+)-error">([^<]*)</p>', text)
    return {name: said.replace("&#39;", "'") for name, said in found}


def test_a_configuration_survives_its_form() -> None:
    custom = CustomFunction("metrics", 2, "a/b.py:score")
    whole = MonitorConfig(
        "regression", "image", 15, "Europe/Berlin", 7, "hospital", False,
        drift=DriftConfig(
            True, "custom", custom, ImageShape(20, 30, 3, "channels_first"),
            TrainData("d", 3, "numpy"), "dataset", "logs", 4, "ward",
        ),
        performance=PerformanceConfig(True, "custom", custom, "labels", 5, "p", "truth", "answer", "at"),
        evidence=EvidenceConfig(0.01, 5000, 0.25, Tolerances(None, False, 0.1), PerSource("patient", 9)),
        time=TimeConfig(60, 30),
    )  # fmt: skip
    assert config_form.read(config_form.filled_with(whole)) == whole
    assert config_form.read(config_form.filled_with(MonitorConfig())) == MonitorConfig()


def test_what_does_not_apply_is_dropped() -> None:
    found = config_form.read(
        form(
            **{
                **ENOUGH,
                "drift.enabled": "true",
                **IMAGE,
                "drift.train_data.dataset": "chest-xray",
                "drift.train_data.version": "1",
                "drift.algorithm": "auto",
                "drift.custom.code": "metrics",
                "drift.predict_data": "cloudevents",
                "drift.predict_dataset": "logs",
                "drift.predict_prefix": "x",
                "performance.compute": "labelled_data",
                "performance.groundtruth_column": "output",
            }
        )
    )
    assert found.errors() == []
    assert found.drift.image == ImageShape(200, 200)
    assert (found.drift.custom, found.drift.predict_dataset) == (None, "")
    assert found.performance == PerformanceConfig()
    assert found.health.enabled is False  # its box is not set
    table = config_form.read(
        form(
            **{
                "input_data_type": "tabular",
                "drift.enabled": "true",
                **IMAGE,
                "drift.train_data.dataset": "rows",
                "drift.train_data.version": "1",
                "drift.train_data.images_saved_as": "numpy",
                "evidence.tolerances.noise": "7",
            }
        )
    )
    assert table.errors() == []
    assert table.drift == DriftConfig(True, train_data=TrainData("rows", 1))


def test_every_field_has_its_place_in_the_form(pages: Visitor) -> None:
    add_deployment(pages.services, "complete")
    text = pages.text("/deployments/complete/monitor/new")
    missing = [name for name in config_form.FIELDS if f'id="{name}"' not in text]
    assert missing == []


def test_the_form_has_the_labels_of_the_workflow(pages: Visitor) -> None:
    add_deployment(pages.services, "labels")
    text = pages.text("/deployments/labels/monitor/new")
    tabs = re.findall(r'role="tab" id="tab-(\w+)"', text)
    assert tabs == ["settings", "health", "drift", "performance"]
    labels = (
        "Model Type", "Input Data Type", "Enable", "Algorithm", "Height", "Width", "Channel",
        "Channel Order", "Dataset", "Dataset Version", "Images Saved As", "Dataset Content",
        "Prefix/Subpath", "Compute Metrics", "Groundtruth Column Name", "Prediction Column Name",
        "Timestamp Column Name",
    )  # fmt: skip
    for label in labels:
        assert f">{label}</label>" in text
    for legend in ("Image Shape", "Train Data", "Predict Data"):
        assert f"<legend>{legend}</legend>" in text
    for option in (
        "Classification", "Image", "Auto", "Channels Last", "Images in labelled folder", "CloudEventlogs",
        "Labelled Data",
    ):  # fmt: skip
        assert f">{option}</option>" in text
    assert 'id="health.enabled" name="health.enabled" type="checkbox" value="true" checked' in text


def test_a_new_monitor_begins_with_what_its_model_tells(pages: Visitor) -> None:
    said = {
        "classes": ["a", "b"], "inputs": [{"shape": [-1, 3, 64, 48]}],
        "lineage": {"dataset": {"name": "chest-xray", "version": 1}},
    }  # fmt: skip
    model = add_repository(pages.services, RepositoryKind.MODEL, "told", meta=said)
    add_deployment(pages.services, "told", model_id=model.id)
    text = pages.text("/deployments/told/monitor/new")
    for name, value in (("height", "64"), ("width", "48"), ("channels", "3")):
        assert re.search(rf'name="drift.image.{name}"[^>]* value="{value}"', text)
    assert '<option value="channels_first" selected>' in text
    assert "<option selected>chest-xray</option>" in text
    assert '<option value="1" selected>v1</option>' in text


def test_a_monitor_is_added_and_says_what_comes_next(pages: Visitor) -> None:
    add_deployment(pages.services, "fresh")
    answer = pages.post(
        "/deployments/fresh/monitor/new",
        {**ENOUGH, "health.enabled": "true", "frequency_minutes": "15", "time_zone": "Europe/Berlin"},
    )
    monitor = pages.services.monitors.get("operator", "fresh")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/monitors/{monitor.id}/saved")
    assert (monitor.config.frequency_minutes, monitor.config.time_zone) == (15, "Europe/Berlin")
    text = pages.text(f"/monitors/{monitor.id}/saved")
    assert "The monitor of fresh is made" in text
    assert '<a class="button" href="/monitors">Close</a>' in text
    again = pages.post("/deployments/fresh/monitor/new", ENOUGH)
    assert again.status_code == 409
    assert "has a monitor already" in again.text


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (MonitorState.BASELINING, "Then complete its schema with Update Schema"),
        (MonitorState.PENDING, "Next: complete its schema with Update Schema"),
        (MonitorState.READY, "press Start"),
        (MonitorState.ACTIVE, "goes on with version 1"),
        (MonitorState.INIT, "cannot begin yet"),
        (MonitorState.ERROR, "could not be made"),
    ],
)
def test_each_state_has_its_next_step(pages: Visitor, state: MonitorState, said: str) -> None:
    monitor = add_monitor(pages.services, f"next-{state}", state=state)
    assert said in pages.text(f"/monitors/{monitor.id}/saved")


def test_everything_wrong_is_told_at_once_at_its_field(pages: Visitor) -> None:
    add_deployment(pages.services, "wrong")
    data = {
        **ENOUGH, "time_zone": "Nowhere", "frequency_minutes": "often",
        "drift.enabled": "true", "drift.algorithm": "chi_squared", "drift.image.height": "x",
        "drift.predict_data": "dataset", "drift.predict_prefix": "a/../b",
        "performance.enabled": "true", "performance.compute": "labelled_data",
        "performance.groundtruth_column": "output", "evidence.alpha": "2",
    }  # fmt: skip
    answer = pages.post("/deployments/wrong/monitor/new", data)
    assert answer.status_code == 422
    found = errors(answer.text)
    assert found.keys() >= {
        "time_zone", "frequency_minutes", "drift.algorithm", "drift.image.height", "drift.image.width",
        "drift.train_data.dataset", "drift.train_data.version", "drift.predict_dataset",
        "drift.predict_prefix", "performance.prediction_column", "evidence.alpha",
    }  # fmt: skip
    assert found["drift.image.width"] == "Width is missing; fill it in."
    assert "and so is Groundtruth Column Name" in found["performance.prediction_column"]
    assert 'role="alert"' not in answer.text  # each has its place
    for value in ("Nowhere", "often", "x", "a/../b", "output"):
        assert f'value="{value}"' in answer.text
    assert answer.text.count('<span class="wrong"') == 3
    assert re.search(r'id="tab-settings"[^>]*aria-selected="true"', answer.text)


def test_a_wrong_value_is_told_with_what_to_write() -> None:
    with pytest.raises(InvalidInputError) as raised:
        config_form.read(form(frequency_minutes="often", model_type="oracle"))
    assert {error.field: error.message for error in raised.value.errors} == {
        "frequency_minutes": "frequency_minutes is 'often'; write a whole number.",
        "model_type": "model_type is 'oracle'; use one of 'classification' or 'regression'.",
    }


def test_the_tab_with_the_first_error_is_shown(pages: Visitor) -> None:
    add_deployment(pages.services, "tabs")
    data = {**ENOUGH, "performance.enabled": "true", "performance.prefix": "/elsewhere"}
    text = pages.post("/deployments/tabs/monitor/new", data).text
    assert re.search(r'id="tab-performance"[^>]*aria-selected="true"', text)
    assert 'id="panel-performance" aria-labelledby="tab-performance">' in text
    assert 'id="panel-settings" aria-labelledby="tab-settings" hidden>' in text


def test_what_is_not_there_is_told_at_its_field(pages: Visitor) -> None:
    add_deployment(pages.services, "absent")
    data = {
        **ENOUGH, "drift.enabled": "true", **IMAGE, "drift.image.channels": "1",
        "drift.train_data.dataset": "gone", "drift.train_data.version": "9", "drift.algorithm": "custom",
        "drift.custom.code": "nowhere", "drift.custom.version": "1", "drift.custom.function": "a.py:f",
    }  # fmt: skip
    text = pages.post("/deployments/absent/monitor/new", data).text
    found = errors(text)
    assert found["drift.train_data.dataset"] == "Dataset: There is no dataset 'gone'."
    assert found["drift.custom.code"] == "Code: There is no code 'nowhere'."
    assert '<option value="gone" selected>gone (gone)</option>' in text
    assert "v9 (not ready, or gone)" in text


def test_choosing_a_dataset_brings_its_versions(pages: Visitor) -> None:
    query: dict[str, Any] = {
        "kind": "dataset", "of": "drift.train_data.dataset", "field": "drift.train_data.version",
        "drift.train_data.dataset": "chest-xray",
    }  # fmt: skip
    text = pages.text("/choices/versions", **query)
    assert re.findall(r"<option[^>]*>([^<]*)</option>", text) == ["v2", "v1"]
    text = pages.text("/choices/versions", **{**query, "optional": "true"})
    assert "as it is now" in text
    assert "v2" not in pages.text("/choices/versions", **{**query, "drift.train_data.dataset": "nothing"})
    assert EVIL not in pages.text("/choices/versions", **{**query, "field": EVIL})
    assert pages.stranger().get("/choices/versions", **query).status_code == 303


def test_an_edit_makes_a_version_or_says_what_needs_a_baseline(pages: Visitor) -> None:
    monitor = add_monitor(pages.services, "edited", state=MonitorState.ACTIVE)
    path = f"/monitors/{monitor.id}/config"
    text = pages.text(path)
    assert "The monitor is active" in text
    assert re.search(r'name="frequency_minutes"[^>]* value="5"', text)
    data = {name: values[-1] for name, values in config_form.filled_with(monitor.config).values.items()}
    answer = pages.post(path, {**data, "frequency_minutes": "10"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/monitors/{monitor.id}/saved")
    changed = pages.services.monitors.get("operator", monitor.id)
    assert (changed.config.frequency_minutes, changed.config_version) == (10, 2)
    assert changed.state is MonitorState.ACTIVE
    answer = pages.post(path, {**data, "segments": "hospital"})
    assert answer.status_code == 409
    assert "stop it before you change segments, which needs a new baseline" in answer.text
    assert 'value="hospital"' in answer.text


def test_strangers_and_others_see_nothing(pages: Visitor) -> None:
    theirs = add_monitor(pages.services, "theirs", owner="another")
    for path in (
        "/deployments/theirs/monitor/new",
        f"/monitors/{theirs.id}/config",
        f"/monitors/{theirs.id}/saved",
    ):
        assert pages.stranger().get(path).headers["location"] == f"/sign-in?next={path}"
        assert pages.somebody_else().get(path).status_code == 404
    other = pages.somebody_else()
    assert other.post("/deployments/theirs/monitor/new", ENOUGH).status_code == 404
    assert other.post(f"/monitors/{theirs.id}/config", ENOUGH).status_code == 404


def test_html_in_what_was_typed_is_text(pages: Visitor) -> None:
    deployment = add_deployment(pages.services, EVIL)
    data = {**ENOUGH, "segments": EVIL, "time_zone": EVIL, "frequency_minutes": EVIL}
    text = pages.post(f"/deployments/{deployment.id}/monitor/new", data).text
    assert EVIL not in text
    assert "&lt;script&gt;" in text


def test_the_workflow_leads_to_an_active_monitor(tmp_path: Path) -> None:
    """Sections 6, 7 and 10 on real images and a real model, without a browser."""
    with open_pages(tmp_path / "home") as visitor:
        services = visitor.services
        for kind, name, folder in (
            (RepositoryKind.DATASET, "chest-xray", write_images(tmp_path / "images", 60)),
            (RepositoryKind.MODEL, "xray", write_model(tmp_path / "model")),
        ):
            source = Source(SourceType.FOLDER, str(folder))
            repository = services.catalogue.create(kind, name, "operator", source, None)
            services.catalogue.add_version(repository)
            wait_for(lambda r=repository: services.catalogue.versions(r)[0].state is VersionState.READY)
        add_deployment(services, "xray", model_id=services.catalogue.get(kind, "operator", "xray").id)
        data = {
            **ENOUGH, "health.enabled": "true", "drift.enabled": "true", "drift.algorithm": "auto",
            "drift.image.height": str(SIDE), "drift.image.width": str(SIDE), "drift.image.channels": "1",
            "drift.image.channel_order": "channels_last", "drift.train_data.dataset": "chest-xray",
            "drift.train_data.version": "1", "drift.train_data.images_saved_as": "labelled_folders",
            "drift.predict_data": "cloudevents", "performance.enabled": "true",
            "performance.compute": "labelled_data", "performance.groundtruth_column": "label",
            "performance.prediction_column": "output", "performance.timestamp_column": "timestamp",
        }  # fmt: skip
        assert visitor.post("/deployments/xray/monitor/new", data).status_code == 303

        def state() -> MonitorState:
            return services.monitors.get("operator", "xray").state

        wait_for(lambda: state() is not MonitorState.BASELINING)
        monitor = services.monitors.get("operator", "xray")
        row = {"do": "add", "name": "prediction", "kind": "prediction_output", "value_type": "categorical"}
        visitor.post(f"/monitors/{monitor.id}/schema", row)
        assert state() is MonitorState.READY, monitor.message
        visitor.post("/monitors/start", {"id": monitor.id})
        assert state() is MonitorState.ACTIVE
        visitor.post("/monitors/stop", {"id": monitor.id})


def wait_for(done: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
