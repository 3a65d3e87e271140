"""What ``deploy/`` ships, with a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from parts import absent, running_server
from parts_prometheus import (
    EVIDENCE,
    add_deployment,
    add_everything,
    add_monitor,
    receiving_webhooks,
    running_alertmanager,
    running_prometheus,
    wait_for_value,
)
from tidegauge.api.metrics import FAMILIES
from tidegauge.app import build_services, create_app
from tidegauge.domain.deployment import DeploymentState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.links.processes import free_port
from tidegauge.settings import load_settings
from tidegauge.storage.database import Database

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = [DEPLOY / "recording-rules.yml", DEPLOY / "alerting-rules.yml"]
ALL_RULES = [
    rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]

SERVER = 'job="tidegauge", instance="t"'
MONITOR = f'{SERVER}, monitor="xray", monitor_id="m"'
DRIFT = f'{MONITOR}, part="drift"'
DEPLOYMENT = f'{SERVER}, deployment="xray", deployment_id="d"'
#: An installation in which nothing is wrong, minute by minute in promtool's notation.
QUIET = {
    f"up{{{SERVER}}}": "1+0x200",
    f'tidegauge_monitor_state{{{MONITOR}, state="active"}}': "1+0x200",
    f'tidegauge_monitor_state{{{MONITOR}, state="error"}}': "0+0x200",
    f"tidegauge_monitor_drift_alarm{{{MONITOR}}}": "0+0x200",
    f'tidegauge_monitor_status{{{DRIFT}, status="critical"}}': "0+0x200",
    f'tidegauge_monitor_value{{{MONITOR}, type="health", name="requests"}}': "0 12 0 12+0x200",
    f"tidegauge_monitor_quiet_seconds{{{MONITOR}}}": "30+0x200",
    f"tidegauge_monitor_log_files_unread{{{MONITOR}}}": "3+0x200",
    f"tidegauge_schedule_lag_seconds{{{SERVER}}}": "9+0x200",
    f"tidegauge_deployment_wanted{{{DEPLOYMENT}}}": "1+0x200",
    f"tidegauge_deployment_up{{{DEPLOYMENT}}}": "1+0x200",
    f"tidegauge_deployment_ready{{{DEPLOYMENT}}}": "1+0x200",
    f'tidegauge_channel_failing{{{SERVER}, channel="ward", channel_id="c", kind="mail"}}': "0+0x200",
    f"tidegauge_log_write_failing{{{SERVER}}}": "0+0x200",
    f"tidegauge_log_segments_pending{{{SERVER}}}": "2+0x200",
}
#: Series, what becomes of it from minute 10 on, the alert that must fire, and its first minute.
WRONG = [
    ("tidegauge_monitor_drift_alarm", "0+0x9 1+0x190", "TidegaugeDriftAlarm", 10),
    ("tidegauge_monitor_status", "0+0x9 1+0x190", "TidegaugeStatusCritical", 20),
    ("error", "0+0x9 1+0x190", "TidegaugeMonitorError", 11),
    ("tidegauge_monitor_quiet_seconds", "30+0x9 4000+60x190", "TidegaugeNoEvents", 40),
    # An hour until the last request has left the range, and half an hour more.
    ("tidegauge_monitor_value", "12+0x9 0+0x190", "TidegaugeNoEvents", 100),
    ("tidegauge_schedule_lag_seconds", "9+0x9 130+60x190", "TidegaugeScheduleLag", 15),
    ("tidegauge_deployment_up", "1+0x9 0+0x190", "TidegaugeDeploymentDown", 12),
    ("tidegauge_deployment_ready", "1+0x9 0+0x190", "TidegaugeDeploymentDown", 12),
    ("tidegauge_channel_failing", "0+0x9 1+0x190", "TidegaugeChannelFailing", 15),
    ("tidegauge_log_write_failing", "0+0x9 1+0x190", "TidegaugeLogBacklog", 15),
    ("tidegauge_log_segments_pending", "2+0x9 50+0x190", "TidegaugeLogBacklog", 15),
    ("tidegauge_monitor_log_files_unread", "3+0x9 150+0x190", "TidegaugeReaderBehind", 20),
    ("up", "1+0x9 0+0x190", "TidegaugeDown", 12),
    # Out of the configuration: Prometheus forgets its last sample after 5 minutes.
    ("up", "1+0x9 _x190", "TidegaugeDown", 17),
]


def disturbed(which: str, values: str) -> dict[str, str]:
    """Return the quiet installation with other values of the one series that is named so."""
    (series,) = (name for name in QUIET if name.startswith(f"{which}{{") or f'"{which}"' in name)
    return {**QUIET, series: values}


def promtool(*arguments: str, program: str = "promtool") -> None:
    if shutil.which(program) is None:
        absent(program)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def evaluate(folder: Path, series: dict[str, str], *expected: dict[str, Any]) -> None:
    """Let promtool evaluate the rules over made-up series and compare."""
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    case = {"interval": "1m", "input_series": inputs, "promql_expr_test": expected}
    file = folder / "test.yml"
    rules = [str(file) for file in RULES]
    file.write_text(json.dumps({"rule_files": rules, "evaluation_interval": "1m", "tests": [case]}))
    promtool("test", "rules", str(file))


def firing(minute: int, *alerts: str) -> dict[str, Any]:
    """Expect that exactly these alerts fire in a minute."""
    return value(
        minute,
        'count by (alertname) (ALERTS{alertstate="firing"})',
        {f'{{alertname="{alert}"}}': 1.0 for alert in alerts},
    )


def value(minute: int, expression: str, expected: dict[str, float]) -> dict[str, Any]:
    samples = [{"labels": labels, "value": number} for labels, number in expected.items()]
    return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}


def test_the_examples_are_valid() -> None:
    promtool("check", "config", str(DEPLOY / "prometheus.yml"))
    promtool("check", "rules", *(str(file) for file in RULES))
    promtool("check-config", str(DEPLOY / "alertmanager.yml"), program="amtool")


def test_a_quiet_installation_alerts_of_nothing(tmp_path: Path) -> None:
    evaluate(tmp_path, QUIET, *(firing(minute) for minute in (0, 30, 90, 199)))


@pytest.mark.parametrize(
    ("series", "values", "alert", "minute"), WRONG, ids=[f"{alert}-{name}" for name, _, alert, _ in WRONG]
)
def test_what_goes_wrong_is_told_once_it_has_lasted(
    tmp_path: Path, series: str, values: str, alert: str, minute: int
) -> None:
    evaluate(tmp_path, disturbed(series, values), firing(minute - 1), firing(minute, alert))


def test_every_alert_is_tried() -> None:
    assert {alert for _, _, alert, _ in WRONG} == {rule["alert"] for rule in ALL_RULES if "alert" in rule}


def test_a_stopped_monitor_alerts_of_nothing(tmp_path: Path) -> None:
    series = {name: values for name, values in QUIET.items() if 'state="active"' not in name}
    for which, values, _, _ in WRONG:
        if which.startswith("tidegauge_monitor_"):
            series |= {name: values for name in series if name.startswith(f"{which}{{")}
    evaluate(tmp_path, series, firing(150))


def test_a_deployment_that_its_owner_has_stopped_is_not_down(tmp_path: Path) -> None:
    series = {name: "0+0x200" if "deployment" in name else values for name, values in QUIET.items()}
    evaluate(tmp_path, series, firing(150))


def test_the_recorded_series_say_what_their_names_say(tmp_path: Path) -> None:
    series = {
        f'tidegauge_monitor_status{{{DRIFT}, status="critical"}}': "0 0 1 0",
        f'tidegauge_monitor_status{{{DRIFT}, status="warning"}}': "0 1 0 0",
        f'tidegauge_monitor_status{{{DRIFT}, status="healthy"}}': "1 0 0 0",
        f'tidegauge_monitor_status{{{DRIFT}, status="unknown"}}': "0 0 0 1",
        f"tidegauge_monitor_evidence_log_e{{{MONITOR}}}": "3x9",
        f"tidegauge_monitor_evidence_threshold{{{MONITOR}}}": "6x9",
        f"tidegauge_deployment_cpu_seconds_total{{{DEPLOYMENT}}}": "0+30x9",
        f"tidegauge_events_received_total{{{SERVER}}}": "0+60x9",
        f"tidegauge_events_refused_total{{{SERVER}}}": "0+6x9",
    }
    rank, ratio = "monitor_part:tidegauge_monitor_status:rank", "monitor:tidegauge_monitor_evidence:ratio"
    cpu = "deployment:tidegauge_deployment_cpu_seconds:rate5m"
    received, refused = (f"instance:tidegauge_events_{what}:rate5m" for what in ("received", "refused"))
    evaluate(
        tmp_path,
        series,
        *(value(n, rank, {f"{rank}{{{DRIFT}}}": number}) for n, number in enumerate((0.0, 1.0, 2.0))),
        value(3, rank, {}),
        value(9, ratio, {f"{ratio}{{{MONITOR}}}": 0.5}),
        value(9, cpu, {f"{cpu}{{{DEPLOYMENT}}}": 0.5}),
        value(9, received, {f"{received}{{{SERVER}}}": 1.0}),
        value(9, refused, {f"{refused}{{{SERVER}}}": 0.1}),
    )


def test_every_query_names_series_that_exist() -> None:
    known = {*FAMILIES, *(rule["record"] for rule in ALL_RULES if "record" in rule)}
    variables = [
        item["query"]["query"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"
    ]
    notes = [item["expr"] for item in DASHBOARD["annotations"]["list"]]
    for query in [*QUERIES, *variables, *notes, *(rule["expr"] for rule in ALL_RULES)]:
        bare = re.sub(r'"[^"]*"', "", query)
        names = set(re.findall(r"(?:\w+:)?tidegauge_\w+(?::\w+)?", bare))
        assert names <= known, query
        assert names or "up{" in query, query


def test_the_dashboard_is_one_that_grafana_knows() -> None:
    """Every field survives Grafana's own model of a dashboard, which drops those that it does not know."""
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(DASHBOARD), cls=JSONEncoder))
    assert lost(DASHBOARD, read) == []


