"""Monitors as files: applied, compared, exported; and their JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cli_runs import Run
from parts import SIDE, running_server, write_images, write_model
from tidegauge.client import Client
from tidegauge.client.apply import read_document
from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.monitor_config.published import PATH, monitor_schema
from tidegauge.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[2]
FILE = f"""\
deployment: tiny
config:
  frequency_minutes: 5
  drift:
    enabled: true
    image: {{height: {SIDE}, width: {SIDE}}}
    train_data:
      dataset: chest
      version: 1
schema:
  - {{name: prediction, kind: prediction_output, value_type: categorical}}
thresholds:
  image: {{type: drift, soft: 0.42, hard: 0.55}}
alerts:
  - name: alarm
    type: drift
    conditions:
      - on: evidence
  - name: accuracy
    type: performance
    conditions:
      - {{name: accuracy, operator: "<", bound: 0.85, surely: true}}
state: active
"""
TRAIN_DATA = "    train_data:\n      dataset: chest\n      version: 1\n"
Write = Callable[[str], str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with a dataset of two versions and a deployment, which these tests share."""
    folder = tmp_path_factory.mktemp("apply")
    with running_server(folder / "home") as client:
        client.datasets.create("chest")
        client.datasets.add_version("chest", write_images(folder / "images", 6))
        client.datasets.add_version("chest", write_images(folder / "more", 7))
        client.models.create("tiny")
        client.models.add_version("tiny", write_model(folder / "model"))
        client.deployments.create("tiny", "tiny", 1)
        yield client


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(text: str) -> str:
        path = tmp_path / "monitor.yaml"
        path.write_text(text)
        return str(path)

    return save


@pytest.fixture
def applied(run: Run, write: Write, server: Client) -> Iterator[Client]:
    """The server, with the monitor of FILE."""
    outcome = run("monitor", "apply", "-f", write(FILE), "--yes")
    assert outcome.code == 0, outcome.err
    yield server
    monitor = server.monitors.get("tiny")
    if monitor.state is MonitorState.ACTIVE:
        server.monitors.stop(monitor.id)
    server.monitors.delete(monitor.id)


def changes(out: str) -> dict[str, tuple[Any, Any]]:
    return {change["field"]: (change["before"], change["after"]) for change in json.loads(out)}


def refusal(text: str) -> list[str]:
    """Return what is said of a file before a server is asked."""
    with pytest.raises(InvalidInputError) as caught:
        read_document(text.encode(), "m.yaml")
    return [error.message for error in caught.value.errors]


def test_a_file_makes_a_monitor_from_nothing_to_active(applied: Client) -> None:
    monitor = applied.monitors.get("tiny")
    assert monitor.state is MonitorState.ACTIVE
    assert [feature.name for feature in monitor.schema] == ["prediction"]
    assert monitor.thresholds["image"].hard == 0.55
    texts = {alert.name: alert.rule.text for alert in applied.monitors.alerts("tiny")}
    assert texts == {"alarm": "drift alarm", "accuracy": "accuracy surely < 0.85"}


def detail(client: Client) -> dict[str, Any]:
    """The monitor with all that people say of it, without what the schedule notes meanwhile."""
    found = client.monitors.detail("tiny")
    for name in ("look_at", "look_until", "due_from", "last_run_at", "status", "evidence"):
        del found["monitor"][name]
    return found


def test_a_second_apply_says_unchanged_and_makes_no_version(applied: Client, run: Run, write: Write) -> None:
    before = detail(applied)
    again = run("monitor", "apply", "-f", write(FILE))
    assert (again.code, again.out) == (0, "")
    assert "unchanged" in again.err
    assert json.loads(run("monitor", "apply", "-f", write(FILE), "--json").out) == []
    assert detail(applied) == before


