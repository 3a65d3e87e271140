"""``/metrics``: what it says, that it is Prometheus' format, and how long it takes."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from parts import absent
from parts_prometheus import (
    EVIDENCE,
    METRICS,
    MINUTE,
    MetricsPage,
    add_alert,
    add_deployment,
    add_everything,
    add_monitor,
    add_run,
)
from tidegauge.api.metrics import FAMILIES
from tidegauge.app import build_services, create_app
from tidegauge.domain.deployment import DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorState, SegmentResult
from tidegauge.domain.status import Status
from tidegauge.domain.users import Role, Scope, User
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.fixture(params=["sqlite", "postgresql"])
def services(request: pytest.FixtureRequest, tmp_path: Path) -> Services:
    flags = {"database_url": request.getfixturevalue("postgres_url")} if request.param == "postgresql" else {}
    return build_services(load_settings(tmp_path / "home", {"port": 1, **flags}, {}))


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Services]:
    """Services that are not started, on SQLite alone: for what has nothing to do with the database."""
    made = build_services(load_settings(tmp_path / "home", {"port": 1}, {}))
    yield made
    made.database.close()


def scrape(services: Services) -> MetricsPage:
    answer = TestClient(create_app(services)).get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return MetricsPage(answer.text)


def test_every_family_has_a_value_where_there_is_something_to_say(services: Services) -> None:
    add_everything(services.database, "xray", datetime.now(UTC))
    page = scrape(services)
    services.database.close()
    assert page.names == set(FAMILIES)


def test_an_empty_installation_has_a_page(services: Services) -> None:
    page = scrape(services)
    services.database.close()
    assert page.value("tidegauge_events_received_total") == 0
    assert page.value("tidegauge_schedule_lag_seconds") == 0


def test_segments_have_series_of_their_own(services: Services) -> None:
    now = datetime.now(UTC)
    database = services.database
    monitor = add_monitor(database, add_deployment(database, "xray", now), now)
    low = replace(METRICS[2], value=0.5)
    west = SegmentResult("west", 6, Status.HEALTHY, Status.CRITICAL, Status.WARNING, (low,))
    add_run(database, monitor, now, segments=(west,))
    of_west = replace(EVIDENCE, alpha=0.00025)
    database.monitors.update(monitor.id, evidence=replace(EVIDENCE, segments={"west": of_west}))
    page = scrape(services)
    services.database.close()
    own = {"monitor_id": monitor.id, "segment": "west"}
    assert page.value("tidegauge_monitor_value", **own, name="accuracy") == 0.5
    assert page.value("tidegauge_monitor_status", **own, part="drift", status="critical") == 1
    assert page.value("tidegauge_monitor_drift_alarm", **own) == 1
    assert page.value("tidegauge_monitor_evidence_threshold", **own) == pytest.approx(math.log(4000))


def test_a_page_says_what_the_rows_say(services: Services) -> None:
    now = datetime.now(UTC)
    monitor = add_everything(services.database, "xray", now)
    page = scrape(services)
    services.database.close()
    own = {"monitor": "xray", "monitor_id": monitor.id}
    value = {"type": "performance", "name": "accuracy", **own}
    expected = [
        ("tidegauge_monitor_value", value, 0.75),
        ("tidegauge_monitor_value_low", value, 0.47),
        ("tidegauge_monitor_value_high", value, 0.91),
        ("tidegauge_monitor_value_surely_low", value, 0.4),
        ("tidegauge_monitor_value_surely_high", value, 0.95),
        ("tidegauge_monitor_value_samples", value, 12),
        ("tidegauge_monitor_threshold", {**value, "bound": "soft"}, 0.8),
        ("tidegauge_monitor_threshold", {**value, "bound": "hard"}, 0.7),
        ("tidegauge_monitor_value_status", {**value, "status": "warning"}, 1),
        ("tidegauge_monitor_value_status", {**value, "status": "critical"}, 0),
        ("tidegauge_monitor_value_samples", {**own, "name": "prediction"}, 0),
        ("tidegauge_monitor_state", {**own, "state": "active"}, 1),
        ("tidegauge_monitor_state", {**own, "state": "error"}, 0),
        ("tidegauge_monitor_evidence_log_e", own, 9.5),
        ("tidegauge_monitor_evidence_log_e_peak", own, 10.5),
        ("tidegauge_monitor_evidence_threshold", own, math.log(1000)),
        ("tidegauge_monitor_evidence_observations", own, 120),
        ("tidegauge_monitor_evidence_resets", own, 1),
        ("tidegauge_monitor_drift_alarm", own, 1),
        (
            "tidegauge_monitor_last_window_end_timestamp_seconds",
            own,
            pytest.approx((now - 5 * MINUTE).timestamp()),
        ),
        (
            "tidegauge_monitor_last_run_timestamp_seconds",
            own,
            pytest.approx((now - 4 * MINUTE).timestamp()),
        ),
        ("tidegauge_monitor_late_events", own, 4),
        ("tidegauge_monitor_quiet_seconds", own, 150),
        ("tidegauge_monitor_log_files_unread", own, 2),
        ("tidegauge_monitor_values_left_out", own, 0),
        ("tidegauge_monitors", {"state": "active", "status": "critical"}, 1),
        ("tidegauge_alert_firing", {**own, "alert": "low", "severity": "critical"}, 1),
        ("tidegauge_alert_muted", {**own, "alert": "low", "type": "performance"}, 0),
        ("tidegauge_due_windows", {"cause": "schedule"}, 2),
        ("tidegauge_due_windows", {"cause": "backfill"}, 1),
        ("tidegauge_due_windows", {"cause": "late labels"}, 0),
        ("tidegauge_deliveries", {"channel": "ward", "kind": "webhook", "state": "waiting"}, 3),
        ("tidegauge_deliveries", {"channel": "ward", "state": "dropped"}, 1),
        ("tidegauge_deliveries", {"channel": "ward", "state": "sending"}, 0),
        ("tidegauge_channel_failing", {"channel": "ward"}, 1),
        ("tidegauge_deployments", {"state": "running"}, 1),
        ("tidegauge_deployment_up", {"deployment": "xray", "deployment_id": monitor.deployment_id}, 1),
        ("tidegauge_deployment_wanted", {"deployment": "xray"}, 1),
        ("tidegauge_deployment_ready", {"deployment": "xray"}, 1),
        ("tidegauge_deployment_restarts_total", {"deployment": "xray"}, 2),
        ("tidegauge_deployment_cpu_seconds_total", {"deployment": "xray"}, 12.5),
        ("tidegauge_deployment_memory_bytes", {"deployment": "xray"}, 1 << 28),
        ("tidegauge_dead_letters", {"deployment": "xray", "kind": "event"}, 2),
        ("tidegauge_dead_letters", {"deployment": "xray", "kind": "label"}, 1),
    ]
    assert [(name, labels, page.value(name, **labels)) for name, labels, _ in expected] == expected
    assert page.values("tidegauge_monitor_value", name="prediction") == []  # too little data is no zero
    # The oldest scheduled window ended ten minutes ago.
    assert page.value("tidegauge_schedule_lag_seconds") == pytest.approx(600, abs=30)


def test_each_part_of_a_monitor_has_exactly_one_status(lite: Services) -> None:
    add_everything(lite.database, "xray", datetime.now(UTC))
    page = scrape(lite)
    for part, status in (
        ("all", "critical"),
        ("health", "healthy"),
        ("drift", "critical"),
        ("performance", "warning"),
    ):
        found = {
            sample.labels["status"]: sample.value
            for sample in page.samples
            if sample.name == "tidegauge_monitor_status" and sample.labels["part"] == part
        }
        assert found == {item.value: float(item.value == status) for item in Status}


def test_latencies_are_in_seconds_with_their_thresholds(lite: Services) -> None:
    add_everything(lite.database, "xray", datetime.now(UTC))
    page = scrape(lite)
    name = "latency_p95_seconds"
    assert page.value("tidegauge_monitor_value", name=name) == pytest.approx(0.0125)
    assert page.value("tidegauge_monitor_threshold", name=name, bound="hard") == pytest.approx(0.5)
    assert page.values("tidegauge_monitor_value", name="latency_p95") == []


def test_a_scheduler_that_has_died_shows_as_lag(lite: Services) -> None:
    now = datetime.now(UTC)
    add_monitor(lite.database, add_deployment(lite.database, "a", now), now, due_from=now - 20 * MINUTE)
    add_monitor(
        lite.database,
        add_deployment(lite.database, "stopped", now),
        now,
        due_from=now - timedelta(days=9),
        state=MonitorState.READY,
    )
    # Its window of five minutes should have been made due fifteen minutes ago.
    assert scrape(lite).value("tidegauge_schedule_lag_seconds") == pytest.approx(900, abs=30)


def test_windows_of_a_backfill_are_no_lag(lite: Services) -> None:
    now = datetime.now(UTC)
    monitor = add_everything(lite.database, "xray", now)
    lite.database.due_windows.delete_where(monitor_id=monitor.id, cause="schedule")
    lite.database.monitors.update(monitor.id, due_from=now)
    page = scrape(lite)
    assert page.value("tidegauge_due_windows", cause="backfill") == 1
    assert page.value("tidegauge_schedule_lag_seconds") == 0


def test_a_muted_alert_says_so_until_it_speaks_again(lite: Services) -> None:
    now = datetime.now(UTC)
    monitor = add_monitor(lite.database, add_deployment(lite.database, "a", now), now)
    add_alert(lite.database, monitor, now, muted_until=now + timedelta(hours=1))
    assert scrape(lite).value("tidegauge_alert_muted", alert="low") == 1
    lite.database.alerts.update_where({}, muted_until=now - MINUTE, firing_since=None)
    page = scrape(lite)
    assert page.value("tidegauge_alert_muted", alert="low") == 0
    assert page.value("tidegauge_alert_firing", alert="low") == 0


def test_monitors_of_two_owners_with_one_name_are_told_apart(lite: Services) -> None:
    now = datetime.now(UTC)
    for owner in ("ward", "lab"):
        deployment = add_deployment(lite.database, "xray", now, owner=owner)
        add_run(lite.database, add_monitor(lite.database, deployment, now), now)
    page = scrape(lite)
    assert page.values("tidegauge_monitor_value", name="accuracy") == [0.75, 0.75]
    (twice,) = Counter((s.name, *sorted(s.labels.items())) for s in page.samples).most_common(1)
    assert twice[1] == 1
    assert "ward" not in str(page.samples)


def test_label_values_are_escaped_and_bounded(lite: Services) -> None:
    now = datetime.now(UTC)
    monitor = add_monitor(lite.database, add_deployment(lite.database, "a", now), now)
    odd = 'a"b\\c\nd} 1 {é'
    long = ["x" * 5000 + end for end in ("1", "2")]
    metrics = tuple(Metric(name, MetricType.DRIFT, 0.5, 1, Status.UNKNOWN) for name in (odd, *long))
    add_run(lite.database, monitor, now, metrics=metrics)
    page = scrape(lite)
    names = [s.labels["name"] for s in page.samples if s.name == "tidegauge_monitor_value"]
    assert names[0] == odd
    assert [len(name) for name in names[1:]] == [128, 128]
    assert len(set(names)) == 3


def test_values_past_a_bound_are_left_out_and_counted(lite: Services) -> None:
    now = datetime.now(UTC)
    monitor = add_monitor(lite.database, add_deployment(lite.database, "a", now), now)
    metrics = tuple(Metric(f"f{n}", MetricType.DRIFT, 0.5, 1, Status.UNKNOWN) for n in range(502))
    add_run(lite.database, monitor, now, metrics=metrics)
    page = scrape(lite)
    assert len(page.values("tidegauge_monitor_value")) == 500
    assert page.value("tidegauge_monitor_values_left_out") == 2


def test_only_processes_of_this_machine_are_up_or_down(lite: Services) -> None:
    now = datetime.now(UTC)
    add_deployment(lite.database, "far", now, origin=Origin.EXTERNAL, state=DeploymentState.UNKNOWN)
    add_deployment(lite.database, "dead", now, state=DeploymentState.FAILED)
    page = scrape(lite)
    assert page.values("tidegauge_deployment_up", deployment="far") == []
    assert page.value("tidegauge_deployment_up", deployment="dead") == 0
    assert page.values("tidegauge_deployment_ready", deployment="dead") == []


def test_promtool_finds_nothing_to_blame(lite: Services) -> None:
    if shutil.which("promtool") is None:
        absent("promtool")
    now = datetime.now(UTC)
    monitor = add_everything(lite.database, "xray", now)
    odd = Metric('a"b\\c\nd} 1 {é', MetricType.DRIFT, 1e300, 1, Status.UNKNOWN)
    add_run(lite.database, monitor, now, metrics=(*METRICS, odd))
    result = replace(monitor.evidence.result, log_e=-math.inf, log_peak=math.nan)
    lite.database.monitors.update(monitor.id, evidence=replace(monitor.evidence, result=result))
    text = TestClient(create_app(lite)).get("/metrics").content
    assert b"-inf\n" in text
    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")


def test_a_page_for_operators_alone(tmp_path: Path) -> None:
    """Prometheus shows a token of an operator's, which may be one that only reads."""
    settings = load_settings(tmp_path / "home", {"port": 1, "private_metrics": True}, {})
    services = build_services(settings)
    people = services.people
    people.first_start()
    ada = services.database.users.add(User(new_id(), "ada", Role.USER, datetime.now(UTC)))
    with TestClient(create_app(services)) as client:
        tokens = {
            "reader": people.issue(people.owner("operator"), "prometheus", Scope.READ)[1],
            "ada": people.issue(ada, "hers")[1],
            "wrong": "tg_wrong",
        }
        answers = {
            name: client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
            for name, token in tokens.items()
        }
        assert {name: answer.status_code for name, answer in answers.items()} == {
            "reader": 200,
            "ada": 403,
            "wrong": 401,
        }
        assert client.get("/metrics").status_code == 401
        assert answers["reader"].text.startswith("# HELP tidegauge_build_info")


