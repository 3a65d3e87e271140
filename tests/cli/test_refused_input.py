"""Bad input is refused in a sentence that names the field, the value and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_runs import Outcome, Run
from parts import running_server, write_model
from tidegauge.client import Client
from tidegauge.client.apply import read_document
from tidegauge.errors import InvalidInputError

ACTION = "alerts: [{name: a, type: drift, conditions: [{on: evidence}], retrain: {ACTION}}]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with a deployment and its monitor, which these tests share."""
    folder = tmp_path_factory.mktemp("refused")
    with running_server(folder / "home") as client:
        client.models.create("tiny")
        client.models.add_version("tiny", write_model(folder / "model"))
        client.deployments.create("tiny", "tiny", 1)
        client.monitors.create("tiny")
        yield client


@pytest.mark.parametrize("bound", ["nan", "inf", "-inf"])
def test_an_alert_with_a_bound_that_is_not_finite(run: Run, bound: str) -> None:
    refused = run("alert", "add", "tiny", "low", "accuracy", "<", "--", bound)
    assert (refused.code, refused.out) == (2, "")
    assert f"conditions.0.bound is {bound}; give a finite number." in refused.err


@pytest.mark.parametrize(
    ("type_", "sentence"),
    [
        ("performance", "bogus is no metric of performance; use one of accuracy, "),
        ("health", "bogus is no metric of health; use one of "),
        ("drift", "bogus is no score of drift; use one of image, prediction."),
    ],
)
def test_an_alert_on_a_metric_that_cannot_exist(run: Run, type_: str, sentence: str) -> None:
    refused = run("alert", "add", "tiny", "low", "bogus", "<", "0.3", "--type", type_)
    assert (refused.code, sentence in refused.err) == (2, True)


def test_an_alert_is_refused_with_all_that_is_wrong(run: Run) -> None:
    refused = run("alert", "add", "tiny", "Low", "bogus", "<", "0.3", "--breaches", "0", "--channel", "none")
    for sentence in ("name is 'Low'", "bogus is no metric", "breaches is 0", "There is no channel 'none'"):
        assert sentence in refused.err


def test_an_alert_of_a_file_on_a_metric_that_cannot_exist() -> None:
    text = "deployment: tiny\nalerts:\n- {name: a, type: drift, conditions: [{name: pixels, bound: 1}]}\n"
    with pytest.raises(InvalidInputError) as caught:
        read_document(text.encode(), "m.yaml")
    (error,) = caught.value.errors
    assert error.message.startswith("m.yaml, line 3: alerts.0.conditions.0.name: pixels is no score of drift")


def test_a_number_of_a_configuration_that_is_not_finite(run: Run) -> None:
    refused = run("monitor", "configure", "tiny", "--set", "evidence.alpha=NaN")
    assert (refused.code, "evidence.alpha is nan; give a finite number." in refused.err) == (2, True)


def test_suggestions_for_an_infinite_rate(run: Run) -> None:
    refused = run("monitor", "suggest-thresholds", "tiny", "--soft-per-week", "inf")
    assert (refused.code, "soft_per_week: Input should be a finite number" in refused.err) == (2, True)