def test_a_dry_run_prints_the_difference_field_by_field_and_changes_nothing(
    applied: Client, run: Run, write: Write
) -> None:
    wanted = yaml.safe_load(FILE.replace("- on:", "- 'on':"))
    wanted["config"]["frequency_minutes"] = 10
    wanted["config"]["drift"]["train_data"]["version"] = 2
    wanted["schema"].append({"name": "row", "kind": "row_id", "value_type": "categorical"})
    wanted["thresholds"]["image"]["soft"] = 0.3
    wanted["alerts"] = [{**wanted["alerts"][1], "breaches": 3}]
    wanted["state"] = "ready"
    before = detail(applied)
    arguments = ("monitor", "apply", "-f", write(yaml.safe_dump(wanted)), "--dry-run")
    assert changes(run(*arguments, "--json").out) == {
        "config.frequency_minutes": (5, 10),
        "config.drift.train_data.version": (1, 2),
        "schema.row": (None, "row_id, categorical"),
        "thresholds.image.soft": (0.42, 0.3),
        "alerts.accuracy.breaches": (1, 3),
        "alerts.alarm": ("drift: drift alarm", None),
        "state": ("active", "ready"),
    }
    shown = run(*arguments)
    assert "config.frequency_minutes" in shown.out
    assert "Nothing was changed" in shown.err
    assert "makes a new baseline" in shown.err
    assert "deletes the alert 'alarm'" in shown.err
    assert detail(applied) == before


def test_a_dry_run_of_a_new_monitor_makes_none(server: Client, run: Run, write: Write) -> None:
    found = changes(run("monitor", "apply", "-f", write(FILE), "--dry-run", "--json").out)
    assert found["deployment"] == (None, "tiny")
    assert found["config.drift.image.height"] == (None, SIDE)
    assert found["state"] == (None, "active")
    assert server.monitors.list() == []


def test_what_needs_no_baseline_is_changed_without_a_stop(applied: Client, run: Run, write: Write) -> None:
    done = run("monitor", "apply", "-f", write(FILE.replace("minutes: 5", "minutes: 10")), "--json")
    assert changes(done.out) == {"config.frequency_minutes": (5, 10)}
    detail = applied.monitors.detail("tiny")
    assert detail["monitor"]["config_version"] == 2
    assert detail["transitions"][-1]["why"] == "started"
    assert detail["monitor"]["state"] == "active"


def test_what_needs_a_baseline_is_asked_for_and_then_stops_and_starts_again(
    applied: Client, run: Run, write: Write
) -> None:
    path = write(FILE.replace("version: 1", "version: 2"))
    old, before = applied.monitors.get("tiny"), detail(applied)
    unsure = run("monitor", "apply", "-f", path)
    assert (unsure.code, detail(applied)) == (2, before)
    assert "makes a new baseline, with which evidence begins again" in unsure.err
    assert run("monitor", "apply", "-f", path, "--yes").code == 0
    new = applied.monitors.get("tiny")
    assert (new.state, new.config.drift.train_data.version) == (MonitorState.ACTIVE, 2)
    assert new.baseline != old.baseline


def test_an_alert_that_is_not_in_the_file_is_deleted_once_confirmed(
    applied: Client, run: Run, write: Write
) -> None:
    path = write(FILE[: FILE.index("  - name: accuracy")] + "state: active\n")
    assert run("monitor", "apply", "-f", path).code == 2
    assert len(applied.monitors.alerts("tiny")) == 2
    assert run("monitor", "apply", "-f", path, "--yes").code == 0
    assert [alert.name for alert in applied.monitors.alerts("tiny")] == ["alarm"]


def test_a_section_that_is_left_out_stays_as_it_is(applied: Client, run: Run, write: Write) -> None:
    done = run("monitor", "apply", "-f", write(FILE[: FILE.index("schema:")]), "--json")
    assert (done.code, json.loads(done.out)) == (0, [])


def test_a_changed_schema_is_applied_to_an_active_monitor(applied: Client, run: Run, write: Write) -> None:
    row = "  - {name: row, kind: row_id, value_type: categorical}\n"
    more = FILE.replace("thresholds:", f"{row}thresholds:").replace("state: active\n", "")
    assert run("monitor", "apply", "-f", write(more)).code == 0
    monitor = applied.monitors.get("tiny")
    assert {feature.name for feature in monitor.schema} == {"prediction", "row"}
    assert monitor.state is MonitorState.ACTIVE
    assert changes(run("monitor", "apply", "-f", write(FILE), "--json").out) == {
        "schema.row": ("row_id, categorical", None)
    }
    assert [feature.name for feature in applied.monitors.get("tiny").schema] == ["prediction"]