def test_a_new_revision_and_new_thresholds_are_told_at_the_next_scrape(lite: Services) -> None:
    now = datetime.now(UTC)
    monitor = add_monitor(lite.database, add_deployment(lite.database, "a", now), now)
    add_run(lite.database, monitor, now)
    client = TestClient(create_app(lite))
    name, own = "tidegauge_monitor_value", {"name": "accuracy"}

    def page() -> MetricsPage:
        return MetricsPage(client.get("/metrics").text)

    assert page().value(name, **own) == page().value(name, **own) == 0.75
    revised = tuple(replace(metric, value=0.8) for metric in METRICS)
    add_run(lite.database, monitor, now, revision=2, metrics=revised, drift=Status.HEALTHY)
    second = page()
    assert second.value(name, **own) == 0.8
    assert second.value("tidegauge_monitor_status", part="drift", status="healthy") == 1
    changed = replace(monitor.thresholds["accuracy"], hard=0.5)
    lite.database.monitors.update(monitor.id, thresholds={"accuracy": changed})
    assert page().value("tidegauge_monitor_threshold", **own, bound="hard") == 0.5
    lite.database.monitors.delete(monitor.id)
    assert page().values(name) == []


def test_the_docs_list_every_series_with_its_type() -> None:
    listed = dict(re.findall(r"^\| `(tidegauge_\w+)[^|]*\| (\w+) \|", DOCS.read_text(), re.MULTILINE))
    assert listed == {name: kind for name, (kind, _) in FAMILIES.items()}


