"""A browser signed in at a whole app, and monitors to look at; without a server or a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tidegauge.app import build_services, create_app
from tidegauge.domain.alert import AlertRule
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"
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


@contextlib.contextmanager
def browser(home: Path) -> Iterator[TestClient]:
    services = build_services(load_settings(home, {"port": 1}, {}))
    origin = {"Origin": "http://testserver"}  # as browsers say with every form
    with TestClient(create_app(services), follow_redirects=False, headers=origin) as client:
        client.post("/sign-in", data={"token": services.people.first_start()})
        yield client


def services_of(pages: TestClient) -> Services:
    return pages.app.state.services


def make_monitor(services: Services, owner: str = "operator", **parts: Any) -> Monitor:
    """Make a ready monitor with a deployment of another server."""
    running, name = DeploymentState.RUNNING, f"xray-{new_id()}"
    deployment = Deployment(
        new_id(), name, owner, new_id(), "m", 1, True, Origin.EXTERNAL, running, running, START, "/p"
    )
    services.database.deployments.add(deployment)
    usual = {
        "state": MonitorState.READY,
        "status": Status.UNKNOWN,
        "config": MonitorConfig(),
        "config_version": 1,
        "created_at": START,
    }
    monitor = Monitor(id=new_id(), deployment_id=deployment.id, name=name, owner=owner, **{**usual, **parts})
    return services.database.monitors.add(monitor)


def alerts_path(monitor: Monitor) -> str:
    return f"/monitors/{monitor.id}/alerts"


def add_alert(pages: TestClient, monitor: Monitor, **fields: object) -> AlertRule:
    """Send the form of the workflow with other fields, and return the rule that it made."""
    answer = pages.post(f"{alerts_path(monitor)}/new", data={**ACCURACY, **fields})
    assert (answer.status_code, answer.headers.get("location")) == (303, alerts_path(monitor)), answer.text
    return rules(pages, monitor)[-1]


def rules(pages: TestClient, monitor: Monitor) -> list[AlertRule]:
    return [alert.rule for alert in services_of(pages).monitors.alerts(monitor)]