def test_a_state_that_cannot_be_reached_says_why(applied: Client, run: Run, write: Write) -> None:
    incomplete = FILE.replace("  - {name: prediction", "  - {name: other").replace(
        "prediction_output", "row_id"
    )
    refused = run("monitor", "apply", "-f", write(incomplete))
    assert refused.code == 5
    assert "state is active in the file, but the monitor is pending" in refused.err
    assert "has no prediction output" in refused.err
    assert run("monitor", "apply", "-f", write(FILE)).code == 0
    assert applied.monitors.get("tiny").state is MonitorState.ACTIVE


def test_applying_an_export_changes_nothing(applied: Client, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "exported.yaml"
    assert run("monitor", "export", "tiny", "-o", str(path)).code == 0
    assert path.read_text() == run("monitor", "export", "tiny").out
    assert path.read_text().startswith(f"# yaml-language-server: $schema={applied.url}{PATH}\n")
    before = detail(applied)
    again = run("monitor", "apply", "-f", str(path), "--json")
    assert (again.code, json.loads(again.out)) == (0, [])
    assert detail(applied) == before
    jsonschema.validate(yaml.safe_load(path.read_text()), monitor_schema())


def test_an_export_makes_the_same_monitor_again(applied: Client, run: Run, write: Write) -> None:
    path = write(run("monitor", "export", "tiny").out)
    old = applied.monitors.get("tiny")
    applied.monitors.stop(old.id)
    applied.monitors.delete(old.id)
    assert run("monitor", "apply", "-f", path).code == 0
    new = applied.monitors.get("tiny")
    assert (new.config, new.schema, new.thresholds, new.state) == (
        old.config,
        old.schema,
        old.thresholds,
        old.state,
    )


def test_the_versions_of_a_configuration_are_listed(applied: Client, run: Run, write: Write) -> None:
    run("monitor", "apply", "-f", write(FILE.replace("minutes: 5", "minutes: 10")))
    found = json.loads(run("monitor", "configs", "tiny", "--json").out)
    assert [(version["number"], version["by"]) for version in found] == [(2, "operator"), (1, "operator")]
    assert "frequency_minutes 5 -> 10" in run("monitor", "configs", "tiny").out


def test_any_field_is_set_by_name_on_the_command_line(applied: Client, run: Run) -> None:
    sets = ("--set", "performance.groundtruth_column=truth", "--set", "health.enabled=false")
    assert run("monitor", "configure", "tiny", *sets).code == 0
    config = applied.monitors.get("tiny").config
    assert (config.performance.groundtruth_column, config.health.enabled) == ("truth", False)
    refused = run("monitor", "configure", "tiny", "--set", "drift.image=null", "--set", "drift.enabled=false")
    assert (refused.code, "drift.enabled, drift.image.height" in refused.err) == (5, True)
    assert run("monitor", "configure", "tiny", "--set", "frequency=1").code == 2


def test_what_the_server_does_not_have_is_told_with_its_line_before_anything_is_made(
    server: Client, run: Run, write: Write
) -> None:
    text = FILE.replace("dataset: chest", "dataset: none").replace(
        "    type: drift\n", "    type: drift\n    channels: [ward]\n"
    )
    refused = run("monitor", "apply", "-f", path := write(text))
    assert refused.code == 2
    assert f"{path}, line 7: config.drift.train_data: There is no dataset 'none'." in refused.err
    assert f"{path}, line 17: alerts.0.channels: there is no channel 'ward'" in refused.err
    other = run("monitor", "apply", "-f", write(FILE.replace("tiny", "other")))
    assert (other.code, "line 1: deployment: There is no deployment 'other'" in other.err) == (2, True)
    assert server.monitors.list() == []


def test_what_only_the_server_can_tell_has_its_line_too(server: Client, run: Run, write: Write) -> None:
    text = FILE.replace("      version: 1", "      version: 1\n      images_saved_as: numpy")
    refused = run("monitor", "apply", "-f", write(text))
    assert refused.code == 2
    assert "line 10: config.drift.train_data.images_saved_as is 'numpy', but" in refused.err
    assert server.monitors.list() == []


def test_every_wrong_value_is_told_at_once_with_field_and_line() -> None:
    text = (
        FILE.replace("minutes: 5", "minutes: 0")
        .replace("soft: 0.42", "soft: 0.9")
        .replace("bound: 0.85, surely: true", "surely: true")
        .replace("name: alarm", "name: accuracy")
    )
    found = refusal(text)
    assert found[0].startswith("m.yaml, line 3: config.frequency_minutes is 0; give a whole number")
    assert found[1].startswith("m.yaml, line 13: thresholds.image.hard: image has soft 0.9")
    assert found[2].startswith("m.yaml, line 19: alerts.1.name is 'accuracy', as of another alert")
    assert found[3].startswith("m.yaml, line 19: alerts.1.bound is missing")
    assert len(found) == 4


def test_wrong_types_do_not_hide_wrong_values_of_other_fields() -> None:
    text = (
        FILE.replace("deployment: tiny", "name: tiny")
        .replace("minutes: 5", "minutes: 0")
        .replace("enabled: true", "enabled: perhaps")
        .replace("kind: prediction_output", "kind: other")
        .replace("name: prediction", "name: ' '")
        .replace("type: drift, soft: 0.42", "type: drfit, soft: .nan")
        .replace("type: performance\n", "type: other\n    breaches: 0\n")
    )
    told = [re.split(r": | ", message.partition(": ")[2])[0] for message in refusal(text)]
    assert sorted(told) == [
        "alerts.1.breaches",
        "alerts.1.type",
        "config.drift.enabled",
        "config.frequency_minutes",
        "deployment",
        "name",
        "schema.0.kind",
        "schema.0.name",
        "thresholds.image.soft",
        "thresholds.image.type",
    ]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("model_type: regresion\n  performance: {enabled: true, positive: A}", "config.model_type"),
        ("input_data_type: tables\n  keep_images: false", "config.input_data_type"),
        (
            "performance: {compute: bespoke, custom: {code: c, version: 1, function: m.py:f}}",
            "config.performance.compute",
        ),
    ],
)
def test_what_a_field_with_a_wrong_type_might_explain_is_not_told(text: str, field: str) -> None:
    (message,) = refusal(FILE.replace("frequency_minutes: 5", text))
    assert f": {field}: Input should be " in message