def fill(services: Services, monitors: int) -> list[Monitor]:
    """Write so many monitors with 26 values in each of 30 windows, and an alert."""
    now = datetime.now(UTC)
    found = []
    for number in range(monitors):
        deployment = add_deployment(services.database, f"xray-{number}", now)
        monitor = add_monitor(services.database, deployment, now)
        add_alert(services.database, monitor, now)
        metrics = [*METRICS, *(replace(METRICS[2], name=f"metric_{n}") for n in range(21))]
        run = add_run(services.database, monitor, now, metrics=tuple(metrics))
        services.database.monitor_runs.add_all(
            replace(run, id=f"{run.id}-{n}", start=run.start - n * 5 * MINUTE, end=run.end - n * 5 * MINUTE)
            for n in range(1, 30)
        )
        found.append(monitor)
    return found


def test_a_scrape_of_200_monitors_reads_again_what_is_new_alone(lite: Services) -> None:
    fill(lite, 200)

    def scrape_once(client: TestClient) -> tuple[float, str]:
        began = time.perf_counter()
        page = client.get("/metrics").text
        return time.perf_counter() - began, page

    # The quickest of a few: what the machine does besides is no property of the page.
    clients = [TestClient(create_app(lite)) for _ in range(5)]
    first = min(scrape_once(client)[0] for client in clients)
    again = min(scrape_once(client)[0] for client in clients)
    page = scrape_once(clients[0])[1]
    lines = page.count("\n")
    print(f"{lines:,} lines: {first * 1e3:.0f} ms where every run is new, {again * 1e3:.0f} ms after")
    assert page.count("\ntidegauge_monitor_value{") == 200 * 25
    assert again < 0.75 * first
