"""The alerts of a monitor, as pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from parts_browser import EVIL, START, browser, make_monitor, services_of
from tidegauge.domain.alert import (
    Alert,
    AlertEvent,
    AlertRule,
    Combine,
    Condition,
    Operator,
    Severity,
    Subject,
)
from tidegauge.domain.channel import ChannelKind
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, MonitorRun, ValueType
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.retraining import DatasetVersion, PipelineChoice, Promote, RetrainAction
from tidegauge.domain.status import Status
from tidegauge.ui import alert_form

#: Section 8 of the workflow, as its form is filled in.
ACCURACY = {
    "name": "accuracy",
    "type": "performance",
    "based_on": "metric",
    "row": "0",
    "conditions.0.metric": "accuracy",
    "conditions.0.operator": "<",
    "conditions.0.bound": "0.85",
    "breaches": "1",
    "repeat_minutes": "0",
    "severity": "warning",
    "combine": "all",
    "tell_resolved": "true",
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with browser(tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture
def monitor(pages: TestClient) -> Monitor:
    return make_monitor(services_of(pages))


def path(monitor: Monitor) -> str:
    return f"/monitors/{monitor.id}/alerts"


def add(pages: TestClient, monitor: Monitor, **fields: object) -> AlertRule:
    """Send the form of the workflow with other fields, and return the rule that it made."""
    answer = pages.post(f"{path(monitor)}/new", data={**ACCURACY, **fields})
    assert (answer.status_code, answer.headers.get("location")) == (303, path(monitor)), answer.text
    return rules(pages, monitor)[-1]


def rules(pages: TestClient, monitor: Monitor) -> list[AlertRule]:
    return [alert.rule for alert in services_of(pages).monitors.alerts(monitor)]


def fire(pages: TestClient, monitor: Monitor, alert: Alert, summary: str = "it is low") -> AlertEvent:
    database = services_of(pages).database
    healthy = Status.HEALTHY
    run = MonitorRun(
        new_id(),
        monitor.id,
        1,
        START,
        START + timedelta(minutes=5),
        1,
        START,
        healthy,
        healthy,
        healthy,
        healthy,
    )
    database.monitor_runs.add(run)
    event = AlertEvent(
        new_id(), alert.id, monitor.id, run.id, alert.name, alert.rule.text, 0.7, run.end, summary=summary
    )
    return database.alert_events.add(event)


def test_the_workflows_alert_is_made_as_it_says(pages: TestClient, monitor: Monitor) -> None:
    form = pages.get(f"{path(monitor)}/new").text
    for label in ("Alert Name", "Alert Type", "Configure Based On", "Add Metric", "Breach Threshold"):
        assert f">{label}</" in form
    for word in ("Feature Drift", "Performance Decay", "Deployment Health", "Threshold", ">Submit</button>"):
        assert word in form
    rule = add(pages, monitor)
    assert rule == AlertRule(
        "accuracy", MetricType.PERFORMANCE, (Condition(name="accuracy", operator=Operator.LESS, bound=0.85),)
    )
    listed = pages.get(path(monitor)).text
    assert "accuracy &lt; 0.85" in listed
    assert "not judged yet" in listed


def test_an_empty_list_says_what_to_do_first(pages: TestClient, monitor: Monitor) -> None:
    assert "Press Add Alert" in pages.get(path(monitor)).text


def test_strangers_are_sent_to_the_sign_in(pages: TestClient, monitor: Monitor) -> None:
    cookies = dict(pages.cookies)
    pages.cookies.clear()
    for below in ("", "/new", "/history"):
        answer = pages.get(path(monitor) + below)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            f"/sign-in?next={path(monitor)}{below}",
        )
    pages.cookies.update(cookies)


def test_anothers_alerts_are_not_found(pages: TestClient) -> None:
    theirs = make_monitor(services_of(pages), owner="other")
    for below in ("", "/new", "/history"):
        assert pages.get(path(theirs) + below).status_code == 404
    assert pages.post(f"{path(theirs)}/new", data=ACCURACY).status_code == 404


def test_an_alert_of_another_monitor_is_not_found(pages: TestClient, monitor: Monitor) -> None:
    other = make_monitor(services_of(pages))
    add(pages, other)
    alert = services_of(pages).monitors.alerts(other)[0]
    for below in ("", "/mute", "/delete"):
        assert pages.get(f"{path(monitor)}/{alert.id}{below}").status_code == 404
    for below in ("", "/mute", "/unmute", "/delete"):
        assert pages.post(f"{path(monitor)}/{alert.id}{below}", data=ACCURACY).status_code == 404


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
    answer = pages.post(f"{path(monitor)}/new", data=fields)
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
    answer = pages.post(f"{path(monitor)}/new", data={**fields, "breaches": "2", "conditions.0.bound": "0.8"})
    assert "Margin is 0.7; give a number from 0 to 0.5." in answer.text


def test_a_name_with_other_letters_is_refused_at_its_field(pages: TestClient, monitor: Monitor) -> None:
    answer = pages.post(f"{path(monitor)}/new", data={**ACCURACY, "name": EVIL})
    assert "Alert Name is &#39;&lt;script&gt;" in answer.text
    assert EVIL not in answer.text


@pytest.mark.parametrize("bound", ["nan", "inf", "-inf"])
def test_a_value_that_is_no_finite_number_is_refused(pages: TestClient, monitor: Monitor, bound: str) -> None:
    answer = pages.post(f"{path(monitor)}/new", data={**ACCURACY, "conditions.0.bound": bound})
    assert answer.status_code == 422
    assert "give a finite number" in answer.text


def test_a_form_without_any_condition_says_what_it_lacks(pages: TestClient, monitor: Monitor) -> None:
    answer = pages.post(f"{path(monitor)}/new", data={"name": "a", "type": "drift", "row": ["0", "1"]})
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
    answer = pages.post(f"{path(monitor)}/new", data={**ACCURACY, **fields})
    assert 'id="conditions.1.metric-error"' in answer.text
    assert "mae is of numbers, but model_type is classification" in answer.text


def test_two_alerts_of_one_name_are_refused_at_the_name(pages: TestClient, monitor: Monitor) -> None:
    add(pages, monitor)
    answer = pages.post(f"{path(monitor)}/new", data=ACCURACY)
    assert answer.status_code == 409
    assert 'id="name-error"' in answer.text
    add(pages, monitor, name="second")
    second = services_of(pages).monitors.alerts(monitor)[1]
    answer = pages.post(f"{path(monitor)}/{second.id}", data=ACCURACY)
    assert answer.status_code == 409
    assert "There is an alert &#39;accuracy&#39; of this monitor already" in answer.text


def test_rows_come_and_go_and_keep_what_was_typed(pages: TestClient, monitor: Monitor) -> None:
    more = pages.post(f"{path(monitor)}/new", data={**ACCURACY, "add": "true"})
    assert more.status_code == 200
    assert re.findall(r'name="row" value="(\d+)"', more.text) == ["0", "1"]
    assert 'value="0.85"' in more.text
    assert "aria-invalid" not in more.text
    fields = {**ACCURACY, "row": ["0", "1"], "conditions.1.bound": "0.5", "remove": "0"}
    fewer = pages.post(f"{path(monitor)}/new", data=fields)
    assert re.findall(r'name="row" value="(\d+)"', fewer.text) == ["1"]
    assert 'value="0.5"' in fewer.text
    assert 'value="0.85"' not in fewer.text
    assert rules(pages, monitor) == []


def test_empty_rows_are_left_out(pages: TestClient, monitor: Monitor) -> None:
    rule = add(pages, monitor, row=["0", "1", "2"], **{"conditions.1.operator": ">="})
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
    rule = add(pages, monitor, **fields)
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
        (
            {"type": "drift", "conditions.0.metric": "-other-", "conditions.0.other": "age in years"},
            Condition(name="age in years", operator=Operator.LESS, bound=0.85),
        ),
        ({"conditions.0.metric": "*"}, Condition(name="*", operator=Operator.LESS, bound=0.85)),
    ],
)
def test_alerts_are_based_on_more_than_metrics(
    pages: TestClient, monitor: Monitor, fields: dict[str, str], condition: Condition
) -> None:
    assert add(pages, monitor, **fields).conditions == (condition,)


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
    add(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    form = pages.get(f"{path(monitor)}/{alert.id}").text
    assert 'value="0.85"' in form
    assert '<option value="accuracy" selected>' in form
    answer = pages.post(f"{path(monitor)}/{alert.id}", data={**ACCURACY, "conditions.0.bound": "0.9"})
    assert answer.headers["location"] == path(monitor)
    assert [rule.text for rule in rules(pages, monitor)] == ["accuracy < 0.9"]


def test_channels_are_chosen_and_without_one_the_form_leads_to_settings(
    pages: TestClient, monitor: Monitor
) -> None:
    assert 'href="/settings/notifications"' in pages.get(f"{path(monitor)}/new").text
    url = {"url": "https://example.org/hook"}
    services_of(pages).channels.create("operator", "ward", ChannelKind.WEBHOOK, url)
    assert 'name="channels" type="checkbox" value="ward"' in pages.get(f"{path(monitor)}/new").text
    assert add(pages, monitor, channels="ward").channels == ("ward",)
    answer = pages.post(f"{path(monitor)}/new", data={**ACCURACY, "name": "b", "channels": "gone"})
    assert answer.status_code == 422
    assert "There is no channel &#39;gone&#39;" in answer.text
    assert "is there no more" in answer.text


def test_metrics_are_those_of_the_model_and_the_schema(pages: TestClient) -> None:
    schema = (
        Feature("age", FeatureKind.INPUT, ValueType.CONTINUOUS),
        Feature("id", FeatureKind.ROW_ID, ValueType.CATEGORICAL),
    )
    config = MonitorConfig(model_type="regression", input_data_type="tabular")
    form = pages.get(f"{path(make_monitor(services_of(pages), config=config, schema=schema))}/new").text
    for name in ("age", "prediction", "mae", "latency_p95"):
        assert f'<option value="{name}">' in form
    for name in ("image", "id", "accuracy"):
        assert f'<option value="{name}">' not in form


def test_mute_until_and_unmute(pages: TestClient, monitor: Monitor) -> None:
    add(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    mute = f"{path(monitor)}/{alert.id}/mute"
    assert "no channel is told" in pages.get(mute).text
    pages.post(mute, data={"for": "8"})
    muted = services_of(pages).monitors.alerts(monitor)[0].muted_until
    assert muted
    assert timedelta(hours=7) < muted - datetime.now(UTC) < timedelta(hours=9)
    assert "muted" in pages.get(path(monitor)).text
    assert pages.post(f"{path(monitor)}/{alert.id}/unmute").headers["location"] == path(monitor)
    assert services_of(pages).monitors.alerts(monitor)[0].muted_until is None
    pages.post(mute, data={"for": "until", "until": "2999-01-01T12:00"})
    assert services_of(pages).monitors.alerts(monitor)[0].muted_until == datetime(2999, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("2001-01-01T12:00", "which is past"),
        ("", "Until (UTC) is missing"),
        ("soon", "is &#39;soon&#39;; give"),
    ],
)
def test_a_time_to_mute_until_has_to_come(pages: TestClient, monitor: Monitor, until: str, said: str) -> None:
    add(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    answer = pages.post(f"{path(monitor)}/{alert.id}/mute", data={"for": "until", "until": until})
    assert answer.status_code == 422
    assert said in answer.text
    assert '<option value="until" selected>' in answer.text


def test_deletion_says_what_goes_with_it(pages: TestClient, monitor: Monitor) -> None:
    add(pages, monitor)
    alert = services_of(pages).monitors.alerts(monitor)[0]
    services_of(pages).database.alerts.update(alert.id, firing_since=START)
    sheet = pages.get(f"{path(monitor)}/{alert.id}/delete").text
    assert "accuracy &lt; 0.85" in sheet
    assert "it is firing now" in sheet
    assert pages.post(f"{path(monitor)}/{alert.id}/delete").headers["location"] == path(monitor)
    assert rules(pages, monitor) == []


def test_the_list_says_what_fires_since_when_and_what_was_told_last(
    pages: TestClient, monitor: Monitor
) -> None:
    add(pages, monitor)
    add(pages, monitor, name="beta")
    alert = services_of(pages).monitors.alerts(monitor)[0]
    services_of(pages).database.alerts.update(alert.id, firing_since=START, judged_until=START)
    event = fire(pages, monitor, alert)
    page = pages.get(path(monitor)).text
    assert "firing" in page
    assert "2026-03-01 12:00 UTC" in page
    assert f'href="/monitors/{monitor.id}/runs/{event.run_id}"' in page
    assert page.index(">accuracy</a>") < page.index(">beta</a>")
    down = pages.get(f"{path(monitor)}?sort=-name").text
    assert down.index(">beta</a>") < down.index(">accuracy</a>")


def test_the_list_is_searched(pages: TestClient, monitor: Monitor) -> None:
    add(pages, monitor)
    add(pages, monitor, name="beta", **{"conditions.0.metric": "recall"})
    page = pages.get(f"{path(monitor)}?q=RECALL").text
    assert ">beta</a>" in page
    assert ">accuracy</a>" not in page


def test_the_history_leads_to_the_runs_and_shows_names_as_text(pages: TestClient, monitor: Monitor) -> None:
    assert "No alert has fired yet" in pages.get(f"{path(monitor)}/history").text
    add(pages, monitor)
    event = fire(pages, monitor, services_of(pages).monitors.alerts(monitor)[0], EVIL)
    page = pages.get(f"{path(monitor)}/history").text
    assert f'href="/monitors/{monitor.id}/runs/{event.run_id}"' in page
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "Nothing that was told has" in pages.get(f"{path(monitor)}/history?q=other").text