def test_an_alert_tells_all_of_its_errors() -> None:
    text = FILE.replace("name: alarm", "name: Alarm").replace(
        "      - on: evidence\n", "      - {on: evidence, surely: true}\n      - name: ' '\n"
    )
    text = text.replace("    type: drift\n", "    type: drift\n    breaches: 0\n    repeat_minutes: -1\n")
    found = refusal(text)
    assert [message.partition(": ")[2].partition(" ")[0] for message in found] == [
        "alerts.0.name",
        "alerts.0.conditions.0.surely",
        "alerts.0.conditions.1.metric",
        "alerts.0.conditions.1.bound",
        "alerts.0.breaches",
        "alerts.0.repeat_minutes",
    ]


def test_what_the_server_lacks_is_told_with_what_is_wrong_in_the_file(
    server: Client, run: Run, write: Write
) -> None:
    text = (
        FILE.replace("deployment: tiny", "deployment: other")
        .replace("minutes: 5", "minutes: 0")
        .replace("dataset: chest", "dataset: none")
        .replace("state: active", "state: 5")
    )
    refused = run("monitor", "apply", "-f", write(text), "--dry-run")
    assert refused.code == 2
    for sentence in (
        "line 1: deployment: There is no deployment 'other'",
        "line 3: config.frequency_minutes is 0;",
        "line 7: config.drift.train_data: There is no dataset 'none'.",
        "line 23: state: Input should be",
    ):
        assert sentence in refused.err


