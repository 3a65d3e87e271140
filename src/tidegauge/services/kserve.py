"""Deployments on KServe: their InferenceServices are made, changed, watched and deleted as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin, Placed, state_on_kserve
from tidegauge.domain.inference_service import InferenceService, Runtime
from tidegauge.domain.strict import STRICT
from tidegauge.errors import ConflictError, FieldError, InvalidInputError, TidegaugeError, UnavailableError
from tidegauge.links import kserve as link
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.people import People
from tidegauge.settings import Settings
from tidegauge.storage.database import Database
from tidegauge.storage.leases import Leases
from tidegauge.storage.objects import ObjectStore

_log = logging.getLogger(__name__)

#: Names the token that KServe's logger of a deployment reports with.
KSERVE_TOKEN = "KServe"  # noqa: S105 - a name, no secret
_HIDDEN = "TOKEN"  # stands for it where a manifest is only looked at
_WATCH_SECONDS = 10
_CLAIM = timedelta(seconds=30)  # one process watches a namespace, of several that share a store
_REST_SECONDS = 10.0  # after Kubernetes did not answer
_GONE = (
    "Its InferenceService is gone from Kubernetes, and not by this server; delete this, and make it again."
)
_LEFT_OUT = (".json", ".parquet")  # of a model, which Triton would not know


@dataclass(frozen=True)
class KServeRequest:
    """What to put on KServe; see ``InferenceService`` for what is not told here.

    ``namespace`` is by default the first that the server has; ``storage_uri`` where the cluster finds the
    model, by default a copy in this server's bucket; ``log_url`` a bucket that KServe's logger
    writes to, by default it posts to the collector. With ``manifest_only`` nothing is applied.
    """

    __pydantic_config__ = STRICT
    name: str
    model: str
    version: int
    namespace: str = ""
    runtime: Runtime = Runtime.TIDEGAUGE
    min_replicas: int = 1
    max_replicas: int = 1
    logging: bool = True
    log_url: str = ""
    storage_uri: str = ""
    manifest_only: bool = False


class KServe:
    """What of deployments stands on Kubernetes; without the setting ``kubernetes``, their manifests alone."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: ObjectStore,
        catalogue: Catalogue,
        people: People,
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._people = people
        self._now = now
        self._leases = Leases(store)
        self._opened: link.Cluster | None = None
        self._lock = Lock()
        self._stop = Event()
        names = self.namespaces if settings.kubernetes else ()
        self._threads = [
            Thread(target=self._watch, args=(name,), name=f"kserve-{name}", daemon=True) for name in names
        ]

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces in which this server may make InferenceServices."""
        return tuple(filter(None, map(str.strip, self._settings.kubernetes_namespaces.split(","))))

    @property
    def is_connected(self) -> bool:
        """Whether this server has a Kubernetes cluster to apply to."""
        return bool(self._settings.kubernetes)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2)  # a watch that waits ends with the process

    def plan(self, request: KServeRequest) -> InferenceService:
        """Return the InferenceService that a request is for, but for where its model lies.

        Raises ConflictError where there is no cluster to apply to, InvalidInputError for settings and fields
        that are missing or wrong.
        """
        if not request.manifest_only and not self.is_connected:
            raise ConflictError(
                "This server has no Kubernetes cluster to apply to; set kubernetes to in-cluster or to a "
                "kubeconfig (docs/settings.md), or ask for the manifest only."
            )
        known = self.namespaces
        namespace = request.namespace or (known[0] if known else "")
        if self.is_connected and namespace not in known:
            raise InvalidInputError.of(
                "namespace",
                f"namespace is {namespace!r}, in which this server makes no InferenceServices; give "
                f"{' or '.join(map(repr, known))}, or have it added to the setting kubernetes_namespaces.",
            )
        if request.logging and not request.log_url and not self._settings.collector_url:
            raise InvalidInputError.of(
                "log_url",
                "log_url is missing, and this server does not know where pods reach its collector; set "
                "collector_url, give the s3:// URL of a bucket, or switch logging off.",
            )
        if request.runtime is Runtime.TIDEGAUGE and not self._settings.serving_image:
            raise InvalidInputError.of(
                "runtime",
                "runtime is 'tidegauge', and this server does not know the image of its model server; set "
                "serving_image, or take the runtime onnx.",
            )
        return InferenceService(
            name=request.name,
            namespace=namespace,
            runtime=request.runtime,
            storage_uri=request.storage_uri,
            min_replicas=request.min_replicas,
            max_replicas=request.max_replicas,
            log_url=request.log_url,
            applied=not request.manifest_only,
        )

    def storage_uri(self, deployment_id: str, version: int) -> str:
        """Return where the cluster finds the copy of a model; InvalidInputError where it cannot read it."""
        if not self._store.url.startswith(("s3://", "gs://")):
            raise InvalidInputError.of(
                "storage_uri",
                "storage_uri is missing, and no pod can read this server's store, which is a folder; give "
                "the address of the model (s3://, gs://, pvc://, oci://), or start the server on a bucket.",
            )
        return f"{self._store.url.rstrip('/')}/{_place(deployment_id, version)}"

    def place(self, deployment: Deployment, service: InferenceService) -> Placed:
        """Copy the model where the cluster reads it, and apply the manifest, unless it is only wanted."""
        self._copy(deployment, service)
        logger = self._logger(deployment, service, with_token=True) if deployment.logging else None
        body = self._manifest(deployment, service, logger)
        if not service.applied:
            return Placed(deployment, link.to_yaml(body))
        made = self._cluster().create(body)
        self._database.deployments.update(deployment.id, None, kserve=replace(service, uid=made.uid))
        hidden = self._logger(deployment, service, with_token=False) if logger else None
        return Placed(
            self._database.deployments.get(deployment.id),
            link.to_yaml(self._manifest(deployment, service, hidden)),
        )

    def change(self, before: Deployment, after: Deployment) -> InferenceService:
        """Make an InferenceService what the deployment is to be; return it as it is to be kept.

        Raises ConflictError where it is another's by now, or nothing was applied by this server.
        """
        service = after.kserve
        if service is None or before.kserve is None:
            raise ConflictError(f"The deployment {after.name!r} is not on KServe.")
        if not service.applied:
            raise ConflictError(
                f"The InferenceService of {after.name!r} was not applied by this server; change its "
                "manifest, and apply that."
            )
        if before.model_version != after.model_version and self._is_copied(before, service):
            service = replace(service, storage_uri=self.storage_uri(after.id, after.model_version))
            self._copy(after, service)
        keeps = before.logging == after.logging
        logger = self._logger(after, service, with_token=True) if after.logging and not keeps else None
        self._own(after, service)
        self._cluster().patch(self._manifest(after, service, logger), keeps_logger=keeps)
        if not after.logging:
            self._people.revoke_ingest(after.id, name=KSERVE_TOKEN)
        return service

    def remove(self, deployment: Deployment) -> None:
        """Delete the InferenceService of a deployment, where this server has made it and has a cluster."""
        service = deployment.kserve
        if service is None or not service.applied or not self.is_connected:
            return
        found = self._cluster().get(service.name, service.namespace)
        if found is not None and found.deployment_id == deployment.id:
            self._cluster().delete(service.name, service.namespace, found.uid)

    def look(self, namespace: str) -> str:
        """Write down how the InferenceServices of a namespace are; return from where to watch them."""
        found, since = self._cluster().list(namespace)
        there = {one.deployment_id for one in found if not one.is_deleted}
        for one in found:
            self.note(one)
        for deployment in self._of(namespace):
            service = deployment.kserve
            was_there = service is not None and bool(service.uid or service.conditions)
            if was_there and deployment.id not in there:
                self._write(deployment.id, DeploymentState.FAILED, _GONE)
        return since

    def note(self, found: link.Found) -> None:
        """Write down how an InferenceService is."""
        deployment = self._database.deployments.find(id=found.deployment_id) if found.deployment_id else None
        service = deployment.kserve if deployment else None
        if deployment is None or service is None:
            return
        if (found.name, found.namespace) != (service.name, service.namespace):
            return
        if service.uid and found.uid != service.uid and found.is_deleted:
            return  # a former one of this name
        state, message = state_on_kserve(found.conditions, failed=found.failed, is_deleted=found.is_deleted)
        url = link.predict_url(found.url, service) or deployment.predict_url
        seen = {"uid": found.uid, "conditions": found.conditions}
        self._write(deployment.id, state, message, seen, predict_url=url)

    def _write(
        self,
        deployment_id: str,
        state: DeploymentState,
        message: str,
        seen: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        rows = self._database.deployments
        with self._database.transaction():
            rows.lock(deployment_id)  # its owner may be changing replicas, which stand in the same column
            deployment = rows.find(id=deployment_id)
            if deployment is None or deployment.kserve is None:
                return
            service = replace(deployment.kserve, **(seen or {}))
            changes = {"kserve": service, "state": state, "message": message, **more}
            if any(getattr(deployment, name) != value for name, value in changes.items()):
                rows.update(deployment_id, None, **changes)

    def _of(self, namespace: str) -> list[Deployment]:
        rows = self._database.deployments.where(origin=Origin.EXTERNAL, namespace=namespace)
        return [one for one in rows if one.kserve and one.kserve.namespace == namespace]

    def _watch(self, namespace: str) -> None:
        place = f".kserve/{namespace}"
        while not self._stop.is_set():
            pause = _REST_SECONDS
            try:
                now = self._now()
                if self._of(namespace) and not self._leases.take(place, now, now + _CLAIM):
                    self._follow(namespace)
                    self._leases.release(place, self._now())
                    pause = 0.1
            except UnavailableError as error:
                self._away(namespace, error.message)
            except TidegaugeError as error:
                _log.warning("InferenceServices of %s cannot be watched: %s", namespace, error.message)
                self._away(namespace, error.message)
            except Exception:
                # A database or a store that is away for a moment must not end the watch.
                _log.exception("InferenceServices of %s could not be watched for a moment", namespace)
            self._stop.wait(pause)

    def _follow(self, namespace: str) -> None:
        since = self.look(namespace)
        for found in self._cluster().watch(namespace, since, _WATCH_SECONDS):
            if found is None or self._stop.is_set():
                return
            self.note(found)

    def _away(self, namespace: str, message: str) -> None:
        for deployment in self._of(namespace):
            if deployment.kserve and deployment.kserve.is_watched:
                self._write(deployment.id, DeploymentState.UNKNOWN, message)

    def _cluster(self) -> link.Cluster:
        with self._lock:
            if self._opened is None:
                self._opened = link.Cluster(self._settings.kubernetes)
            return self._opened

    def _own(self, deployment: Deployment, service: InferenceService) -> None:
        """Raise ConflictError where the InferenceService of that name is not the deployment's."""
        found = self._cluster().get(service.name, service.namespace)
        if found is None:
            raise ConflictError(_GONE)
        if found.deployment_id != deployment.id:
            message = (
                f"The InferenceService {service.name!r} in the namespace {service.namespace!r} is another "
                "one by now; delete this deployment, which leaves that alone."
            )
            raise ConflictError(message, (FieldError("name", message),))

    def _manifest(
        self, deployment: Deployment, service: InferenceService, logger: link.Logger | None
    ) -> dict[str, Any]:
        return link.manifest(
            deployment.id,
            deployment.model_version,
            service,
            logger,
            image=self._settings.serving_image,
            account=self._settings.kserve_service_account,
        )

    def _logger(self, deployment: Deployment, service: InferenceService, *, with_token: bool) -> link.Logger:
        if service.log_url:
            return link.Logger(service.log_url)
        token = _HIDDEN
        if with_token:
            self._people.revoke_ingest(deployment.id, name=KSERVE_TOKEN)
            owner = self._people.owner(deployment.owner)
            token = self._people.issue_ingest(owner, deployment.id, KSERVE_TOKEN).secret
        return link.Logger(f"{self._settings.collector_url.rstrip('/')}{deployment.events_path}", token)

    def _is_copied(self, deployment: Deployment, service: InferenceService) -> bool:
        return service.storage_uri.endswith(f"/{_place(deployment.id, deployment.model_version)}")

    def _copy(self, deployment: Deployment, service: InferenceService) -> None:
        """Lay the model version out in the store, where the InferenceService names that."""
        if not self._is_copied(deployment, service):
            return
        repository = self._catalogue.get(RepositoryKind.MODEL, deployment.owner, deployment.model_id)
        version = self._catalogue.version(repository, deployment.model_version)
        folder = _place(deployment.id, deployment.model_version)
        for file in self._catalogue.manifest(repository, version).files:
            if service.runtime is Runtime.ONNX:
                if file.path.endswith(_LEFT_OUT):
                    continue
                path = f"{folder}/{service.name}/1/{file.path}"  # as Triton wants it
            else:
                path = f"{folder}/{file.path}"
            self._store.put(path, self._catalogue.blobs.get(file.sha256))


def _place(deployment_id: str, version: int) -> str:
    """Return the folder in the store with the copy of a model version; it goes with the deployment."""
    return f"{deployment_id}/served/v{version}"
