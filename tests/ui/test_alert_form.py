"""The form of an alert: every field, what is wrong at it, and rows that come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from parts_browser import (
    ACCURACY,
    EVIL,
    add_alert,
    alerts_path,
    browser,
    make_monitor,
    rules,
    services_of,
)
from tidegauge.domain.alert import (
    AlertRule,
    Combine,
    Condition,
    Operator,
    Severity,
    Subject,
)
from tidegauge.domain.channel import ChannelKind
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, ValueType
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.retraining import DatasetVersion, PipelineChoice, Promote, RetrainAction
from tidegauge.domain.status import Status
from tidegauge.ui import alert_form


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with browser(tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def monitor(pages: TestClient) -> Monitor:
    return make_monitor(services_of(pages))


def test_the_workflows_alert_is_made_as_it_says(pages: TestClient, monitor: Monitor) -> None:
    form = pages.get(f"{alerts_path(monitor)}/new").text
    for label in ("Alert Name", "Alert Type", "Configure Based On", "Add Metric", "Breach Threshold"):
        assert f">{label}</" in form
    for word in ("Feature Drift", "Performance Decay", "Deployment Health", "Threshold", ">Submit</button>"):
        assert word in form
    rule = add_alert(pages, monitor)
    assert rule == AlertRule(
        "accuracy", MetricType.PERFORMANCE, (Condition(name="accuracy", operator=Operator.LESS, bound=0.85),)
    )
    listed = pages.get(alerts_path(monitor)).text
    assert "accuracy &lt; 0.85" in listed
    assert "not judged yet" in listed


def test_every_mistake_stands_at_its_field_and_nothing_typed_is_lost(
    pages: TestClient, monitor: Monitor
) -> None:
    fields = {
        **ACCURACY,
        "name": "Low Accuracy",
        "row": ["0", "4"],
        "conditions.0.bound": "low",
        "conditions.4.metric": "recall",
        "breaches": "many",
        "tags": "ward 3, lung",
        "retrain": "true",
        "retrain.metric": "accuracy",
        "retrain.margin": "0.7",
    }
    answer = pages.post(f"{alerts_path(monitor)}/new", data=fields)
    assert answer.status_code == 422
    page = answer.text
    for part in (
        "Value is &#39;low&#39;; give a number such as 0.85.",
        "Value is missing; a condition on metric has one.",
        "Breach Threshold is &#39;many&#39;",
        'value="Low Accuracy"',
        'value="low"',
        'value="many"',
        'value="ward 3, lung"',
        '<option value="recall" selected>',
        '<option value="performance" selected>',
    ):
        assert part in page
    for name in ("conditions.0.bound", "conditions.4.bound", "breaches"):
        assert f'id="{name}-error"' in page
    answer = pages.post(
        f"{alerts_path(monitor)}/new", data={**fields, "breaches": "2", "conditions.0.bound": "0.8"}
    )
    assert "Margin is 0.7; give a number from 0 to 0.5." in answer.text


def test_a_name_with_other_letters_is_refused_at_its_field(pages: TestClient, monitor: Monitor) -> None:
    answer = pages.post(f"{alerts_path(monitor)}/new", data={**ACCURACY, "name": EVIL})
    assert "Alert Name is &#39;&lt;script&gt;" in answer.text
    assert EVIL not in answer.text


@pytest.mark.parametrize("bound", ["nan", "inf", "-inf"])
def test_a_value_that_is_no_finite_number_is_refused(pages: TestClient, monitor: Monitor, bound: str) -> None:
    answer = pages.post(f"{alerts_path(monitor)}/new", data={**ACCURACY, "conditions.0.bound": bound})
    assert answer.status_code == 422
    assert "give a finite number" in answer.text


def test_a_form_without_any_condition_says_what_it_lacks(pages: TestClient, monitor: Monitor) -> None:
    answer = pages.post(f"{alerts_path(monitor)}/new", data={"name": "a", "type": "drift", "row": ["0", "1"]})
    assert answer.status_code == 422
    assert "Metric is empty; name a metric such as accuracy." in answer.text
    assert 'id="conditions.0.metric-error"' in answer.text


def test_what_the_model_never_gives_is_refused_at_its_row(pages: TestClient, monitor: Monitor) -> None:
    fields = {
        "row": ["0", "1"],
        "conditions.1.metric": "-other-",
        "conditions.1.other": "mae",
        "conditions.1.bound": "1",
    }
    answer = pages.post(f"{alerts_path(monitor)}/new", data={**ACCURACY, **fields})
    assert 'id="conditions.1.metric-error"' in answer.text
    assert "mae is of numbers, but model_type is classification" in answer.text


def test_two_alerts_of_one_name_are_refused_at_the_name(pages: TestClient, monitor: Monitor) -> None:
    add_alert(pages, monitor)
    answer = pages.post(f"{alerts_path(monitor)}/new", data=ACCURACY)
    assert answer.status_code == 409
    assert 'id="name-error"' in answer.text
    add_alert(pages, monitor, name="second")
    second = services_of(pages).monitors.alerts(monitor)[1]
    answer = pages.post(f"{alerts_path(monitor)}/{second.id}", data=ACCURACY)
    assert answer.status_code == 409
    assert "There is an alert &#39;accuracy&#39; of this monitor already" in answer.text


def test_rows_come_and_go_and_keep_what_was_typed(pages: TestClient, monitor: Monitor) -> None:
    more = pages.post(f"{alerts_path(monitor)}/new", data={**ACCURACY, "add": "true"})
    assert more.status_code == 200
    assert re.findall(r'name="row" value="(\d+)"', more.text) == ["0", "1"]
    assert 'value="0.85"' in more.text
    assert "aria-invalid" not in more.text
    fields = {**ACCURACY, "row": ["0", "1"], "conditions.1.bound": "0.5", "remove": "0"}
    fewer = pages.post(f"{alerts_path(monitor)}/new", data=fields)
    assert re.findall(r'name="row" value="(\d+)"', fewer.text) == ["1"]
    assert 'value="0.5"' in fewer.text
    assert 'value="0.85"' not in fewer.text
    assert rules(pages, monitor) == []


def test_empty_rows_are_left_out(pages: TestClient, monitor: Monitor) -> None:
    rule = add_alert(pages, monitor, row=["0", "1", "2"], **{"conditions.1.operator": ">="})
    assert len(rule.conditions) == 1


def test_several_conditions_are_combined(pages: TestClient, monitor: Monitor) -> None:
    fields = {
        "row": ["0", "1"],
        "combine": "any",
        "conditions.0.surely": "true",
        "conditions.0.segment": "*",
        "conditions.1.metric": "recall",
        "conditions.1.operator": "<=",
        "conditions.1.bound": "0.5",
        "breaches": "3",
        "severity": "critical",
        "tags": " ward-3 ,, lung",
    }
    rule = add_alert(pages, monitor, **fields)
    assert rule.combine is Combine.ANY
    assert rule.text == "accuracy surely < 0.85 in any segment or recall <= 0.5, 3 windows in a row"
    assert (rule.severity, rule.tags) == (Severity.CRITICAL, ("ward-3", "lung"))


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        (
            {
                "type": "drift",
                "based_on": "status",
                "conditions.0.operator": ">=",
                "conditions.0.status": "critical",
            },
            Condition(Subject.STATUS, operator=Operator.GREATER_EQUAL, status=Status.CRITICAL),
        ),
        (
            {
                "type": "drift",
                "based_on": "evidence",
                "conditions.0.bound": "",
                "conditions.0.operator": ">=",
            },
            Condition(Subject.EVIDENCE),
        ),
        (
            {"type": "health", "based_on": "quiet", "conditions.0.bound": "30", "conditions.0.operator": ">"},
            Condition(Subject.QUIET, operator=Operator.GREATER, bound=30),
        ),
        ({"conditions.0.metric": "*"}, Condition(name="*", operator=Operator.LESS, bound=0.85)),
    ],
)
def test_alerts_are_based_on_more_than_metrics(
    pages: TestClient, monitor: Monitor, fields: dict[str, str], condition: Condition
) -> None:
    assert add_alert(pages, monitor, **fields).conditions == (condition,)


def test_columns_of_a_table_are_named_freely(pages: TestClient) -> None:
    age = Feature("age in years", FeatureKind.INPUT, ValueType.CONTINUOUS)
    table = make_monitor(services_of(pages), config=MonitorConfig(input_data_type="tabular"), schema=(age,))
    fields = {"type": "drift", "conditions.0.metric": "-other-", "conditions.0.other": "age in years"}
    wanted = Condition(name="age in years", operator=Operator.LESS, bound=0.85)
    assert add_alert(pages, table, **fields).conditions == (wanted,)


def test_a_rule_with_everything_comes_back_from_its_form_as_it_was(monitor: Monitor) -> None:
    action = RetrainAction(
        PipelineChoice("code", 2, "p.py", {"epochs": "3", "note": "a=b"}),
        DatasetVersion("held", 1),
        Promote.AUTO,
        "recall",
        0.01,
        days=7,
        pause_hours=1.5,
    )
    whole = AlertRule(
        "all",
        MetricType.DRIFT,
        (
            Condition(name="image", bound=0.42, segment="west"),
            Condition(name="of my own", operator=Operator.LESS, bound=1e-7, surely=True),
            Condition(Subject.EVIDENCE, bound=3),
            Condition(Subject.EVIDENCE),
            Condition(Subject.STATUS, status=Status.WARNING),
            Condition(Subject.QUIET, bound=5),
        ),
        Combine.ANY,
        3,
        Severity.INFO,
        ("a", "b"),
        ("ward",),
        60,
        tell_resolved=False,
        retrain=action,
    )
    least = AlertRule("least", MetricType.HEALTH, (Condition(name="*", bound=1),), retrain=RetrainAction())
    for rule in (whole, least):
        assert alert_form.read(alert_form.form_of(rule, monitor)) == rule


def test_an_alert_is_changed(pages: TestClient, monitor: Monitor) -> None:
    add_alert(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    form = pages.get(f"{alerts_path(monitor)}/{alert.id}").text
    assert 'value="0.85"' in form
    assert '<option value="accuracy" selected>' in form
    answer = pages.post(f"{alerts_path(monitor)}/{alert.id}", data={**ACCURACY, "conditions.0.bound": "0.9"})
    assert answer.headers["location"] == alerts_path(monitor)
    assert [rule.text for rule in rules(pages, monitor)] == ["accuracy < 0.9"]


def test_channels_are_chosen_and_without_one_the_form_leads_to_settings(
    pages: TestClient, monitor: Monitor
) -> None:
    assert 'href="/settings/notifications"' in pages.get(f"{alerts_path(monitor)}/new").text
    url = {"url": "https://example.org/hook"}
    services_of(pages).channels.create("operator", "ward", ChannelKind.WEBHOOK, url)
    assert 'name="channels" type="checkbox" value="ward"' in pages.get(f"{alerts_path(monitor)}/new").text
    assert add_alert(pages, monitor, channels="ward").channels == ("ward",)
    answer = pages.post(f"{alerts_path(monitor)}/new", data={**ACCURACY, "name": "b", "channels": "gone"})
    assert answer.status_code == 422
    assert "There is no channel &#39;gone&#39;" in answer.text
    assert "is there no more" in answer.text


def test_metrics_are_those_of_the_model_and_the_schema(pages: TestClient) -> None:
    schema = (
        Feature("age", FeatureKind.INPUT, ValueType.CONTINUOUS),
        Feature("id", FeatureKind.ROW_ID, ValueType.CATEGORICAL),
    )
    config = MonitorConfig(model_type="regression", input_data_type="tabular")
    form = pages.get(
        f"{alerts_path(make_monitor(services_of(pages), config=config, schema=schema))}/new"
    ).text
    for name in ("age", "prediction", "mae", "latency_p95"):
        assert f'<option value="{name}">' in form
    for name in ("image", "id", "accuracy"):
        assert f'<option value="{name}">' not in form
