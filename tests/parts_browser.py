"""A browser signed in at a whole app, and monitors to look at; without a server or a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from tidegauge.app import build_services, create_app
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"


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