def lost(given: Any, read: Any, path: str = "") -> list[str]:
    """Return the paths of what is in ``given`` and is not so in ``read``."""
    if isinstance(given, dict) and isinstance(read, dict):
        missing = [f"{path}.{key}" for key in given if key not in read]
        return missing + [
            item for key in given if key in read for item in lost(given[key], read[key], f"{path}.{key}")
        ]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        pairs = enumerate(zip(given, read, strict=True))
        return [item for number, (one, other) in pairs for item in lost(one, other, f"{path}[{number}]")]
    return [] if given == read else [path]


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def quick_prometheus(server: str, alertmanager: str = "127.0.0.1:9") -> str:
    """Return the example's configuration with intervals of a second."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [server]}]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    return json.dumps(config)


def quick_alertmanager(webhook: str) -> str:
    """Return the example's configuration for this receiver, with waits of a second."""
    config = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    config["receivers"][0]["webhook_configs"][0]["url"] = webhook
    return json.dumps(config)


def place(url: object) -> str:
    """Return host and port of a URL, which is how Prometheus' configuration names targets."""
    return str(url).removeprefix("http://").rstrip("/")


@contextlib.contextmanager
def serving_rows(home: Path) -> Iterator[str]:
    """Serve ``/metrics`` of a database in which every series has a value; nothing works on its rows."""
    services = build_services(load_settings(home, {"port": 1}, {}))
    add_everything(services.database, "xray", datetime.now(UTC))
    port = free_port()
    config = uvicorn.Config(
        create_app(services), host="127.0.0.1", port=port, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        services.database.close()


def ask(prometheus: httpx.Client, query: str) -> list[dict[str, Any]]:
    """Return the result of an instant query."""
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", (query, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def test_every_panel_has_data_in_a_real_prometheus(tmp_path: Path) -> None:
    with (
        serving_rows(tmp_path / "home") as server,
        running_prometheus(tmp_path / "prometheus", quick_prometheus(server)) as prometheus,
    ):
        for query in QUERIES:
            whole = query.replace("$monitor", ".*")
            wait_for_value(lambda whole=whole: ask(prometheus, whole), whole)
        rules = [
            rule
            for group in prometheus.get("/api/v1/rules").json()["data"]["groups"]
            for rule in group["rules"]
        ]
        assert len(rules) == len(ALL_RULES)
        assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}
        scraped = prometheus.get("/api/v1/label/__name__/values").json()["data"]
        assert set(FAMILIES) <= set(scraped)


