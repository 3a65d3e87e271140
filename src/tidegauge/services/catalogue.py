"""Code, Datasets and Models: creating repositories, importing versions, reading them back."""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from tidegauge.domain.catalogue import Repository, RepositoryKind, Source, SourceType, Version, VersionState
from tidegauge.domain.content import MAX_BYTES, MAX_FILES, ContentForm, Manifest
from tidegauge.domain.identity import check_name, new_id
from tidegauge.domain.onnx_file import check_onnx
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    TooLargeError,
    all_of,
)
from tidegauge.links import archives, folders, gate_proxy, git
from tidegauge.services import content
from tidegauge.services.gates import Gates
from tidegauge.services.sharing import Asker, look_up, page_of
from tidegauge.services.worker import Worker
from tidegauge.storage.buckets import Access
from tidegauge.storage.database import Database
from tidegauge.storage.objects import Blobs, ObjectStore
from tidegauge.storage.rows import Page, Query

_log = logging.getLogger(__name__)

_PROBLEMS_KEPT = 100  # in the row; the manifest has all of them
_PROGRESS_STEPS = 50  # rows are not rewritten for every file


class Catalogue:
    """The repositories of all users; ``home`` holds uploads until they are imported."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        worker: Worker,
        home: Path,
        now: Callable[[], datetime],
        gates: Gates | None = None,
    ) -> None:
        """``gates`` say where sources may lead; without them only operators' into private networks."""
        self._database = database
        self._store = store
        self.blobs = Blobs(store)
        self._worker = worker
        self._gates = gates or Gates(database)
        self._uploads = home / "uploads"
        self._now = now

    def start(self) -> None:
        """Take up the imports that a crash interrupted."""
        self._uploads.mkdir(parents=True, exist_ok=True)
        interrupted = self._database.versions.where(state=VersionState.IMPORTING)
        needed = {version.id for version in interrupted}
        for left in self._uploads.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            elif left.name not in needed:
                left.unlink()
        for version in interrupted:
            if self._database.retrainings.find(id=version.id) is None:  # a retraining takes its own up again
                self._submit(version)

    def create(
        self, kind: RepositoryKind, name: str, owner: str, source: Source, form: ContentForm | None
    ) -> Repository:
        all_of(lambda: check_name(name), source.check)
        self._check_apart(source)
        source, secret = source.apart()
        if source.endpoint:
            self._gates.of(owner).check(source.endpoint, "source.endpoint")
        if source.type is SourceType.GIT:
            git.check(source.url, source.branch, self._gates.of(owner))
        self._check_folder(owner, source)
        if kind is not RepositoryKind.DATASET and form not in (None, ContentForm.FILES):
            raise InvalidInputError.of("form", f"form is {form!r}; only a dataset has one.")
        if kind is not RepositoryKind.DATASET:
            form = ContentForm.FILES
        return self._database.repositories.add(
            Repository(new_id(), kind, name, owner, source, form, self._now(), secret=secret)
        )

    def _check_apart(self, source: Source) -> None:
        """Refuse a bucket's prefix that this cluster keeps everything in: it holds what is of others too."""
        if source.type is not SourceType.S3 or source.is_foreign:
            return
        ours, theirs = (f"{url.rstrip('/')}/" for url in (self._store.url, source.whole_url))
        if ours.startswith(theirs) or theirs.startswith(ours):
            raise InvalidInputError.of(
                "source.url",
                f"{source.whole_url!r} is where this cluster has its store; give another prefix.",
            )

    def _check_folder(self, owner: str, source: Source) -> None:
        """Refuse a folder of this machine to who is no operator, and the server's own to everybody."""
        local = source.type is SourceType.FOLDER or (
            source.type is SourceType.GIT and git.is_local(source.url)
        )
        if not local:
            return
        user = self._database.users.find(name=owner)
        if user is None or not user.is_operator:
            raise ForbiddenError(
                f"source.type is {source.type.value!r} and source.url a folder of the server's machine; only "
                "operators may read one. Upload the files, or give a git URL or a bucket."
            )
        is_git = source.type is SourceType.GIT
        folder = (git.folder_of(source.url) if is_git else Path(source.url).expanduser()).resolve()
        home = self._uploads.parent.resolve()
        if folder.is_relative_to(home) or home.is_relative_to(folder):
            raise InvalidInputError.of(
                "source.url",
                f"source.url is {source.url!r}, where this server keeps what is secret; give another folder.",
            )

    def page(self, kind: RepositoryKind, asker: Asker, query: Query) -> Page[Repository]:
        return page_of(self._database.repositories, asker, query, kind=kind)

    def get(self, kind: RepositoryKind, asker: Asker, name_or_id: str) -> Repository:
        repositories = self._database.repositories
        return look_up(repositories, asker, kind.value, name_or_id, ("name", "id"), kind=kind)

    def share(self, repository: Repository, *, shared: bool) -> Repository:
        """Let everybody read a repository with its versions, or nobody but its owner."""
        self._database.repositories.update(repository.id, shared=shared)
        return self._database.repositories.get(repository.id)

    def versions(self, repository: Repository) -> tuple[Version, ...]:
        return self._database.versions.where(repository_id=repository.id, sort="-number")

    def version(self, repository: Repository, number: int | None = None) -> Version:
        """Return this version, or the newest ready one."""
        if number is not None:
            found = self._database.versions.find(repository_id=repository.id, number=number)
        else:
            ready = [v for v in self.versions(repository) if v.state is VersionState.READY]
            found = ready[0] if ready else None
        if found is None:
            which = f"version v{number}" if number is not None else "version that is ready"
            raise NotFoundError(f"The {repository.kind.value} {repository.name!r} has no {which}.")
        return found

    def ready_version(self, kind: RepositoryKind, owner: str, name: str, number: int) -> Version:
        """Return a version that can be used, or say why it cannot."""
        version = self.version(self.get(kind, owner, name), number)
        if version.state is not VersionState.READY:
            raise ConflictError(f"Version v{number} of the {kind.value} {name!r} is {version.state.value}.")
        return version

    def add_version(
        self, repository: Repository, upload: Path | None = None, meta: Mapping[str, Any] | None = None
    ) -> Version:
        """Begin to import a new version from the source, or from an uploaded archive (taken over)."""
        if (upload is None) == (repository.source.type is SourceType.UPLOAD):
            raise InvalidInputError.of(
                "archive",
                "This repository takes uploads; send an archive."
                if upload is None
                else f"The source of this repository is {repository.source.type.value}; send no archive.",
            )
        self._check_folder(repository.owner, repository.source)
        version = Version(
            new_id(),
            repository.id,
            0,
            VersionState.IMPORTING,
            self._now(),
            form=repository.form,
            meta=meta or {},
        )
        if upload is not None:
            upload.rename(self._uploads / version.id)
        numbered = self._add_numbered(version)
        self._submit(numbered)
        return numbered

    def make_version(
        self, repository: Repository, id_: str, manifest: Manifest, meta: Mapping[str, Any]
    ) -> Version:
        """Add a version of contents that are in the store; asked for again with its id it is the same one."""
        found = self._database.versions.find(id=id_)
        if found is None:
            form = manifest.form
            importing = VersionState.IMPORTING
            found = self._add_numbered(
                Version(id_, repository.id, 0, importing, self._now(), form=form, meta=meta)
            )
        if found.state is VersionState.IMPORTING:
            self._finish(repository, found, manifest, meta)
        return self._database.versions.get(id_)

    def adopt(
        self,
        kind: RepositoryKind,
        owner: str,
        name: str,
        number: int,
        manifest: Manifest,
        meta: Mapping[str, Any],
    ) -> tuple[Repository, Version]:
        """Have a version of another cluster, whose contents are in the store; the same one only once.

        It keeps its number where that is free here.
        """
        repository = self._database.repositories.find(kind=kind, owner=owner, name=name)
        if repository is None:
            repository = self.create(kind, name, owner, Source(SourceType.UPLOAD), manifest.form)
        importing, form = VersionState.IMPORTING, manifest.form
        fresh = Version(new_id(), repository.id, number, importing, self._now(), form=form, meta=meta)
        with self._database.transaction():  # as a whole: there is no upload that a start could take up again
            self._database.repositories.lock(repository.id)
            same = self._database.versions.where(
                repository_id=repository.id, state=VersionState.READY, digest=manifest.digest, sort="-number"
            )
            if same:
                return repository, same[0]
            if self._database.versions.count(repository_id=repository.id, number=number):
                fresh = self._add_numbered(fresh)
            else:
                self._database.versions.add(fresh)
            self._finish(repository, fresh, manifest, meta)
        return repository, self._database.versions.get(fresh.id)

    def _add_numbered(self, version: Version) -> Version:
        """Add the version under the next free number."""
        with self._database.transaction():
            self._database.repositories.lock(version.repository_id)
            number = self._database.versions.highest("number", repository_id=version.repository_id) + 1
            return self._database.versions.add(replace(version, number=number))

    def upload_folder(self) -> Path:
        """Return the folder in which an upload may be spooled before ``add_version`` takes it."""
        return self._uploads

    def delete(self, repository: Repository) -> None:
        """Delete a repository with its versions; refused while something in use needs it."""
        if repository.kind is RepositoryKind.MODEL:
            users = self._database.deployments.where(model_id=repository.id)
            if users:
                names = ", ".join(user.name for user in users)
                raise ConflictError(
                    f"The model {repository.name!r} is deployed as {names}; delete that first."
                )
        self._database.repositories.delete(repository.id)
        self._store.delete_below(f"{repository.kind.plural}/{repository.id}")

    def manifest(self, repository: Repository, version: Version) -> Manifest:
        return Manifest.from_json(self._store.get(self._manifest_path(repository, version)))

    def export(self, repository: Repository, version: Version, folder: Path) -> None:
        """Write the files of a version into ``folder``; labelled forms as labelled folders."""
        if version.state is not VersionState.READY:
            raise ConflictError(
                f"Version {version.label} of {repository.name!r} is {version.state.value}; it must be ready."
            )
        content.export(self.manifest(repository, version), self.blobs, folder)

    def lay_out(self, kind: RepositoryKind, owner: str, name_or_id: str, number: int, folder: Path) -> None:
        """Write a version into ``folder``, whole or not at all; a folder that is there stays as it is."""
        if folder.exists():
            return
        scratch = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        repository = self.get(kind, owner, name_or_id)
        self.export(repository, self.version(repository, number), scratch)
        scratch.rename(folder)

    @staticmethod
    def _manifest_path(repository: Repository, version: Version) -> str:
        return f"{repository.kind.plural}/{repository.id}/{version.label}/manifest.json"

    def _submit(self, version: Version) -> None:
        self._worker.submit(version.id, lambda: self._import(version))

    def _import(self, version: Version) -> None:
        repository = self._database.repositories.get(version.repository_id)
        upload = self._uploads / version.id
        try:
            with tempfile.TemporaryDirectory(dir=self._uploads) as scratch:
                folder, meta = self._fetch(repository, upload, Path(scratch))
                if repository.kind is RepositoryKind.MODEL:
                    folder = content.content_root(folder)  # an archive may wrap the model in a folder
                manifest = content.ingest(
                    folder,
                    repository.form or content.detect_form(folder),
                    self.blobs,
                    lambda done, total: self._progress(version.id, done, total),
                )
                if repository.kind is RepositoryKind.MODEL:
                    meta |= _describe_model(folder)
        except TidegaugeError as error:
            self._fail(version.id, error.message)
        except OSError as error:
            self._fail(version.id, f"The files could not be read or stored: {error}.")
        except Exception as error:
            # A mistake of ours: no version may stay importing for ever, and the worker logs the trace.
            self._fail(version.id, f"The import failed: {error}")
            raise
        else:
            self._finish(repository, version, manifest, {**meta, **version.meta})
        upload.unlink(missing_ok=True)

    def _fetch(self, repository: Repository, upload: Path, scratch: Path) -> tuple[Path, dict[str, Any]]:
        source = repository.source
        if source.type is SourceType.UPLOAD:
            if not upload.exists():
                raise InvalidInputError("The upload did not arrive whole; send it again.")
            archives.unpack(upload, scratch)
            return scratch, {}
        if source.type is SourceType.GIT:
            gate = self._gates.of(repository.owner)
            commit = git.fetch(source.url, source.branch, scratch, gate, secret=repository.secret)
            return folders.sub_path(scratch, source.sub_path), {"commit": commit}
        if source.type is SourceType.S3:
            self._copy_bucket(self.bucket(repository), scratch)
            return scratch, {}
        folder = Path(source.url).expanduser()
        if not folder.is_dir():
            raise InvalidInputError.of(
                "source.url", f"source.url is {source.url!r}, which is not a folder on the server's machine."
            )
        return folders.sub_path(folder, source.sub_path), {}

    def bucket(self, repository: Repository) -> ObjectStore:
        """Open the bucket of a source; RefusedAddressError where its owner may not be led there any more."""
        source = repository.source
        if not source.is_foreign:
            return ObjectStore(source.whole_url)
        gate = self._gates.of(repository.owner)
        if source.endpoint:
            gate.check(source.endpoint, "source.endpoint")
        access = Access(
            source.endpoint, source.region, source.access_key, repository.secret, gate_proxy.proxy_of(gate)
        )
        return ObjectStore(source.whole_url, access)

    @staticmethod
    def _copy_bucket(bucket: ObjectStore, scratch: Path) -> None:
        """Copy what lies below a prefix, as much as an archive may unpack to."""
        size = 0
        for count, info in enumerate(bucket.list(""), 1):
            size += info.size
            if size > MAX_BYTES or count > MAX_FILES:
                raise TooLargeError(
                    f"The prefix has more than {MAX_BYTES} bytes or {MAX_FILES} objects; give a smaller one."
                )
            place = folders.inside(scratch, info.path, "source.url")
            place.parent.mkdir(parents=True, exist_ok=True)
            with io.BufferedReader(bucket.open(info.path)) as taken, place.open("wb") as copy:
                shutil.copyfileobj(taken, copy)

    def _progress(self, version_id: str, done: int, total: int) -> None:
        if done == total or done % max(1, total // _PROGRESS_STEPS) == 0:
            self._database.versions.update(version_id, done=done, total=total)

    def _finish(
        self, repository: Repository, version: Version, manifest: Manifest, meta: Mapping[str, Any]
    ) -> None:
        self._store.put(self._manifest_path(repository, version), manifest.to_json())
        self._database.versions.update(
            version.id,
            state=VersionState.READY,
            form=manifest.form,
            classes=manifest.classes,
            files=len(manifest.files),
            bytes=sum(file.size for file in manifest.files),
            digest=manifest.digest,
            problems=manifest.problems[:_PROBLEMS_KEPT],
            meta=meta,
        )

    def _fail(self, version_id: str, message: str) -> None:
        _log.warning("import of version %s failed: %s", version_id, message)
        self._database.versions.update(version_id, state=VersionState.FAILED, error=message)


def _describe_model(folder: Path) -> dict[str, Any]:
    """Read what a model folder says of itself; a model is served as ONNX only, never unpickled."""
    if not (folder / "model.onnx").is_file():
        raise InvalidInputError("The upload has no model.onnx at its top level; export the model as ONNX.")
    check_onnx(folder / "model.onnx")
    described: dict[str, Any] = {}
    for name in ("model.json", "metrics.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            value = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"{name} of the model is not valid JSON: {error}.") from error
        if not isinstance(value, dict):
            raise InvalidInputError(f"{name} of the model must be a JSON object.")
        described |= value if name == "model.json" else {"metrics": value}
    return described
