"""Deployments: creating, changing and deleting served models."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from typing_extensions import Unpack

from tidegauge.domain import cluster
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.content import is_object_name
from tidegauge.domain.deployment import Deployment, DeploymentChanges, DeploymentState, Origin, Placed
from tidegauge.domain.identity import check_name, new_id
from tidegauge.domain.monitor import UNJUDGED
from tidegauge.domain.served import ServedModel
from tidegauge.errors import (
    ConflictError,
    FieldError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    UnavailableError,
    raise_all,
)
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.gates import Gates
from tidegauge.services.kserve import KServe, KServeRequest
from tidegauge.services.senders import reported_as
from tidegauge.services.sharing import Asker, Oversight, look_up, page_of
from tidegauge.services.supervisor import Supervisor
from tidegauge.settings import ClusterRole
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.rows import Page, Query

_OF_PROCESS = frozenset({"version", "logging", "wanted", "sampling"})  # it is started anew with them


class Deployments:
    """Says what should be served; the supervisor makes it so."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        catalogue: Catalogue,
        supervisor: Supervisor,
        gates: Gates,
        kserve: KServe,
        flush: Callable[[], None],
        now: Callable[[], datetime],
        role: ClusterRole = ClusterRole.BOTH,
    ) -> None:
        """``flush`` writes what the collector holds to the inference log."""
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._supervisor = supervisor
        self._gates = gates
        self._kserve = kserve
        self._flush = flush
        self._now = now
        self._role = role

    def create(self, name: str, owner: str, model: str, version: int, *, logging: bool = True) -> Deployment:
        """Serve a version of a model; ConflictError on a cluster that only monitors."""
        cluster.check(self._role, cluster.Part.SERVING)
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

    def register(
        self,
        name: str,
        owner: str,
        *,
        model: str = "",
        version: int = 0,
        classes: tuple[str, ...] = (),
        service: str = "",
        namespace: str = "",
        predict_url: str = "",
        sampling: float = 1.0,
        keep_days: int | None = None,
        keep_bytes: int | None = None,
        served: ServedModel | None = None,
    ) -> Deployment:
        """Add a deployment that is nothing but its events: its model is served by a server not ours.

        Args:
            name: of the deployment.
            owner: name of the user that has it.
            model: of the catalogue, where it is there too; with ``version``.
            version: of the model.
            classes: names of the answers in the order of the scores, of a model that is not in the
                catalogue; none for a regression.
            service: InferenceService under which KServe's logger reports it.
            namespace: of the InferenceService.
            predict_url: where others ask it.
            sampling: share of its requests that is logged, from 0.000001 to 1.
            keep_days: events older than so many days are deleted; 0: none, None: as the server is set.
            keep_bytes: the oldest events are deleted where the log is larger; likewise.
            served: what its server says at the predict URL, where it was looked up.

        Raises InvalidInputError with every field that is wrong, ConflictError where the name is taken.
        """
        errors: list[FieldError] = []
        model_id = ""
        try:
            check_name(name)
        except InvalidInputError as error:
            errors += error.errors
        if model:
            model_id, unfit = self._find_model(owner, model, version)
            errors += unfit
        elif version:
            errors.append(
                FieldError("model", f"model is missing; name the model that has version {version}.")
            )
        deployment = Deployment(
            id=new_id(),
            name=name,
            owner=owner,
            model_id=model_id,
            model_name=model,
            model_version=version,
            logging=True,
            origin=Origin.EXTERNAL,
            wanted=DeploymentState.RUNNING,
            state=DeploymentState.UNKNOWN,
            created_at=self._now(),
            predict_path="",
            service=service,
            namespace=namespace,
            classes=classes,
            predict_url=predict_url,
            sampling=sampling,
            keep_days=keep_days,
            keep_bytes=keep_bytes,
            served=served,
        )
        return self._add(deployment, errors)

    def create_on_kserve(self, owner: str, request: KServeRequest) -> Placed:
        """Serve a version of a model by KServe: an InferenceService is applied, or only written as YAML.

        The deployment is external from then on: its events come from KServe's logger, its state from the
        conditions of the InferenceService. Raises what ``KServe.plan`` and ``links.kserve.Cluster`` do,
        and leaves nothing behind then.
        """
        cluster.check(self._role, cluster.Part.SERVING)
        self._catalogue.ready_version(RepositoryKind.MODEL, owner, request.model, request.version)
        id_ = new_id()
        service = self._kserve.plan(request)
        if not service.storage_uri:
            service = replace(service, storage_uri=self._kserve.storage_uri(id_, request.version))
        deployment = self._add(
            Deployment(
                id=id_,
                name=request.name,
                owner=owner,
                model_id=self._catalogue.get(RepositoryKind.MODEL, owner, request.model).id,
                model_name=request.model,
                model_version=request.version,
                logging=request.logging,
                origin=Origin.EXTERNAL,
                wanted=DeploymentState.RUNNING,
                state=DeploymentState.STARTING if service.applied else DeploymentState.UNKNOWN,
                created_at=self._now(),
                predict_path="",
                service=service.name,
                namespace=service.namespace,
                kserve=service,
            )
        )
        try:
            return self._kserve.place(deployment, service)
        except BaseException:
            self._forget(deployment)
            raise

    def _add(self, deployment: Deployment, errors: Iterable[FieldError] = ()) -> Deployment:
        wrong = [*errors, *deployment.errors()]
        if not wrong:
            self._check_address(deployment)
        with self._database.transaction():
            raise_all([*wrong, *self._taken(deployment)])
            return self._database.deployments.add(deployment)

    def _check_address(self, deployment: Deployment) -> None:
        """Refuse a predict URL that its owner may not send this server to."""
        if deployment.predict_url:
            self._gates.of(deployment.owner).check(deployment.predict_url, "predict_url")

    def _find_model(self, owner: str, model: str, version: int) -> tuple[str, list[FieldError]]:
        """Return the id of a model, and what is wrong with it or with its version."""
        try:
            found = self._catalogue.get(RepositoryKind.MODEL, owner, model)
        except NotFoundError as error:
            return "", [FieldError("model", error.message)]
        try:
            self._catalogue.ready_version(RepositoryKind.MODEL, owner, model, version)
        except TidegaugeError as error:
            return found.id, [FieldError("version", error.message)]
        return found.id, []

    def is_reported(self, service: str, namespace: str) -> bool:
        """Tell whether some deployment is reported by this service of KServe already."""
        return bool(service) and bool(reported_as(self._database, service, namespace))

    def _taken(self, deployment: Deployment) -> list[FieldError]:
        """Say of a service that KServe's logger reports another deployment by it."""
        if not deployment.service:
            return []
        found = reported_as(self._database, deployment.service, deployment.namespace)
        if not found or found[0].id == deployment.id:
            return []
        message = (
            f"service is {deployment.service!r} in namespace {deployment.namespace!r}, by which another "
            "deployment is reported; give another pair, or none."
        )
        return [FieldError("service", message)]

    def page(self, asker: Asker, query: Query) -> Page[Deployment]:
        return page_of(self._database.deployments, asker, query)

    def get(self, asker: Asker, name_or_id: str) -> Deployment:
        rows, columns = self._database.deployments, ("id", "name")
        try:
            return look_up(rows, asker, "deployment", name_or_id, columns)
        except NotFoundError:
            if not self._database.monitors.count(deployment_id=name_or_id):
                raise
            # Operators look after every monitor, and so at what it watches.
            return look_up(rows, asker, "deployment", name_or_id, columns, Oversight.READ)

    def share(self, deployment: Deployment, *, shared: bool) -> Deployment:
        """Let everybody read a deployment, or nobody but its owner; who may ask it stays as it is."""
        self._database.deployments.update(deployment.id, shared=shared)
        return self._database.deployments.get(deployment.id)

    def update(self, deployment: Deployment, **changes: Unpack[DeploymentChanges]) -> Deployment:
        """Change what is given: of one that is served here the process is started again where it has to be.

        Raises ConflictError for what cannot be changed of a deployment of this origin, InvalidInputError
        for a value that is wrong.
        """
        if refused := tuple(deployment.unchangeable(changes)):
            raise ConflictError(" ".join(error.message for error in refused), refused)
        if not changes:
            return deployment
        noted: dict[str, Any] = {**changes}
        replicas = {name: noted.pop(name) for name in ("min_replicas", "max_replicas") if name in noted}
        if deployment.kserve and replicas:
            noted["kserve"] = replace(deployment.kserve, **replicas)
        if "version" in changes:
            version = noted["model_version"] = noted.pop("version")
            self._catalogue.ready_version(
                RepositoryKind.MODEL, deployment.owner, deployment.model_name, version
            )
        if noted.get("predict_url", deployment.predict_url) != deployment.predict_url:
            noted["served"] = None  # it is of another server
        changed = replace(deployment, **noted)
        restarts = deployment.origin is Origin.LOCAL and not _OF_PROCESS.isdisjoint(changes)
        if restarts and cluster.lacks(self._role, cluster.Part.SERVING):
            # A form sends what it does not change, too.
            if _served(changed) != _served(deployment):
                cluster.check(self._role, cluster.Part.SERVING)
            restarts = False
        if restarts:
            busy = changed.wanted is DeploymentState.RUNNING
            noted |= {"state": DeploymentState.STARTING if busy else deployment.state, "message": ""}
        wrong = list(changed.errors())
        if "predict_url" in changes and not wrong:
            self._check_address(changed)
        if changed.kserve and _on_kserve(changed) != _on_kserve(deployment):
            raise_all(wrong)
            noted["kserve"] = self._kserve.change(deployment, changed)
        with self._database.transaction():
            raise_all([*wrong, *self._taken(changed)])
            self._database.deployments.update(deployment.id, None, **noted)
            monitor = self._database.monitors.find(deployment_id=deployment.id)
            if monitor and _answers(changed) != _answers(deployment):
                self._database.monitors.update(monitor.id, **UNJUDGED)
        if restarts:
            self._supervisor.restart(deployment.id)
        return self._database.deployments.get(deployment.id)

    def delete(self, deployment: Deployment) -> None:
        """Stop serving and delete the deployment with its log and labels; not while it is monitored.

        Its InferenceService goes first: where Kubernetes does not answer, nothing is deleted.
        """
        if self._database.monitors.find(deployment_id=deployment.id):
            raise ConflictError(f"The deployment {deployment.name!r} has a monitor; delete that first.")
        self._kserve.remove(deployment)
        self._forget(deployment)

    def _forget(self, deployment: Deployment) -> None:
        self._supervisor.remove(deployment.id)
        self._store.delete_below(deployment.id)  # first: after a crash the deployment is there to be deleted
        self._database.deployments.delete(deployment.id)
        with contextlib.suppress(UnavailableError):  # what waits is of no deployment now, and is left out
            self._flush()
        self._store.delete_below(deployment.id)

    def log(self, deployment: Deployment) -> str:
        """Return the end of what the served process has written."""
        return self._supervisor.log(deployment.id)

    def put_labels(self, deployment: Deployment, file_name: str, data: bytes) -> str:
        """Drop a label file below the deployment's livedata prefix; return its path in the store."""
        path = f"{deployment.livedata}/{_check_file_name(file_name)}"
        self._store.put(path, data)
        return path


def _served(deployment: Deployment) -> tuple[object, ...]:
    """Return what the process of a deployment is started with."""
    return (
        deployment.model_version,
        *(getattr(deployment, name) for name in sorted(_OF_PROCESS - {"version"})),
    )


def _on_kserve(deployment: Deployment) -> tuple[object, ...]:
    """Return what its InferenceService is made of, as far as its owner changes that."""
    service = deployment.kserve
    replicas = (service.min_replicas, service.max_replicas) if service else ()
    return deployment.model_version, deployment.logging, *replicas


def _answers(deployment: Deployment) -> tuple[int, tuple[str, ...]]:
    """Return what its answers are of: runs from before another version or other classes say nothing."""
    return deployment.model_version, deployment.classes


def _check_file_name(name: str) -> str:
    suffix = name.rpartition(".")[2]
    plain = "/" not in name and not name.startswith(".") and is_object_name(name)
    if not plain or suffix not in ("csv", "parquet"):
        raise InvalidInputError.of(
            "file", f"file is {name!r}; use a plain file name that ends in .csv or .parquet."
        )
    return name
