"""Pages in tests: a signed-in browser without a browser, and rows that pages show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from parts_visits import EVIL
from tidegauge.app import build_services, create_app
from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.content import ContentForm
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.domain.users import Role, User
from tidegauge.services.bundle import Services
from tidegauge.settings import load_settings

__all__ = ["EVIL"]

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Visitor:
    """Somebody who is signed in, or ``stranger`` who is not; forms go as browsers send them."""

    def __init__(self, client: TestClient, services: Services, token: str) -> None:
        self._client = client
        self.services = services
        self._token = token

    def get(self, path: str, **params: Any) -> Any:
        return self._client.get(path, params=params or None, headers=self._headers())

    def post(self, path: str, data: Any = None, **headers: str) -> Any:
        return self._client.post(path, data=data, headers={**self._headers(), **headers})

    def text(self, path: str, **params: Any) -> str:
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    def _headers(self) -> dict[str, str]:
        return {"Cookie": f"tidegauge_token={self._token}"} if self._token else {}

    def stranger(self) -> Visitor:
        return Visitor(self._client, self.services, "")

    def somebody_else(self) -> Visitor:
        """Be a user who is no operator: these see every monitor."""
        users, people = self.services.database.users, self.services.people
        user = users.find(name="other") or users.add(User(new_id(), "other", Role.USER, people._now()))
        return Visitor(self._client, self.services, people.issue(user, "test")[1])


@contextlib.contextmanager
def open_pages(home: Path) -> Iterator[Visitor]:
    """Run a server's pages in this process, for its operator."""
    services = build_services(load_settings(home, {"port": 1}, {}))
    origin = {"Origin": "http://testserver"}
    with TestClient(create_app(services), follow_redirects=False, headers=origin) as client:
        token = services.people.first_start()
        assert token
        yield Visitor(client, services, token)


def add_deployment(services: Services, name: str, owner: str = "operator", **changes: Any) -> Deployment:
    running = DeploymentState.RUNNING
    id_ = new_id()
    values = {
        "id": id_, "name": name, "owner": owner, "model_id": new_id(), "model_name": "m", "model_version": 1,
        "logging": True, "origin": Origin.EXTERNAL, "wanted": running, "state": running, "created_at": START,
        "predict_path": f"/serve/{id_}/v1/models/{name}:predict",
    }  # fmt: skip
    return services.database.deployments.add(Deployment(**{**values, **changes}))


def add_monitor(services: Services, name: str, owner: str = "operator", **changes: Any) -> Monitor:
    """Add a deployment with a monitor, which is ready unless told otherwise."""
    deployment = add_deployment(services, name, owner)
    values = {
        "id": new_id(), "deployment_id": deployment.id, "name": name, "owner": owner,
        "state": MonitorState.READY, "status": Status.UNKNOWN, "config": MonitorConfig(),
        "config_version": 1, "created_at": START,
    }  # fmt: skip
    return services.database.monitors.add(Monitor(**{**values, **changes}))


def add_repository(
    services: Services, kind: RepositoryKind, name: str, versions: int = 1, meta: dict[str, Any] | None = None
) -> Repository:
    """Add a repository with versions that are said to be ready; there are no files."""
    form = ContentForm.LABELLED_FOLDERS if kind is RepositoryKind.DATASET else ContentForm.FILES
    source = Source(SourceType.UPLOAD)
    repository = Repository(new_id(), kind, name, "operator", source, form, START)
    services.database.repositories.add(repository)
    for number in range(1, versions + 1):
        services.database.versions.add(
            Version(new_id(), repository.id, number, VersionState.READY, START, form=form, meta=meta or {})
        )
    return repository