@pytest.mark.parametrize("number", [".nan", ".inf"])
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("alerts: [{name: a, type: health, conditions: [{name: ready, bound: NUMBER}]}]", "alerts.0.bound"),
        ("thresholds: {image: {type: drift, soft: NUMBER, hard: 1}}", "thresholds.image.soft"),
        ("thresholds: {image: {type: drift, soft: 0, hard: NUMBER}}", "thresholds.image.hard"),
        ("config: {evidence: {alpha: NUMBER}}", "config.evidence.alpha"),
        ("config: {evidence: {minimum_effect: NUMBER}}", "config.evidence.minimum_effect"),
        ("config: {evidence: {tolerances: {noise: NUMBER}}}", "config.evidence.tolerances.noise"),
        (ACTION.replace("ACTION", "margin: NUMBER"), "alerts.0.retrain.margin"),
        (ACTION.replace("ACTION", "pause_hours: NUMBER"), "alerts.0.retrain.pause_hours"),
        (
            ACTION.replace("ACTION", "pipeline: {code: c, parameters: {rate: NUMBER}}"),
            "alerts.0.retrain.pipeline.parameters.rate",
        ),
    ],
)
def test_a_number_of_a_file_that_is_not_finite(text: str, field: str, number: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_document(f"deployment: tiny\n{text.replace('NUMBER', number)}\n".encode(), "m.yaml")
    (error,) = caught.value.errors
    assert error.field == field
    assert f" is {number.removeprefix('.')}" in error.message


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("!!int abc", "'abc' cannot be read as int"),
        ("!!int ''", "'' cannot be read as int"),
        ("!!float abc", "'abc' cannot be read as float"),
        ("!!bool abc", "'abc' cannot be read as bool"),
        ("!!timestamp abc", "'abc' cannot be read as timestamp"),
        ("!!timestamp 2026-99-99", "'2026-99-99' cannot be read as timestamp"),
        ("!!float " + ":".join(["9"] * 400), "cannot be read as float"),
        ("!!binary a", "failed to decode base64 data"),
        ("1" * 5000, "cannot be read as int"),
    ],
)
def test_a_value_of_a_file_that_is_not_of_its_yaml_type(value: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_document(f"state: ready\ndeployment: {value}\n".encode(), "m.yaml")
    (error,) = caught.value.errors
    assert error.message.startswith("m.yaml, line 2: ")
    assert sentence in error.message


def labels(run: Run, folder: Path, text: str) -> Outcome:
    """Send a file of labels by event id."""
    path = folder / "labels.csv"
    path.write_text(text)
    return run("monitor", "labels", "tiny", str(path))


def test_labels_whose_index_is_no_number(run: Run, tmp_path: Path) -> None:
    refused = labels(run, tmp_path, "event_id,label,index\ne1,A,abc\ne2,A,\ne3,A,1.5\n")
    assert refused.code == 2
    assert "index is 'abc' in row 1 of " in refused.err
    assert "index is '1.5' in row 3 of " in refused.err
    assert "row 2" not in refused.err


def test_labels_of_which_many_have_a_wrong_index_are_told_briefly(run: Run, tmp_path: Path) -> None:
    refused = labels(run, tmp_path, "event_id,label,index\n" + "e1,A,abc\n" * 1000)
    assert (refused.code, "So it is in 995 more rows." in refused.err) == (2, True)


def test_labels_without_a_row(run: Run, tmp_path: Path) -> None:
    refused = labels(run, tmp_path, "event_id,label\n")
    assert refused.code == 2
    assert refused.err.strip().endswith("labels.csv has no row; give a row for each label.")


def test_labels_that_lack_both_columns(run: Run, tmp_path: Path) -> None:
    refused = labels(run, tmp_path, "id,truth\n1,A\n")
    assert (refused.code, "no column 'event_id' and no column 'label', but id, truth" in refused.err) == (
        2,
        True,
    )


def test_empty_cells_of_labels_are_dead_letters(run: Run, server: Client, tmp_path: Path) -> None:
    taken = labels(run, tmp_path, "event_id,label\ne1,A\ne2,\n,A\ne4,nan\n")
    assert (taken.code, "3 have no label or no event id" in taken.err) == (0, True)
    reasons = {letter.event_id: letter.reason for letter in server.monitors.dead_letters("tiny")}
    assert reasons == {
        "e1": "No logged event has this id.",
        "e2": "label is empty.",
        "": "event_id is empty.",
        "e4": "label is empty.",
    }


def test_a_label_of_a_type_that_no_label_has_is_one_sentence(server: Client) -> None:
    with pytest.raises(InvalidInputError) as caught:
        server.monitors.post_labels("tiny", [{"event_id": "e1", "label": ["A"]}])
    (error,) = caught.value.errors
    assert error.message.startswith("labels.0.label: a label is text, a number,")


def test_no_label_at_all_is_one_sentence(server: Client) -> None:
    with pytest.raises(InvalidInputError, match=r"^labels: there is no label in it; give one or more"):
        server.monitors.post_labels("tiny", [])


def test_a_backfill_of_the_future(run: Run) -> None:
    refused = run("monitor", "backfill", "tiny", "--from", "2999-01-01", "--to", "2999-01-02")
    assert (refused.code, refused.out) == (2, "")
    assert "start is 2999-01-01T00:00:00+00:00, which lies in the future" in refused.err