def test_a_file_with_errors_is_told_though_no_server_answers(run_anywhere: Run, write: Write) -> None:
    path = write(FILE.replace("minutes: 5", "minutes: 0"))
    refused = run_anywhere("--url", "http://127.0.0.1:9", "monitor", "apply", "-f", path)
    assert (refused.code, "config.frequency_minutes is 0" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("frequency_minutes: 5", "frequency: 5", "line 3: config.frequency: Unexpected keyword argument"),
        ("version: 1", "version: one", "line 9: config.drift.train_data.version: Input should be"),
        ("value_type: categorical", "value_type: any", "line 11: schema.0.value_type: Input should be"),
        ("deployment: tiny\n", "", "line 1: deployment: "),
        ("deployment: tiny", "deployment: ''", "line 1: deployment is empty; name it."),
        ("deployment: tiny", "deployment: tiny\ndeployment: b", "line 2: deployment is given twice"),
        ("frequency_minutes: 5", "model_type: ranking", "line 3: config.model_type: Input should be"),
        (TRAIN_DATA, "", "line 4: config.drift.train_data is missing"),
        ("name: prediction", "name: ' '", "line 11: schema.0.name is empty"),
        ("config:", "config: [", "line 4: expected"),
        ("config:", "config: !!python/object:os.system", "line 2: could not determine a constructor"),
        ("deployment: tiny", "--- 1\n---\ndeployment: tiny", "line 2: but found another document."),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(before: str, after: str, sentence: str) -> None:
    found = refusal(FILE.replace(before, after, 1))
    assert any(sentence in message for message in found), found


@pytest.mark.parametrize(
    "data", [b"", b" \n", b"# only a comment\n", b"\xff\xfe\x00", b"[1, 2]", b"text", b"[" * 5000]
)
def test_what_is_no_monitor_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_document(data, "m.yaml")
    assert "m.yaml" in caught.value.message


def test_words_that_old_yaml_takes_for_booleans_are_text() -> None:
    text = FILE.replace("  frequency_minutes: 5", "  performance: {enabled: true, positive: NO}")
    wanted = read_document(text.encode(), "m.yaml").wanted
    assert wanted.config.performance.positive == "NO"
    assert wanted.alerts[0].conditions[0].on == "evidence"


def test_anchors_and_merges_are_read() -> None:
    text = FILE.replace("image: {type", "image: &image {type").replace(
        "alerts:", "  prediction: {<<: *image, soft: 0.2}\nalerts:"
    )
    wanted = read_document(text.encode(), "m.yaml").wanted
    assert (wanted.thresholds["prediction"].soft, wanted.thresholds["prediction"].hard) == (0.2, 0.55)


def test_json_is_read_as_well() -> None:
    text = json.dumps(yaml.safe_load(FILE.replace("- on:", "- 'on':")))
    assert read_document(text.encode(), "m.json").wanted == read_document(FILE.encode(), "m.yaml").wanted


def test_standard_input_is_read(server: Client, run: Run) -> None:
    refused = run("monitor", "apply", "-f", "-")
    assert (refused.code, "standard input is empty" in refused.err) == (2, True)


def test_the_schema_is_the_same_in_the_docs_on_the_command_line_and_at_the_server(
    server: Client, run_anywhere: Run
) -> None:
    published = json.loads((ROOT / "docs" / "monitor.schema.json").read_text())
    assert published == monitor_schema()
    assert json.loads(run_anywhere("monitor", "schema").out) == published
    assert server.json("GET", PATH) == published
    jsonschema.Draft202012Validator.check_schema(published)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("minutes: 5", "minutes: 0"),
        ("minutes: 5", "minutes: 1441"),
        (f"height: {SIDE}", "height: 1"),
        ("enabled: true", "enabled: perhaps"),
        ("state: active", "state: error"),
        ("  drift:", "  drifts:"),
    ],
)
def test_the_schema_refuses_what_apply_refuses(before: str, after: str) -> None:
    def load(text: str) -> Any:
        return yaml.safe_load(text.replace("- on:", "- 'on':"))

    jsonschema.validate(load(FILE), monitor_schema())
    wrong = FILE.replace(before, after, 1)
    assert refusal(wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(load(wrong), monitor_schema())


def test_every_field_of_the_configuration_is_documented() -> None:
    page = (ROOT / "docs" / "monitor-config.md").read_text()
    schema = monitor_schema()

    def names(place: dict[str, Any], prefix: str) -> Iterator[str]:
        kinds = [place, *place.get("anyOf", ())]
        reference = next((kind["$ref"] for kind in kinds if "$ref" in kind), None)
        if reference is None:
            yield prefix
            return
        for name, inner in schema["$defs"][reference.rpartition("/")[2]].get("properties", {}).items():
            yield from names(inner, f"{prefix}.{name}" if prefix else name)

    found = list(names({"$ref": "#/$defs/MonitorConfig"}, ""))
    assert len(found) > 40
    assert [name for name in found if f"`{name}`" not in page] == []


def test_the_example_is_valid_and_has_the_thresholds_of_its_json_file() -> None:
    folder = ROOT / "examples" / "chest_xray"
    data = (folder / "monitor.yaml").read_bytes()
    jsonschema.validate(yaml.safe_load(data), monitor_schema())
    read_document(data, "monitor.yaml")
    assert yaml.safe_load(data)["thresholds"] == json.loads((folder / "threshold.json").read_text())
