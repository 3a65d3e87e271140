"""What a serving cluster tells a monitoring one of a deployment: its state, model, log and labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegauge import __version__
from tidegauge.domain.catalogue import Repository, RepositoryKind, Version, VersionState
from tidegauge.domain.cluster_link import PROTOCOL, Content, Exported, Greeting
from tidegauge.domain.content import Manifest
from tidegauge.domain.deployment import Deployment, Origin
from tidegauge.domain.observation import HealthSample
from tidegauge.domain.users import User
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.sources.logs import Logs
from tidegauge.storage.database import Database
from tidegauge.storage.log_stream import StreamedFile, encode
from tidegauge.storage.objects import ObjectInfo, ObjectStore
from tidegauge.storage.segments import bytes_of

_MOST_BYTES = 64 << 20  # of payloads in one answer: who follows asks again
_FILES = 64
_SAMPLES = 5000


class Exporting:
    """Answers for deployments of this cluster, to whoever may read them."""

    def __init__(
        self, database: Database, store: ObjectStore, catalogue: Catalogue, logs: Logs, address: str
    ) -> None:
        self._database = database
        self._store = store
        self._catalogue = catalogue
        self._logs = logs
        self._address = address

    @staticmethod
    def greeting(user: User) -> Greeting:
        return Greeting(PROTOCOL, __version__, user.name)

    def find(self, user: User, namespace: str = "", name: str = "") -> tuple[Exported, ...]:
        """Return the deployments that ``user`` may have elsewhere, of an owner and a name where given."""
        given: dict[str, Any] = {key: value for key, value in (("owner", namespace), ("name", name)) if value}
        found = self._database.deployments.where(sort="name", **given)
        return tuple(self.described(user, deployment) for deployment in found if _may_see(user, deployment))

    def get(self, user: User, deployment_id: str) -> Deployment:
        """Return a deployment that ``user`` may have elsewhere, or raise NotFoundError."""
        found = self._database.deployments.find(id=deployment_id)
        if found is None or not _may_see(user, found):
            raise NotFoundError(f"There is no deployment with id {deployment_id!r}.")
        return found

    def described(self, user: User, deployment: Deployment) -> Exported:
        """Return what ``user`` may be told of a deployment; its message says what does not come along."""
        is_local = deployment.origin is Origin.LOCAL
        given, lacking = self._given(user, deployment)
        return Exported(
            id=deployment.id,
            name=deployment.name,
            namespace=deployment.owner,
            origin=deployment.origin,
            state=deployment.state,
            message=" ".join(filter(None, (deployment.message, lacking))),
            logging=deployment.logging,
            # Our model server says of each event how many it stands for.
            sampling=1.0 if is_local else deployment.sampling,
            classes=deployment.classes,
            predict_url=self._address + deployment.predict_path if is_local else deployment.predict_url,
            model=_content(given.get(RepositoryKind.MODEL)),
            training=_content(given.get(RepositoryKind.DATASET)),
            files=self._database.log_files.highest("number", deployment_id=deployment.id),
        )

    def manifest(self, user: User, deployment: Deployment, kind: RepositoryKind) -> Manifest:
        """Return the manifest of its model, or of the training data of that, where ``user`` may read it."""
        found = self._given(user, deployment)[0].get(kind)
        if found is None:
            raise NotFoundError(f"There is no {kind.value} of the deployment {deployment.name!r}.")
        return self._catalogue.manifest(*found)

    def blob(self, user: User, deployment: Deployment, kind: RepositoryKind, digest: str) -> bytes:
        """Return the content of a file of its model or training data, where ``user`` may read it."""
        if all(file.sha256 != digest for file in self.manifest(user, deployment, kind).files):
            raise NotFoundError(f"No file of that {kind.value} has the hash {digest!r}.")
        try:
            return self._catalogue.blobs.get(digest)
        except NotFoundError:  # it names the place, which is nobody's elsewhere
            message = f"The file with the hash {digest!r} is missing in this cluster's store."
            raise NotFoundError(message) from None

    def log(self, deployment: Deployment, after: int, file: str = "") -> Iterator[bytes]:
        """Yield the files of the log after a number as an Arrow stream, some at once.

        ``file`` is the path of that number, as it came. Raises ConflictError where it is another by now: the
        database was set back, and has given numbers anew.
        """
        if after < 0:
            raise InvalidInputError.of("after", f"after is {after}; give the number of a file, or 0.")
        last = self._database.log_files.find(deployment_id=deployment.id, number=after) if after else None
        if after and (last is None or file not in ("", last.id)):
            raise ConflictError(
                f"after is {after}, which is not the number of {file or 'a file'} (any more); the log was "
                "set back meanwhile, so read it again from 0."
            )
        return encode(self._files(deployment, after))

    def erased(self, deployment: Deployment) -> tuple[str, ...]:
        """Return the digests of the events that were deleted here, and must not be elsewhere."""
        return tuple(e.digest for e in self._database.erasures.where(deployment_id=deployment.id))

    def samples(self, deployment: Deployment, after: str) -> tuple[HealthSample, ...]:
        """Return what was seen of its process after a sample, some at once."""
        low = f"{after}\0" if after else None
        return self._database.health_samples.between(
            "id", low, None, limit=_SAMPLES, deployment_id=deployment.id
        )

    def livedata(self, deployment: Deployment) -> list[ObjectInfo]:
        """Return the label files that were dropped here."""
        return list(self._store.list(deployment.livedata))

    def label_file(self, deployment: Deployment, name: str) -> bytes:
        path = f"{deployment.livedata}/{name}"
        if all(info.path != path for info in self._store.list(deployment.livedata)):
            raise NotFoundError(f"There is no label file {name!r}.")
        return self._store.get(path)

    def _files(self, deployment: Deployment, after: int) -> Iterator[StreamedFile]:
        size = 0
        for file in self._database.log_files.between(
            "number", after + 1, None, deployment_id=deployment.id, sort="number", limit=_FILES
        ):
            is_gone = False
            try:
                records = self._logs.file(deployment.id, file.id)
            except NotFoundError:
                records = []
                is_gone = self._database.log_files.get(file.id).gone_at is not None
            yield StreamedFile(file.number, file.id, records, is_gone)
            size += bytes_of(records)
            if size > _MOST_BYTES:
                return

    def _given(
        self, user: User, deployment: Deployment
    ) -> tuple[dict[RepositoryKind, tuple[Repository, Version]], str]:
        """Return the versions that ``user`` may have with a deployment, and say which does not come along.

        To share a deployment shares neither its model nor what that was trained on; without the model, which
        says what it was trained on, that does not come either.
        """
        given: dict[RepositoryKind, tuple[Repository, Version]] = {}
        for repository, version in self._needed(deployment):
            if not _may_read(user, repository):
                return given, (
                    f"The {repository.kind.value} {repository.name!r} does not come along, since it is not "
                    f"shared with {user.name}, whose token the link has; share it, or give the link an "
                    "operator's token."
                )
            given[repository.kind] = repository, version
        return given, ""

    def _needed(self, deployment: Deployment) -> Iterator[tuple[Repository, Version]]:
        """Yield the model of a deployment and then what that was trained on, as far as they are there."""
        model = self._ready(deployment.model_version, id=deployment.model_id)
        if model is not None:
            yield model
            name, number = _trained_on(model[1])
            training = self._ready(number, kind=RepositoryKind.DATASET, owner=deployment.owner, name=name)
            if training is not None:
                yield training

    def _ready(self, number: int, **which: Any) -> tuple[Repository, Version] | None:
        repository = self._database.repositories.find(**which)
        ready = VersionState.READY
        version = repository and self._database.versions.find(
            repository_id=repository.id, number=number, state=ready
        )
        return (repository, version) if repository and version else None


def _content(found: tuple[Repository, Version] | None) -> Content | None:
    if found is None:
        return None
    repository, version = found
    return Content(
        repository.kind, repository.name, version.number, version.digest, version.bytes, version.meta
    )


def _trained_on(model: Version) -> tuple[str, int]:
    """Return the dataset and version that a model says it was trained on; empty where it does not."""
    lineage = model.meta.get("lineage")
    for named in (model.meta.get("dataset"), lineage.get("dataset") if isinstance(lineage, dict) else None):
        if isinstance(named, dict) and named.get("name") and isinstance(named.get("version"), int):
            return str(named["name"]), named["version"]
    return "", 0


def _may_read(user: User, owned: Deployment | Repository) -> bool:
    """Tell whether something may be read elsewhere: one's own, what is shared, an operator's every."""
    return user.is_operator or owned.owner == user.name or owned.shared


def _may_see(user: User, deployment: Deployment) -> bool:
    """Tell whether a deployment may go elsewhere: what may be read, and is not from elsewhere itself."""
    return _may_read(user, deployment) and deployment.origin is not Origin.IMPORTED
