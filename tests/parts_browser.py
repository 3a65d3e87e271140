"""A browser signed in at a whole app, and monitors to look at; without a server or a model."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from parts_pages import START, add_monitor
from parts_visits import EVIL, open_pages, services_of
from tidegauge.domain.alert import AlertRule
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor
from tidegauge.services.bundle import Services

__all__ = ["ACCURACY", "EVIL", "START", "browser", "services_of"]

browser = open_pages
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


def make_monitor(services: Services, owner: str = "operator", **parts: Any) -> Monitor:
    """Make a ready monitor with a deployment of another server."""
    return add_monitor(services, f"xray-{new_id()}", owner, **parts)


def alerts_path(monitor: Monitor) -> str:
    return f"/monitors/{monitor.id}/alerts"


def add_alert(pages: TestClient, monitor: Monitor, **fields: object) -> AlertRule:
    """Send the form of the workflow with other fields, and return the rule that it made."""
    answer = pages.post(f"{alerts_path(monitor)}/new", data={**ACCURACY, **fields})
    assert (answer.status_code, answer.headers.get("location")) == (303, alerts_path(monitor)), answer.text
    return rules(pages, monitor)[-1]


def rules(pages: TestClient, monitor: Monitor) -> list[AlertRule]:
    return [alert.rule for alert in services_of(pages).monitors.alerts(monitor)]
