"""Following imported deployments: their state, model, log, deletions, health and labels come over the link.

A file of the log that came is written into the log of this cluster under its own name, and then taken down as
a collector does it: whatever crashes in between, it is there once. Files come in the order in which they were
written over there, so that evidence here takes events in the same order.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidegauge.domain.cluster_link import (
    ClusterLink,
    Exported,
    Import,
    LabelFileInfo,
    LinkState,
    Through,
)
from tidegauge.domain.content import is_object_name
from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.domain.erasure import Erasure, digest_of
from tidegauge.domain.identity import new_id
from tidegauge.domain.observation import DeadLetter
from tidegauge.errors import InvalidInputError, NotFoundError, TidegaugeError, UnavailableError
from tidegauge.links.clusters import LogSetBackError, RefusedTokenError, RemoteCluster
from tidegauge.services.captures import Captures
from tidegauge.services.linking.clusters import Clusters
from tidegauge.services.linking.importing import Importing, mark_of
from tidegauge.services.noting import Noting
from tidegauge.services.privacy.erasing import Erasures
from tidegauge.services.privacy.tombstones import Tombstones
from tidegauge.services.rounds import Rounds
from tidegauge.services.sources.places import Places
from tidegauge.storage.database import Database
from tidegauge.storage.leases import Leases
from tidegauge.storage.log import InferenceLog, hour_of
from tidegauge.storage.log_stream import StreamedFile
from tidegauge.storage.objects import ObjectStore

_log = logging.getLogger(__name__)

_AT_ONCE = 8  # links: one that hangs delays no other
_LEASE = timedelta(minutes=5)  # longer than one answer takes
_REST = timedelta(seconds=60)  # between looks at what is away; doubles up to that
_WATCH = timedelta(seconds=30)  # between looks at a link over which nothing is followed
_FOLLOWED = "followed"  # folder of the label files that came, below the deployment's livedata


@dataclass
class _Pause:
    """When a link that was away, or a deployment that could not be followed, is asked again."""

    until: datetime
    length: timedelta


class _OvertakenError(Exception):
    """Another process follows the deployment by now."""


class Following:
    """Follows in the background; each deployment by one process at a time."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        clusters: Clusters,
        importing: Importing,
        erasures: Erasures,
        now: Callable[[], datetime],
        seconds: float = 2.0,
    ) -> None:
        """``seconds`` are between two looks at each deployment."""
        self._database = database
        self._store = store
        self._log = InferenceLog(store)
        self._clusters = clusters
        self._importing = importing
        self._erasures = erasures
        self._now = now
        self._seconds = seconds
        self._leases = Leases(store)
        self._noting = Noting(database, now)
        self._captures = Captures(database, now)
        self._tombstones = Tombstones(database)
        self._places = Places(database, now)
        self._pauses: dict[str, _Pause] = {}  # by the id of the link, or of the deployment
        self._labels: dict[str, dict[str, LabelFileInfo]] = {}  # of each deployment, as they came last
        failure = "The links could not be followed for a moment"
        self._rounds = Rounds("following", seconds, self.look, failure, at_once=True)

    def start(self) -> None:
        self._rounds.start()

    def close(self) -> None:
        """Let it finish the file that it is at."""
        self._rounds.close()

    def kick(self) -> None:
        """Look at once."""
        self._pauses.clear()
        self._rounds.kick()

    def look(self) -> None:
        """Follow every deployment whose link is not away, and look at the other links now and then."""
        links = self._database.cluster_links.where()
        if links:
            with ThreadPoolExecutor(_AT_ONCE, "following") as pool:
                list(pool.map(self._look_at, links))

    def _look_at(self, link: ClusterLink) -> None:
        if self._rests(link.id):
            return
        due = [one for one in self._database.imports.where(link_id=link.id) if not self._rests(one.id)]
        if not due:
            if self._now() - link.checked_at >= _WATCH:
                self._clusters.look(link)
            return
        try:
            with self._clusters.open(link) as remote:
                for one in due:
                    if self._rounds.is_closing:
                        return
                    self._follow_alone(remote, link, one)
        except RefusedTokenError as error:
            self._away(link, LinkState.REFUSED, error)
        except (UnavailableError, InvalidInputError) as error:
            self._away(link, LinkState.UNREACHABLE, error)
        except Exception:
            # A database that is away for a moment must not end the following.
            _log.exception("The cluster %s could not be followed for a moment", link.name)
        else:
            self._pauses.pop(link.id, None)
            self._clusters.note(link)

    def _rests(self, id_: str) -> bool:
        pause = self._pauses.get(id_)
        return pause is not None and self._now() < pause.until

    def _rest(self, id_: str) -> None:
        """Wait longer each time before something is asked again."""
        before = self._pauses.get(id_)
        length = min(_REST, 2 * before.length if before else timedelta(seconds=self._seconds))
        self._pauses[id_] = _Pause(self._now() + length, length)

    def _away(self, link: ClusterLink, state: LinkState, error: TidegaugeError) -> None:
        """Write down that a link is away."""
        self._rest(link.id)
        self._clusters.note(link, state, error.message)
        for one in self._database.imports.where(link_id=link.id, gone_at=None):
            self._database.imports.update(one.id, None, message=error.message, looked_at=self._now())
            # What is so over there nobody knows now.
            self._database.deployments.update(
                one.id, None, state=DeploymentState.UNKNOWN, message=error.message
            )

    def _follow_alone(self, remote: RemoteCluster, link: ClusterLink, followed: Import) -> None:
        place, now = _claim(followed.id), self._now()
        if self._leases.take(place, now, now + _LEASE) is not None:
            return  # another process does
        try:
            with contextlib.suppress(_OvertakenError):
                self.follow(remote, link, followed)
        except TidegaugeError as error:
            remote.greet()  # raises where it is the link that fails, and not this deployment alone
            self._database.imports.update(followed.id, None, message=error.message, looked_at=self._now())
            self._rest(followed.id)
        finally:
            self._leases.release(place, self._now())

    def _keep(self, deployment_id: str) -> None:
        """Keep the claim on a deployment of which much comes."""
        now = self._now()
        if not self._leases.keep(_claim(deployment_id), now, now + _LEASE):
            raise _OvertakenError

    def follow(self, remote: RemoteCluster, link: ClusterLink, followed: Import) -> None:
        """Take over what has come of one deployment since."""
        deployment = self._database.deployments.find(id=followed.id)
        if deployment is None:
            return
        try:
            exported = remote.deployment(followed.id)
        except NotFoundError:
            self._gone(link, followed)
            return
        self._note(deployment, followed, exported)
        if mark_of(exported) != followed.model:
            self._importing.bring(remote, exported, lambda text: self._tell(followed.id, text))
        self._follow_samples(remote, followed)
        if followed.through is Through.LINK:
            self._follow_erased(remote, link, deployment)
            self._follow_labels(remote, deployment)
            known_until = self._follow_log(remote, followed)
        else:
            known_until = None
        self._database.imports.update(
            followed.id, None, message="", looked_at=self._now(), known_until=known_until
        )
        self._pauses.pop(followed.id, None)

    def _note(self, deployment: Deployment, followed: Import, exported: Exported) -> None:
        """Write down what is another thing by now of a deployment over there."""
        said = {
            "state": exported.state,
            "wanted": DeploymentState.RUNNING,  # an earlier version stopped what it did not see
            "message": exported.message,
            "logging": exported.logging,
            "predict_url": exported.predict_url,
            "sampling": exported.sampling,
            "classes": () if exported.model else exported.classes,
        }
        if any(getattr(deployment, name) != value for name, value in said.items()):
            self._database.deployments.update(deployment.id, None, **said)
        if followed.gone_at is not None:
            self._database.imports.update(deployment.id, None, gone_at=None)
        if followed.files != exported.files:
            self._database.imports.update(deployment.id, None, files=exported.files)

    def _tell(self, deployment_id: str, text: str) -> None:
        self._database.imports.update(deployment_id, None, message=text)
        if self._rounds.is_closing:
            raise UnavailableError("The server ends; what is missing is brought when it is back.")
        self._keep(deployment_id)

    def _gone(self, link: ClusterLink, followed: Import) -> None:
        """Say that a deployment is not to be seen; it is looked for again, since it may only be hidden."""
        self._rest(followed.id)
        now = self._now()
        since = followed.gone_at or now
        message = (
            f"The cluster {link.name!r} has shown no such deployment to {link.user!r}, whose token the link "
            f"has, since {since:%Y-%m-%d %H:%M} UTC: it was deleted there, or that user may not see it. What "
            "was logged is kept, and it goes on here when it is seen again."
        )
        self._database.deployments.update(followed.id, None, state=DeploymentState.UNKNOWN, message=message)
        self._database.imports.update(followed.id, None, gone_at=since, message=message, looked_at=now)

    def _follow_samples(self, remote: RemoteCluster, followed: Import) -> None:
        last = self._database.imports.get(followed.id).sample
        while samples := remote.samples(followed.id, last):
            if any(sample.deployment_id != followed.id or sample.id <= last for sample in samples):
                raise InvalidInputError("The samples of health are of something else.")
            with self._database.transaction():
                moved = self._database.imports.update(followed.id, {"sample": last}, sample=samples[-1].id)
                if not moved:
                    return  # another process was faster
                self._database.health_samples.add_all(samples)
            last = samples[-1].id

    def _follow_erased(self, remote: RemoteCluster, link: ClusterLink, deployment: Deployment) -> None:
        """Delete here what was deleted there; what has not come yet never will."""
        fresh = set(remote.erased(deployment.id)) - self._tombstones.of(deployment.id)
        if not fresh:
            return
        held = {
            event_id
            for path in self._log.files(deployment.id)
            for _, event_id, _ in self._log.keys(path)
            if digest_of(deployment.id, event_id) in fresh
        }
        by, note = f"cluster {link.name}", "deleted on the serving cluster"
        self._erasures.begin_all(deployment, sorted(held), by, note)
        fresh -= {digest_of(deployment.id, event_id) for event_id in held}
        now = self._now()
        self._database.erasures.add_all(
            Erasure(new_id(), deployment.id, digest, "", by, note, now, done_at=now)
            for digest in sorted(fresh)
        )

    def _follow_labels(self, remote: RemoteCluster, deployment: Deployment) -> None:
        """Have the label files of the other cluster below a folder of their own."""
        folder = f"{deployment.livedata}/{_FOLLOWED}"
        listed = {one.name: one for one in remote.livedata(deployment.id)}
        there = {name: one for name, one in listed.items() if is_object_name(name)}
        self._tell_odd(deployment.id, folder, sorted(listed.keys() - there.keys()))
        known = self._labels.setdefault(deployment.id, {})
        here = {info.path[len(folder) + 1 :] for info in self._store.list(folder)}
        for name, one in there.items():
            if known.get(name) == one and name in here:  # not since the deployment was deleted here
                continue
            try:
                data = remote.label_file(deployment.id, name)
            except NotFoundError:
                continue  # deleted since
            path = f"{folder}/{name}"
            if not self._store.exists(path) or self._store.get(path) != data:
                self._store.put(path, data)
            known[name] = one
        for name in here - there.keys():
            self._store.delete(f"{folder}/{name}")

    def _tell_odd(self, deployment_id: str, folder: str, names: list[str]) -> None:
        reason = ""
        if names:
            reason = (
                f"Label files of the serving cluster have odd names and do not come ({len(names)}), as "
                f"{names[0][:80]!r}; rename them there."
            )
        self._places.tell(deployment_id, "label", folder, reason)

    def _follow_log(self, remote: RemoteCluster, followed: Import) -> datetime | None:
        """Take files until there is none that is new; return up to when the log is here then."""
        at = self._database.imports.get(followed.id)
        before: Import | None = None
        while at != before:
            before, asked_at = at, self._now()
            try:
                for file in remote.log(at.id, at.position, at.last_file):
                    at = self._take(at, file)
                    self._keep(at.id)
                    if self._rounds.is_closing:
                        return followed.known_until
            except LogSetBackError as error:
                at = self._begin_again(at, error)
        return asked_at

    def _begin_again(self, at: Import, error: LogSetBackError) -> Import:
        """Go back to the beginning of a log that was set back: files that are here are left out as they come.

        Until all have come its log is known no further than before.
        """
        _log.warning("Deployment %s: %s", at.id, error.message)
        return self._move(at, position=0, last_file="", message=error.message)

    def _take(self, at: Import, file: StreamedFile) -> Import:
        """Write a file into the log here; return past which the following goes on."""
        if file.number <= at.position:
            raise InvalidInputError("The files of the log come out of order.")
        name = file.path.rpartition("/")[2].removesuffix(".parquet")
        if not name.replace("-", "").isalnum():
            raise InvalidInputError(f"The log has a file of the odd name {file.path!r}.")
        records = self._tombstones.kept(file.records)
        if records:
            written = self._log.write(name, records, self._noting.known)
            self._noting.note(written)
            self._captures.note(records)
        elif file.is_gone:
            self._tell_gone(at.id, file.path)
        return self._move(at, position=file.number, last_file=file.path)

    def _tell_gone(self, deployment_id: str, path: str) -> None:
        """Say of an hour, once, that some of it was never seen here: that is neither silence nor calm."""
        hour = hour_of(path.rpartition("/")[0])
        here = self._database.log_files.find(id=path)  # it came before, and the log is read again
        where = {"deployment_id": deployment_id, "kind": "hour", "time": hour}
        if hour is None or here is not None or self._database.dead_letters.find(**where) is not None:
            return
        reason = (
            f"Events of the hour from {hour:%Y-%m-%d %H:%M} UTC were deleted over there before they came "
            "here, since that log is bounded; what they were is not known."
        )
        letter = DeadLetter(new_id(), deployment_id, "hour", "", path, reason, hour, self._now())
        self._database.dead_letters.add(letter)

    def _move(self, at: Import, **to: Any) -> Import:
        """Note how far the log has come, unless another process has moved that meanwhile."""
        as_was = {"position": at.position, "last_file": at.last_file}
        if not self._database.imports.update(at.id, as_was, **to):
            if self._database.deployments.find(id=at.id) is None:
                self._store.delete_below(at.id)  # with what has just been written
                raise NotFoundError(f"The deployment {at.id} was deleted.")
            raise _OvertakenError
        return replace(at, **to)


def _claim(deployment_id: str) -> str:
    """Return where it says which process follows a deployment."""
    return f"{deployment_id}/following"
