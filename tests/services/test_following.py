"""A deployment of one cluster, followed by another over https: the same verdicts, once, whatever ends."""

from __future__ import annotations

import contextlib
import math
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from parts import CLASSES, SIDE, image
from parts_clusters import Door, door
from parts_ward import draw
from simulated import OWNER, START, Clock, Site
from tidegauge.domain.catalogue import RepositoryKind, Version, VersionState
from tidegauge.domain.cluster_link import LinkState, Through
from tidegauge.domain.deployment import DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import MonitorRun
from tidegauge.domain.observation import HealthSample
from tidegauge.domain.users import Role, Scope, User
from tidegauge.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, UnavailableError
from tidegauge.links.authority import Authority, make_authority
from tidegauge.links.clusters import RemoteCluster
from tidegauge.services.linking import following
from tidegauge.services.privacy import erasing
from tidegauge.storage import log_stream

STEP = timedelta(minutes=5)
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
_OF_ONE = ("id", "monitor_id", "created_at", "revision", "cause", "late", "config_version")


class Clusters:
    """A serving cluster with a monitor of its own, and a monitoring one that follows it."""

    def __init__(self, serving: Site, watching: Site, opened: Door, tls: Authority) -> None:
        self.serving, self.watching, self.door, self.tls = serving, watching, opened, tls
        self.rng = np.random.default_rng(1)
        self.services = watching.services
        self.operator = self.services.people.owner(OWNER)

    @property
    def following(self) -> following.Following:
        return self.services.following

    def token(self) -> str:
        people = self.serving.services.people
        return people.issue(people.owner(OWNER), "link", Scope.LINK)[1]

    def link(self, **given: Any) -> None:
        known = {
            "name": "serving",
            "url": f"{self.door.url}/",
            "token": self.token(),
            "ca": self.tls.ca.read_text(),
        }
        self.services.clusters.add(self.operator, **{**known, **given})

    def bring(self, **given: Any) -> None:
        self.watching.deployment = self.services.importing.add(OWNER, "chest-xray", "serving", OWNER, **given)
        self.following.look()
        self.watching.deployment = self.services.deployments.get(OWNER, "chest-xray")
        assert self.services.importing.followed(self.watching.deployment).message == ""

    def serve(self, window: int, n: int = 6) -> list[str]:
        images = np.stack([image(CLASSES[k % 2], self.rng) for k in range(n)])
        times = [START + STEP * (window + k / n) for k in range(n)]
        return self.serving.send(images, np.tile(SURE, (n, 1))[:n], times)

    def another_version(self) -> tuple[Version, str]:
        """Serve another version of the model; return it, and the hash of its file."""
        services = self.serving.services
        model = services.catalogue.get(RepositoryKind.MODEL, OWNER, "chest-xray")
        manifest = services.catalogue.manifest(model, services.catalogue.version(model, 1))
        digest, _ = services.catalogue.blobs.put(b"another model")
        files = tuple(
            replace(f, sha256=digest, size=13) if f.path == "model.onnx" else f for f in manifest.files
        )
        made = services.catalogue.make_version(
            model, new_id(), replace(manifest, files=files), {"classes": CLASSES}
        )
        services.deployments.update(self.serving.deployment, version=made.number)
        return made, digest

    def pass_by(self, window: int, *, follow: bool = True) -> None:
        """Let a window end in both clusters."""
        self.serving.clock.now = START + (window + 1) * STEP + timedelta(seconds=10)
        self.serving.work()
        if follow:
            self.following.look()
        self.watching.work()

    def late(self) -> None:
        """Look at what has become due again."""
        self.serving.clock.now += timedelta(minutes=2)
        self.following.look()
        for site in (self.serving, self.watching):
            site.work()

    def runs(self, site: Site) -> list[MonitorRun]:
        last: dict[Any, MonitorRun] = {}
        for run in site.services.database.monitor_runs.where(sort="revision"):
            last[run.start] = run
        return [last[start] for start in sorted(last)]

    def found(self, site: Site) -> list[dict[str, Any]]:
        """Return what each window came to, as far as two clusters have to agree."""
        return [
            {name: value for name, value in asdict(run).items() if name not in _OF_ONE}
            for run in self.runs(site)
        ]

    def events(self, site: Site) -> list[tuple[str, str]]:
        log = site.services.collector.log
        records = log.records(site.deployment.id, START - timedelta(days=1), START + timedelta(days=9))
        return [(record.event.id, record.event.type) for record in records]

    def rows(self, site: Site) -> int:
        """Count what plain files of the log hold, repeats and all."""
        log = site.services.collector.log
        return sum(len(log.keys(path)) for path in log.files(site.deployment.id))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a serving cluster, with a model, its training data and a monitor."""
    folder = tmp_path_factory.mktemp("template")
    site = Site.build(folder / "home", CLASSES)
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
    versions = site.services.database.versions
    (model,) = versions.where()
    versions.update(model.id, meta={**model.meta, "dataset": {"name": "pool", "version": 1}})
    site.add_images("pool", folder / "pool", *draw(120, np.random.default_rng(0)))
    site.monitor("pool", SIDE)
    site.close()
    return folder / "home"


@pytest.fixture
def clusters(tmp_path: Path, template: Path, tls: Authority) -> Iterator[Clusters]:
    shutil.copytree(template, tmp_path / "serving")
    clock = Clock()
    serving = Site.build(tmp_path / "serving", CLASSES, clock)
    (serving.deployment,) = serving.services.database.deployments.where()
    watching = Site.build(tmp_path / "watching", CLASSES, clock)
    with door(serving.services, tls) as opened:
        yield Clusters(serving, watching, opened, tls)
    for site in (serving, watching):
        site.close()


@pytest.fixture
def followed(clusters: Clusters) -> Clusters:
    clusters.link()
    clusters.bring()
    clusters.watching.monitor("pool", SIDE)
    return clusters


def test_a_deployment_is_imported_with_what_monitoring_needs(clusters: Clusters) -> None:
    clusters.link()
    clusters.bring()
    mine, theirs = clusters.watching.deployment, clusters.serving.deployment
    assert (mine.id, mine.origin, mine.namespace) == (theirs.id, Origin.IMPORTED, OWNER)
    assert (mine.model_name, mine.model_version) == ("chest-xray", 1)
    catalogue = clusters.services.catalogue
    for kind, name in ((RepositoryKind.MODEL, "chest-xray"), (RepositoryKind.DATASET, "pool")):
        versions = [
            site.services.catalogue.version(site.services.catalogue.get(kind, OWNER, name), 1)
            for site in (clusters.serving, clusters.watching)
        ]
        assert versions[0].digest == versions[1].digest
    model = catalogue.get(RepositoryKind.MODEL, OWNER, "chest-xray")
    assert "reference.parquet" in {
        file.path for file in catalogue.manifest(model, catalogue.version(model)).files
    }
    followed = clusters.services.importing.followed(mine)
    assert (followed.cluster, followed.brought, followed.behind, followed.message) == ("serving", True, 0, "")
    with pytest.raises(ConflictError, match="imported already, as 'chest-xray'"):
        clusters.bring()
    with pytest.raises(ConflictError, match="come the deployments chest-xray; delete these first"):
        clusters.services.clusters.delete(clusters.operator, "serving")
    clusters.services.deployments.delete(mine)
    clusters.services.clusters.delete(clusters.operator, "serving")
    assert clusters.services.clusters.page() == ()


def test_what_is_not_shared_with_the_token_of_a_link_comes_when_it_is(clusters: Clusters) -> None:
    """To share a deployment gives away neither its model nor the images that this was trained on."""
    serving, here = clusters.serving.services, clusters.services.catalogue
    exporting, deployment = serving.exporting, clusters.serving.deployment
    serving.deployments.share(deployment, shared=True)
    bob = serving.database.users.add(User(new_id(), "bob", Role.USER, START))
    clusters.link(token=serving.people.issue(bob, "link", Scope.LINK)[1])
    clusters.bring()
    model, dataset = (
        serving.catalogue.get(kind, OWNER, name)
        for kind, name in ((RepositoryKind.MODEL, "chest-xray"), (RepositoryKind.DATASET, "pool"))
    )
    operator = serving.people.owner(OWNER)
    for known, repository in enumerate((model, dataset)):
        mine = clusters.services.deployments.get(OWNER, "chest-xray")
        assert f"The {repository.kind.value} {repository.name!r} does not come along" in mine.message
        assert "not shared with bob, whose token the link has; share it, or give" in mine.message
        assert clusters.services.database.repositories.count() == known
        file = exporting.manifest(operator, deployment, repository.kind).files[0].sha256
        with pytest.raises(NotFoundError):
            exporting.manifest(bob, deployment, repository.kind)
        with pytest.raises(NotFoundError):
            exporting.blob(bob, deployment, repository.kind, file)
        serving.catalogue.share(repository, shared=True)
        clusters.following.look()
    mine = clusters.services.deployments.get(OWNER, "chest-xray")
    assert (mine.message, mine.model_name, mine.model_version) == ("", "chest-xray", 1)
    for kind, name in ((RepositoryKind.MODEL, "chest-xray"), (RepositoryKind.DATASET, "pool")):
        assert [one.number for one in here.versions(here.get(kind, OWNER, name))] == [1]


def test_two_clusters_come_to_the_same_to_the_bit(followed: Clusters) -> None:
    for window in range(4):
        followed.serve(window)
        followed.pass_by(window)
    followed.late()
    assert len(followed.found(followed.serving)) == 4
    assert followed.found(followed.watching) == followed.found(followed.serving)
    assert followed.found(followed.watching)[3]["evidence"]
    assert followed.events(followed.watching) == followed.events(followed.serving)


def test_a_link_that_was_cut_for_twenty_hours_leaves_no_trace(followed: Clusters) -> None:
    followed.serve(0)
    followed.pass_by(0)
    followed.door.shut()  # in the middle of what is sent: the next windows come over it later
    windows = range(1, 241)
    for window in windows:
        if window % 8 == 1:
            followed.serve(window, 2)
        followed.pass_by(window, follow=window % 60 == 1)
    (link,) = followed.services.clusters.page()
    assert link.state is LinkState.UNREACHABLE
    assert "does not answer" in link.message
    state = followed.services.deployments.get(OWNER, "chest-xray")
    assert (state.state, state.message) == (DeploymentState.UNKNOWN, link.message)
    away = followed.services.importing.away(state)
    assert away == f"{link.message} Windows from 2026-03-01 00:05 UTC on wait for what is still over there."
    assert len(followed.found(followed.serving)) == 241
    assert len(followed.found(followed.watching)) == 1  # what is not known is neither silence nor drift

    followed.door.open()
    followed.serving.clock.now += timedelta(minutes=5)
    followed.pass_by(242)
    for _ in range(3):
        followed.late()
    assert followed.services.clusters.page()[0].state is LinkState.REACHABLE
    assert followed.found(followed.watching) == followed.found(followed.serving)
    assert followed.events(followed.watching) == followed.events(followed.serving)
    assert followed.rows(followed.watching) == len(followed.events(followed.serving))


@pytest.mark.parametrize("place", range(4))
def test_what_crashes_while_a_file_comes_leaves_it_there_once(
    followed: Clusters, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Before the file is written, before it is taken down, before that counts, and in mid-stream."""
    followed.serve(0)
    followed.serving.services.collector.flush()
    followed.serve(1)
    followed.serving.services.collector.flush()
    left = [1]

    def crash(*_: Any, **__: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            return real(*_, **__)
        raise KeyboardInterrupt

    targets: list[tuple[Any, str]] = [
        (followed.following._log, "write"),
        (followed.following._noting, "note"),
        (followed.following._captures, "note"),
        (log_stream, "to_records"),
    ]
    target, name = targets[place]
    real = getattr(target, name)
    monkeypatch.setattr(target, name, crash)
    with pytest.raises(KeyboardInterrupt):
        followed.following.look()
    followed.serving.clock.now += timedelta(minutes=10)  # the claim of the process that died runs out
    followed.following.look()
    assert followed.events(followed.watching) == followed.events(followed.serving)
    assert followed.rows(followed.watching) == 24
    assert followed.services.importing.followed(followed.watching.deployment).behind == 0


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_log_that_was_set_back_is_read_again(followed: Clusters, is_ahead: bool) -> None:
    """The serving cluster goes on from a backup, and gives other files the numbers that came already."""
    for window in range(3):
        followed.serve(window)
        followed.serving.services.collector.flush()
    followed.following.look()
    known_until = followed.services.importing.followed(followed.watching.deployment).known_until
    services = followed.serving.services
    for file in services.database.log_files.where(sort="number")[1:]:
        with services.database.engine.begin() as connection:
            connection.execute(text("DELETE FROM log_files WHERE id = :id"), {"id": file.id})
        services.store.delete(file.id)
    windows = range(3, 7 if is_ahead else 4)
    for window in windows:
        followed.serve(window)
        followed.serving.services.collector.flush()
    followed.serving.clock.now += timedelta(minutes=10)
    moves: list[str] = []
    move = followed.following._move

    def watched(at: Any, **to: Any) -> Any:
        told = followed.services.importing.followed(followed.watching.deployment)
        assert told.known_until == known_until  # windows wait
        moves.append(told.message)
        return move(at, **to)

    followed.following._move = watched  # type: ignore[method-assign]
    followed.following.look()
    assert "was set back to an earlier state" in moves[-1]
    assert set(followed.events(followed.watching)) > set(followed.events(followed.serving))
    assert followed.rows(followed.watching) == 12 * (3 + len(windows))  # each once
    told = followed.services.importing.followed(followed.watching.deployment)
    assert (told.message, told.behind, told.known_until) == ("", 0, followed.serving.clock.now)


def test_hours_that_were_deleted_there_before_they_came_are_not_silence(followed: Clusters) -> None:
    followed.serve(0)
    followed.pass_by(0)
    for window in (1, 13):  # the second in the next hour
        followed.serve(window)
        followed.pass_by(window, follow=False)
    serving, now = followed.serving.services, START + timedelta(days=2)
    serving.deployments.update(followed.serving.deployment, keep_days=1)
    serving.retention.work(serving.deployments.get(OWNER, "chest-xray"), now, math.inf)
    followed.pass_by(14)
    told = {run.start: " ".join(run.problems) for run in followed.runs(followed.watching)}
    for hour, windows in (("00:00", range(1, 12)), ("01:00", range(12, 15))):
        sentence = f"Events of the hour from 2026-03-01 {hour} UTC were deleted over there"
        found = {start for start, problems in told.items() if sentence in problems}
        assert found == {START + STEP * window for window in windows}
    assert len(followed.services.database.dead_letters.where(kind="hour")) == 2


def test_a_label_file_of_an_odd_name_stops_nothing(followed: Clusters) -> None:
    folder = followed.serving.deployment.livedata
    for name in ("a\\b.csv", "good.csv"):
        followed.serving.services.store.put(f"{folder}/{name}", b"id,label\n")
    followed.serve(0)
    followed.pass_by(0)
    here = [info.path for info in followed.services.store.list(folder)]
    assert [path.rpartition("/")[2] for path in here] == ["good.csv"]
    (run,) = followed.runs(followed.watching)
    assert "have odd names" in " ".join(run.problems)
    assert len(followed.events(followed.watching)) == 12


def test_what_is_deleted_there_is_deleted_here(followed: Clusters) -> None:
    ids = followed.serve(0)
    followed.pass_by(0)
    late = followed.serve(1)
    followed.serving.services.collector.flush()
    erasures = followed.serving.services.erasures
    erasures.begin(followed.serving.deployment, [ids[0], late[0]], OWNER, "asked for")
    for site in (followed.serving, followed.watching):
        followed.following.look() if site is followed.watching else None
        site.services.worker.close()  # waits for what is under way
    left = {id_ for id_, _ in followed.events(followed.watching)}
    assert left == {*ids, *late} - {ids[0], late[0]}
    assert all(e.done_at and not e.event_id for e in followed.services.database.erasures.where())


def test_more_deletions_than_one_call_may_ask_for_are_done(
    followed: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "_MOST", 4)
    ids = followed.serve(0)
    followed.pass_by(0)
    erasures = followed.serving.services.erasures
    for some in (ids[:3], ids[3:]):
        erasures.begin(followed.serving.deployment, some, OWNER, "asked for")
    followed.following.look()
    assert followed.services.importing.followed(followed.watching.deployment).message == ""
    asked = followed.services.database.erasures
    deadline = time.monotonic() + 60
    while asked.count(done_at=None) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [bool(one.done_at) for one in asked.where()] == [True] * 6
    assert followed.events(followed.watching) == []


def test_a_deployment_that_is_deleted_there_says_so_here(followed: Clusters) -> None:
    followed.serve(0)
    followed.pass_by(0)
    services = followed.serving.services
    services.monitors.delete(services.monitors.stop(services.database.monitors.where()[0], OWNER))
    services.deployments.delete(followed.serving.deployment)
    followed.following.look()
    mine = followed.services.deployments.get(OWNER, "chest-xray")
    assert mine.state is DeploymentState.UNKNOWN
    assert "The cluster 'serving' has shown no such deployment to 'operator'" in mine.message
    assert len(followed.events(followed.watching)) == 12  # what was logged is kept
    since = followed.services.importing.followed(mine).gone_at
    followed.serving.clock.now += timedelta(hours=1)
    followed.following.look()
    assert followed.services.importing.followed(mine).gone_at == since
    assert followed.services.clusters.page()[0].state is LinkState.REACHABLE


def test_a_deployment_that_is_seen_again_is_followed_again(followed: Clusters) -> None:
    """The token was one of somebody who may not see it, for a while."""
    people, database = followed.serving.services.people, followed.serving.services.database
    stranger = database.users.add(User(new_id(), "stranger", Role.USER, START))
    renew = followed.services.clusters.renew
    renew(followed.operator, "serving", people.issue(stranger, "link", Scope.LINK)[1])
    followed.following.look()
    mine = followed.services.deployments.get(OWNER, "chest-xray")
    assert "has shown no such deployment to 'stranger'" in mine.message
    assert followed.services.importing.followed(mine).message == mine.message
    renew(followed.operator, "serving", followed.token())
    followed.serve(0)
    followed.serving.services.collector.flush()
    followed.serving.clock.now += timedelta(seconds=61)
    followed.following.look()
    told = followed.services.importing.followed(mine)
    assert (told.message, told.gone_at) == ("", None)
    assert followed.services.deployments.get(OWNER, "chest-xray").message == ""
    assert len(followed.events(followed.watching)) == 12


def test_a_following_that_takes_long_keeps_its_claim(followed: Clusters) -> None:
    """Of two processes the first reads file after file, each in less time than a claim lasts."""
    services, clock = followed.services, followed.serving.clock
    other = following.Following(
        services.database, services.store, services.clusters, services.importing, services.erasures, clock
    )
    for window in range(3):
        followed.serve(window)
        followed.serving.services.collector.flush()
    take = followed.following._take
    positions: list[int] = []

    def slow(at: Any, file: Any) -> Any:
        clock.now += timedelta(minutes=4)
        other.look()
        positions.append(services.database.imports.get(at.id).position)
        return take(at, file)

    followed.following._take = slow  # type: ignore[method-assign]
    followed.following.look()
    assert positions == [0, 1, 2]  # nothing of the other process
    assert followed.rows(followed.watching) == 36


def test_a_following_that_was_overtaken_ends_without_a_word(followed: Clusters) -> None:
    """The first file takes longer than a claim lasts, and another process has taken over."""
    services, clock = followed.services, followed.serving.clock
    other = following.Following(
        services.database, services.store, services.clusters, services.importing, services.erasures, clock
    )
    for window in range(2):
        followed.serve(window)
        followed.serving.services.collector.flush()
    take = followed.following._take

    def slow(at: Any, file: Any) -> Any:
        clock.now += timedelta(minutes=6)
        other.look()
        return take(at, file)

    followed.following._take = slow  # type: ignore[method-assign]
    followed.following.look()
    assert followed.rows(followed.watching) == 24
    assert services.clusters.page()[0].state is LinkState.REACHABLE
    assert services.importing.followed(followed.watching.deployment).message == ""


def test_health_labels_and_captures_come_over_the_link(followed: Clusters) -> None:
    database = followed.serving.services.database
    id_ = followed.serving.deployment.id
    samples = [HealthSample(new_id(), id_, START + STEP * k, True, 1.0 + k, 1 << 20, START) for k in range(3)]
    database.health_samples.add_all(samples)
    followed.serving.services.deployments.put_labels(followed.serving.deployment, "first.csv", b"a,b\n1,2\n")
    for _ in range(2):
        followed.following.look()
    assert list(followed.services.database.health_samples.where()) == samples
    store, folder = followed.services.store, f"{id_}/livedata/followed"
    assert store.get(f"{folder}/first.csv") == b"a,b\n1,2\n"
    store.delete(f"{folder}/first.csv")  # as with the deployment, before it is imported again
    followed.following.look()
    assert store.get(f"{folder}/first.csv") == b"a,b\n1,2\n"
    followed.serving.services.store.put(f"{id_}/livedata/first.csv", b"a,b\n3,4,5\n")
    followed.following.look()
    assert store.get(f"{folder}/first.csv") == b"a,b\n3,4,5\n"
    followed.serving.services.store.delete(f"{id_}/livedata/first.csv")
    followed.following.look()
    assert list(store.list(folder)) == []


def test_what_a_version_lacks_over_there_is_told_until_it_is_there(followed: Clusters) -> None:
    services = followed.serving.services
    made, digest = followed.another_version()
    path = next(info.path for info in services.store.list("blobs") if digest in info.path.replace("/", ""))
    services.store.delete(path)
    followed.serve(0)
    services.collector.flush()
    followed.following.look()
    told = followed.services.importing.followed(followed.watching.deployment)
    assert "is missing in this cluster's store" in told.message
    assert followed.services.clusters.page()[0].state is LinkState.REACHABLE
    services.store.put(path, b"another model")
    followed.serving.clock.now += timedelta(seconds=61)
    followed.following.look()
    assert followed.services.importing.followed(followed.watching.deployment).message == ""
    assert followed.services.deployments.get(OWNER, "chest-xray").model_version == made.number
    assert len(followed.events(followed.watching)) == 12


def test_another_version_of_the_model_is_brought(followed: Clusters) -> None:
    made, _ = followed.another_version()
    followed.following.look()
    mine = followed.services.deployments.get(OWNER, "chest-xray")
    assert mine.model_version == 2
    catalogue = followed.services.catalogue
    mine_model = catalogue.get(RepositoryKind.MODEL, OWNER, "chest-xray")
    assert catalogue.version(mine_model, 2).digest == made.digest


def test_a_token_that_was_revoked_says_so_and_a_new_one_goes_on(followed: Clusters) -> None:
    people = followed.serving.services.people
    followed.serve(0)
    followed.serving.services.collector.flush()
    people.revoke_named("link")
    followed.following.look()
    (link,) = followed.services.clusters.page()
    assert link.state is LinkState.REFUSED
    assert "refuses the token" in link.message
    assert followed.events(followed.watching) == []
    followed.services.clusters.renew(followed.operator, "serving", followed.token())
    followed.following.kick()
    followed.following.look()
    assert len(followed.events(followed.watching)) == 12


def test_an_odd_cluster_writes_nothing_outside_its_folder(followed: Clusters) -> None:
    file = log_stream.StreamedFile(1, f"{followed.watching.deployment.id}/log/../../x y.parquet", [])
    (at,) = followed.services.database.imports.where()
    with pytest.raises(InvalidInputError, match="odd name"):
        followed.following._take(at, file)


def test_links_say_what_is_wrong_in_a_sentence(clusters: Clusters, tmp_path: Path) -> None:
    user = replace(clusters.operator, name="somebody", role=type(clusters.operator.role)("user"))
    with pytest.raises(ForbiddenError, match="Only an operator links clusters"):
        clusters.services.clusters.add(user, "serving", clusters.door.url, "tg_x")
    other = make_authority(tmp_path / "other")
    for given, error, said in (
        ({"ca": ""}, UnavailableError, "certificate is not trusted .* give the authority"),
        ({"ca": other.ca.read_text()}, UnavailableError, "certificate is not trusted"),
        (
            {"ca": "", "fingerprint": other.fingerprint},
            UnavailableError,
            "another certificate than the pinned",
        ),
        ({"ca": "nonsense"}, InvalidInputError, "ca holds no certificate"),
        ({"token": "tg_wrong"}, InvalidInputError, "token: .* refuses the token"),
        ({"token": " "}, InvalidInputError, "token is empty"),
        ({"name": "No Name"}, InvalidInputError, "name is 'No Name'"),
        ({"url": "ftp://127.0.0.1"}, InvalidInputError, "url is no http or https URL"),
        ({"url": "https://127.0.0.1:1"}, UnavailableError, "does not answer"),
        ({"url": "http://127.0.0.1:9/"}, InvalidInputError, "ca is given, and url is not https"),
        ({"url": "http://169.254.169.254/", "ca": ""}, InvalidInputError, "link-local"),
        ({"fingerprint": "00"}, InvalidInputError, "stands beside ca"),
    ):
        with pytest.raises(error, match=said):
            clusters.link(**given)
    assert clusters.services.clusters.page() == ()
    clusters.link(ca="", fingerprint=clusters.tls.fingerprint)
    assert clusters.services.clusters.page()[0].trust == "fingerprint"
    with pytest.raises(ConflictError, match="there is a cluster already"):
        clusters.link()
    with pytest.raises(NotFoundError, match="no deployment of this name in the namespace 'nobody'"):
        clusters.services.importing.add(OWNER, "chest-xray", "serving", "nobody")
    with pytest.raises(NotFoundError, match="There is no cluster 'far'"):
        clusters.services.importing.add(OWNER, "chest-xray", "far")


def test_events_of_an_imported_deployment_go_to_its_own_cluster(followed: Clusters) -> None:
    with pytest.raises(ForbiddenError, match="its log comes from its own cluster"):
        followed.watching.ask([[1]], [[[0.5, 0.5]]], [START])


def test_a_log_that_comes_as_a_dataset_is_not_copied(clusters: Clusters) -> None:
    clusters.link()
    clusters.bring(through=Through.DATASET)
    clusters.serve(0)
    clusters.serving.services.collector.flush()
    clusters.following.look()
    assert clusters.events(clusters.watching) == []


def test_what_is_deleted_here_while_it_comes_leaves_nothing(
    followed: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.serve(0)
    followed.serving.services.collector.flush()
    services, id_ = followed.services, followed.watching.deployment.id
    note = followed.following._noting.note

    def delete(written: Any) -> None:
        (monitor,) = services.database.monitors.where()
        services.monitors.delete(services.monitors.stop(monitor, OWNER))
        services.deployments.delete(services.deployments.get(OWNER, "chest-xray"))
        note(written)

    monkeypatch.setattr(followed.following._noting, "note", delete)
    followed.following.look()
    assert services.database.imports.where() == ()
    left = {info.path for info in services.store.list(id_)}
    assert left <= {f"{id_}/following"}
    assert services.clusters.page()[0].state is LinkState.REACHABLE


def test_a_version_that_two_bring_at_once_is_there_once(
    followed: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = followed.services.catalogue
    repository = catalogue.get(RepositoryKind.MODEL, OWNER, "chest-xray")
    manifest = catalogue.manifest(repository, catalogue.version(repository))
    digest, _ = catalogue.blobs.put(b"another model")
    files = tuple(
        replace(file, sha256=digest, size=13) if file.path == "model.onnx" else file
        for file in manifest.files
    )
    other, finish, barrier = replace(manifest, files=files), catalogue._finish, threading.Barrier(2)

    def meet(*arguments: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(1)  # the other does not come so far
        finish(*arguments)

    monkeypatch.setattr(catalogue, "_finish", meet)
    given = (RepositoryKind.MODEL, OWNER, "chest-xray", 2, other, {})
    both = [threading.Thread(target=catalogue.adopt, args=given) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
    monkeypatch.undo()
    assert [version.number for version in catalogue.versions(repository)] == [2, 1]
    assert catalogue.manifest(repository, catalogue.version(repository, 2)) == other


def test_a_link_that_is_deleted_while_a_deployment_is_imported_is_told(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters.link()
    find = RemoteCluster.find

    def meanwhile(*given: Any) -> Any:
        clusters.services.clusters.delete(clusters.operator, "serving")
        return find(*given)

    monkeypatch.setattr(RemoteCluster, "find", meanwhile)
    with pytest.raises(NotFoundError, match="was deleted meanwhile"):
        clusters.services.importing.add(OWNER, "chest-xray", "serving", OWNER)
    assert clusters.services.database.deployments.count() == 0


def test_what_comes_while_its_owner_is_deleted_is_the_heirs(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters.link()
    services = clusters.services
    services.accounts.create("bob")
    deployment = services.importing.add("bob", "chest-xray", "serving", OWNER)
    blob = RemoteCluster.blob

    def meanwhile(*given: Any) -> bytes:
        if services.database.users.count(name="bob"):
            services.accounts.delete(services.accounts.get("bob"), services.accounts.get(OWNER))
        return blob(*given)

    monkeypatch.setattr(RemoteCluster, "blob", meanwhile)
    clusters.following.look()
    assert set(services.database.repositories.columns("owner")) == {(OWNER,)}
    assert services.database.deployments.get(deployment.id).model_name == "chest-xray"


def test_a_bringing_that_a_crash_cuts_off_leaves_nothing(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    clusters.link()
    catalogue = clusters.services.catalogue
    clusters.services.importing.add(OWNER, "chest-xray", "serving", OWNER)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "_finish", crash)
    with pytest.raises(KeyboardInterrupt):
        clusters.following.look()
    monkeypatch.undo()
    assert clusters.services.database.versions.count() == 0
    clusters.serving.clock.now += timedelta(minutes=10)
    clusters.following.look()
    repository = catalogue.get(RepositoryKind.MODEL, OWNER, "chest-xray")
    assert [(v.number, v.state) for v in catalogue.versions(repository)] == [(1, VersionState.READY)]