def test_a_drift_alarm_reaches_a_webhook_through_prometheus_and_alertmanager(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        receiving_webhooks() as (url, came),
        running_server(home) as client,
        running_alertmanager(tmp_path / "alertmanager", quick_alertmanager(url)) as alertmanager,
    ):
        config = quick_prometheus(place(client.url), place(alertmanager.base_url))
        database = Database(f"sqlite:///{home / 'tidegauge.sqlite'}")
        now = datetime.now(UTC)
        quiet = replace(EVIDENCE, result=replace(EVIDENCE.result, log_e=1.0, alarm=False))
        stopped = add_deployment(
            database, "xray", now, wanted=DeploymentState.STOPPED, state=DeploymentState.STOPPED
        )
        monitor = add_monitor(
            database, stopped, now, config=MonitorConfig(frequency_minutes=1440), evidence=quiet
        )
        with running_prometheus(tmp_path / "prometheus", config) as prometheus:
            ratio = wait_for_value(
                lambda: ask(prometheus, "monitor:tidegauge_monitor_evidence:ratio"), "a recorded series"
            )
            assert float(ratio[0]["value"][1]) == pytest.approx(1 / 6.9077, rel=1e-3)
            assert came == []

            database.monitors.update(monitor.id, evidence=EVIDENCE)
            told = wait_for_value(lambda: came[:], "the notification")[0]
            (alert,) = told["alerts"]
            assert (told["status"], alert["status"]) == ("firing", "firing")
            assert alert["labels"]["alertname"] == "TidegaugeDriftAlarm"
            assert (alert["labels"]["monitor"], alert["labels"]["monitor_id"]) == ("xray", monitor.id)
            assert alert["labels"]["severity"] == "critical"
            assert f"/monitors/{monitor.id}" in alert["annotations"]["description"]

            database.monitors.update(monitor.id, evidence=quiet)
            resolved = wait_for_value(
                lambda: [body for body in came if body["status"] == "resolved"], "the end of the alert"
            )
            assert resolved[0]["alerts"][0]["labels"]["monitor_id"] == monitor.id
        database.close()
