"""Importing a deployment of a serving cluster, with what monitoring needs of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tidegauge.domain.catalogue import Version
from tidegauge.domain.cluster_link import ClusterLink, Content, Exported, Followed, Import, Through
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import check_name
from tidegauge.domain.monitor import UNJUDGED
from tidegauge.errors import (
    ConflictError,
    FieldError,
    InvalidInputError,
    NotFoundError,
)
from tidegauge.links.clusters import RemoteCluster
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.linking.clusters import Clusters
from tidegauge.storage.database import Database

_STEPS = 20  # that are told of while files come
Tell = Callable[[str], None]


class Importing:
    """Adds deployments of other clusters; their contents come while they are followed."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        clusters: Clusters,
        kick: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        """``kick`` has what was imported followed at once."""
        self._database = database
        self._catalogue = catalogue
        self._clusters = clusters
        self._kick = kick
        self._now = now

    def add(
        self,
        owner: str,
        name: str,
        cluster: str,
        namespace: str = "",
        *,
        local_name: str = "",
        through: Through = Through.LINK,
    ) -> Deployment:
        """Import a deployment; it has the same id here as there.

        Args:
            owner: whose it is here.
            name: of the deployment on the serving cluster.
            cluster: name of the link.
            namespace: user who has it over there; may be left out where only one has one of that name.
            local_name: by which it is known here; by default ``name``.
            through: how its log comes: over the link, or as a Dataset that its monitor names.

        Raises NotFoundError where there is no such link or deployment, ConflictError where it is here
        already, UnavailableError where the cluster does not answer.
        """
        link = self._clusters.link(cluster)
        local = check_name(local_name or name, "local_name" if local_name else "name")
        with self._clusters.open(link) as remote:
            exported = _only(remote.find(namespace, name), link, namespace, name)
        self._clusters.note(link)
        known = self._database.deployments.find(id=exported.id)
        if known is not None:
            what = "imported already" if known.origin is Origin.IMPORTED else "a deployment of this cluster"
            message = f"name is {name!r}, which is {what}, as {known.name!r} of {known.owner}."
            raise ConflictError(message, (FieldError("name", message),))
        deployment = Deployment(
            id=exported.id,
            name=local,
            owner=owner,
            model_id="",
            model_name="",
            model_version=0,
            logging=exported.logging,
            origin=Origin.IMPORTED,
            wanted=DeploymentState.RUNNING,
            state=exported.state,
            created_at=self._now(),
            predict_path="",
            message=exported.message,
            namespace=exported.namespace,
            classes=() if exported.model else exported.classes,
            predict_url=exported.predict_url,
            sampling=exported.sampling,
        )
        followed = Import(
            exported.id, link.id, exported.namespace, exported.name, through, files=exported.files
        )
        with self._database.transaction():
            if not self._database.cluster_links.lock(link.id):
                raise NotFoundError(f"The link {link.name!r} was deleted meanwhile.")
            self._database.deployments.add(deployment)
            self._database.imports.add(followed)
        self._kick()
        return deployment

    def followed(self, deployment: Deployment) -> Followed:
        """Tell how far a deployment is followed; ConflictError for one that is not imported."""
        found = self._database.imports.find(id=deployment.id)
        if found is None:
            raise ConflictError(
                f"The deployment {deployment.name!r} is {deployment.origin.value}, and not imported."
            )
        return Followed(
            cluster=self._database.cluster_links.get(found.link_id).name,
            namespace=found.namespace,
            name=found.name,
            through=found.through,
            brought=found.brought,
            files=found.files,
            behind=found.behind,
            message=found.message,
            looked_at=found.looked_at,
            known_until=found.known_until,
            gone_at=found.gone_at,
        )

    def away(self, deployment: Deployment) -> str:
        """Say why windows of an imported deployment wait; empty where they do not."""
        found = self._database.imports.find(id=deployment.id)
        if found is None or found.through is not Through.LINK or not found.message:
            return ""
        since = f" from {found.known_until:%Y-%m-%d %H:%M} UTC on" if found.known_until else ""
        return f"{found.message} Windows{since} wait for what is still over there."

    def bring(self, remote: RemoteCluster, exported: Exported, tell: Tell) -> None:
        """Bring the model of a deployment, and what that was trained on."""
        id_ = exported.id
        if exported.model is None:
            self._database.imports.update(id_, None, model=mark_of(exported), message="")
            return
        model = self._fetch(remote, id_, exported.model, tell)
        served = {"model_id": model.repository_id, "model_version": model.number}
        if exported.training is not None:
            self._fetch(remote, id_, exported.training, tell)
        with self._database.transaction():
            self._database.imports.update(id_, None, model=mark_of(exported), message="")
            if self._database.deployments.find(id=id_, **served) is not None:
                return  # the same model: what it was trained on has come now
            self._database.deployments.update(id_, None, model_name=exported.model.name, **served)
            monitor = self._database.monitors.find(deployment_id=id_)
            if monitor is not None:
                self._database.monitors.update(monitor.id, **UNJUDGED)

    def _fetch(self, remote: RemoteCluster, deployment_id: str, wanted: Content, tell: Tell) -> Version:
        """Bring a version: the files that are not here yet, each checked by its hash."""
        manifest = remote.manifest(deployment_id, wanted.kind)
        if manifest.digest != wanted.digest:
            raise ConflictError(
                f"The {wanted.kind.value} {wanted.name!r} changed meanwhile; it is tried again."
            )
        total = len(manifest.files)
        for number, file in enumerate(manifest.files):
            if number % max(1, total // _STEPS) == 0:
                tell(f"Bringing the {wanted.kind.value} {wanted.name!r}: {number} of {total} files.")
            if self._catalogue.blobs.has(file.sha256):
                continue
            data = remote.blob(deployment_id, wanted.kind, file.sha256)
            if len(data) != file.size or self._catalogue.blobs.put(data)[0] != file.sha256:
                raise InvalidInputError(f"The file {file.path!r} did not come as it is over there.")
        meta = {**wanted.meta, "imported": {"deployment": deployment_id, "version": wanted.version}}
        with self._database.transaction():
            self._database.deployments.lock(deployment_id)  # who is deleted hands it over before, or after
            owner = self._database.deployments.get(deployment_id).owner
            return self._catalogue.adopt(wanted.kind, owner, wanted.name, wanted.version, manifest, meta)[1]


def mark_of(exported: Exported) -> str:
    """Return what tells a model from another one, and whether what it was trained on is to be had."""
    model = exported.model
    if model is None:
        return "none"
    return f"{model.name} v{model.version} {model.digest}{'' if exported.training else ' alone'}"


def _only(found: tuple[Exported, ...], link: ClusterLink, namespace: str, name: str) -> Exported:
    if not found:
        where = f"in the namespace {namespace!r} of" if namespace else "on"
        message = (
            f"name is {name!r}; there is no deployment of this name {where} the cluster {link.name!r} that "
            f"{link.user}, whose token the link has, may see."
        )
        raise NotFoundError(message, (FieldError("name", message),))
    if len(found) > 1:
        names = ", ".join(sorted(one.namespace for one in found))
        message = (
            f"namespace is missing: the cluster {link.name!r} has {name!r} in {names}; name one of them."
        )
        raise InvalidInputError.of("namespace", message)
    return found[0]
