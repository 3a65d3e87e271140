"""Deployments: creating, changing and deleting served models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import check_name, new_id
from tidegauge.domain.monitor import UNJUDGED
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.supervisor import Supervisor
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.rows import Page, Query


class Deployments:
    """Says what should be served; the supervisor makes it so."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        catalogue: Catalogue,
        supervisor: Supervisor,
        flush: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        """``flush`` writes what the collector holds to the inference log."""
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._supervisor = supervisor
        self._flush = flush
        self._now = now

    def create(self, name: str, owner: str, model: str, version: int, *, logging: bool = True) -> Deployment:
        self._catalogue.ready_version(RepositoryKind.MODEL, owner, model, version)
        id_ = new_id()
        deployment = Deployment(
            id=id_,
            name=check_name(name),
            owner=owner,
            model_id=self._catalogue.get(RepositoryKind.MODEL, owner, model).id,
            model_name=model,
            model_version=version,
            logging=logging,
            origin=Origin.LOCAL,
            wanted=DeploymentState.RUNNING,
            state=DeploymentState.STARTING,
            created_at=self._now(),
            predict_path=f"/serve/{id_}/v1/models/{name}:predict",
        )
        self._database.deployments.add(deployment)
        self._supervisor.kick()
        return deployment

    def page(self, owner: str, query: Query) -> Page[Deployment]:
        return self._database.deployments.page(query, owner=owner)

    def get(self, owner: str, name_or_id: str) -> Deployment:
        found = self._database.deployments.find_by(name_or_id, "id", "name", owner=owner)
        if found is None:
            raise NotFoundError(f"There is no deployment {name_or_id!r}.")
        return found

    def update(
        self,
        deployment: Deployment,
        *,
        version: int | None = None,
        logging: bool | None = None,
        wanted: DeploymentState | None = None,
    ) -> Deployment:
        """Serve another version, switch the log on or off, stop or start."""
        if version is not None:
            self._catalogue.ready_version(
                RepositoryKind.MODEL, deployment.owner, deployment.model_name, version
            )
        changes = {"model_version": version, "logging": logging, "wanted": wanted}
        given = {name: value for name, value in changes.items() if value is not None}
        if given:
            state = wanted or deployment.wanted
            busy = DeploymentState.STARTING if state is DeploymentState.RUNNING else deployment.state
            self._database.deployments.update(deployment.id, None, state=busy, message="", **given)
            if version not in (None, deployment.model_version):
                monitor = self._database.monitors.find(deployment_id=deployment.id)
                if monitor:
                    self._database.monitors.update(monitor.id, **UNJUDGED)
            self._supervisor.restart(deployment.id)
        return self._database.deployments.get(deployment.id)

    def delete(self, deployment: Deployment) -> None:
        """Stop serving and delete the deployment with its log and labels; not while it is monitored."""
        if self._database.monitors.find(deployment_id=deployment.id):
            raise ConflictError(f"The deployment {deployment.name!r} has a monitor; delete that first.")
        self._supervisor.remove(deployment.id)
        self._store.delete_below(deployment.id)  # first: after a crash the deployment is there to be deleted
        self._database.deployments.delete(deployment.id)
        self._flush()  # or what waits would be written after the deletion
        self._store.delete_below(deployment.id)

    def log(self, deployment: Deployment) -> str:
        """Return the end of what the served process has written."""
        return self._supervisor.log(deployment.id)

    def exists(self, deployment_id: str) -> bool:
        """Tell whether there is a deployment with this id, whoever owns it."""
        return self.owner_of(deployment_id) is not None

    def owner_of(self, deployment_id: str) -> str | None:
        """Return the name of the user that has the deployment with this id, None where there is none."""
        found = self._database.deployments.find(id=deployment_id)
        return found.owner if found else None

    def find_id(self, name: str, namespace: str) -> str | None:
        """Find a deployment by the name and owner that KServe's logger reports."""
        found = self._database.deployments.find(name=name, owner=namespace)
        return found.id if found else None

    def put_labels(self, deployment: Deployment, file_name: str, data: bytes) -> str:
        """Drop a label file below the deployment's livedata prefix; return its path in the store."""
        path = f"{deployment.livedata}/{_check_file_name(file_name)}"
        self._store.put(path, data)
        return path


def _check_file_name(name: str) -> str:
    suffix = name.rpartition(".")[2]
    if "/" in name or name.startswith(".") or suffix not in ("csv", "parquet"):
        raise InvalidInputError.of(
            "file", f"file is {name!r}; use a plain file name that ends in .csv or .parquet."
        )
    return name
