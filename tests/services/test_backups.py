"""Backups of a server at work, and homes that are made of them."""

from __future__ import annotations

import io
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from parts import CLASSES, SIDE, image
from parts_log import DEPLOYMENT, LogSite, exchange, sqlite
from simulated import START, Site
from tidegauge.app import build_services, utc_now
from tidegauge.cli.main import app
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tidegauge.services.backups import Manifest, back_up, restore
from tidegauge.services.collector import Collector, Directory, Hooks
from tidegauge.settings import load_settings
from tidegauge.storage.arrivals import FOLDER, Arrivals
from tidegauge.storage.database import Database
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectInfo, ObjectStore
from tidegauge.storage.segments import SUFFIX
from tidegauge.storage.tables import metadata

STEP = timedelta(minutes=5)


def quiet(_step: str, _done: int, _total: int) -> None:
    """Show no progress."""


class Ward:
    """A site with a monitor that has looked at a window."""

    def __init__(self, folder: Path) -> None:
        self.rng = np.random.default_rng(3)
        self.home = folder / "home"
        self.site = Site.build(self.home, CLASSES)
        self.site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
        labels = self.rng.choice(CLASSES, 120)
        images = np.stack([image(str(label), self.rng) for label in labels])
        self.site.add_images("pool", folder / "pool", images, labels)
        self.site.monitor("pool", SIDE)
        self.send(START, 8)
        self.site.clock.now = START + STEP + timedelta(seconds=10)
        self.site.work()

    def send(self, start: object, n: int) -> list[str]:
        images = np.stack([image("NORMAL", self.rng) for _ in range(n)])
        times = [START + STEP * (k + 1) / (n + 1) for k in range(n)]
        return self.site.send(images, np.tile([0.9, 0.1], (n, 1)).astype(np.float32), times)

    def back_up(self, target: Path, tell: Callable[[str, int, int], None] = quiet) -> Manifest:
        services = self.site.services
        segments = self.home.absolute() / "collector"
        return back_up(services.database, services.store, segments, target, utc_now(), tell)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    found = Ward(tmp_path_factory.mktemp("ward"))
    yield found
    found.site.close()


def restored(home: Path, source: Path, url: str = "") -> Database:
    home.mkdir(exist_ok=True)
    database = Database(url or f"sqlite:///{home.absolute() / 'tidegauge.sqlite'}")
    try:
        restore(database, ObjectStore(str(home / "store")), home / "collector", source, quiet)
    except BaseException:
        database.close()
        raise
    return database


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for table in metadata.sorted_tables
        }


def test_a_restored_home_has_every_row_and_object(ward: Ward, tmp_path: Path) -> None:
    manifest = ward.back_up(tmp_path / "backup.tar")
    with closing(restored(tmp_path / "home", tmp_path / "backup.tar")) as database:
        found = rows(database)
    assert found == rows(ward.site.services.database)
    assert {name for name, count in manifest.rows.items() if count} >= {
        "users", "tokens", "versions", "deployments", "monitors", "monitor_runs", "window_results", "readers",
    }  # fmt: skip
    store, copy = ward.site.services.store, ObjectStore(str(tmp_path / "home" / "store"))
    assert [info.path for info in copy.list("")] == [info.path for info in store.list("")]
    assert all(copy.get(info.path) == store.get(info.path) for info in store.list(""))
    assert (tmp_path / "backup.tar").stat().st_mode & 0o777 == 0o600


def test_what_was_acknowledged_before_is_there_once(ward: Ward, tmp_path: Path) -> None:
    """Events come, are flushed and are looked at while the backup is made."""
    collector = ward.site.services.collector
    before = ward.send(START, 20)  # in a segment, not in the log yet
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            ward.send(START, 3)
            collector.flush()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for attempt in range(3):
            ward.back_up(tmp_path / f"{attempt}.tar")
            before += ward.send(START, 2)
    finally:
        ending.set()
        thread.join()
    for attempt in range(3):
        home = tmp_path / str(attempt)
        restored(home, tmp_path / f"{attempt}.tar").close()
        services = build_services(load_settings(home, {"port": 1}, {}))
        try:
            services.collector.flush()  # replays the segments
            log, id_ = services.collector.log, ward.site.deployment.id
            paths = {file.id for file in services.database.log_files.where(deployment_id=id_)}
            assert paths <= set(log.files(id_))
            known = [record.event for path in paths for record in log.file(id_, path)]
            counted = Counter((event.id, event.type) for event in known)
            for event_id in before[: 20 + 2 * attempt]:
                halves = [count for (found, _), count in counted.items() if found == event_id]
                assert halves == [1, 1], event_id
        finally:
            services.collector.close()
            services.database.close()


def fleet_collector(site: LogSite, store: ObjectStore) -> Collector:
    async def nothing(*_: object) -> None:
        return None

    directory = Directory(nothing, nothing, lambda _: True)
    hooks = Hooks(wrote=site.noting.note, known=site.noting.known)
    return Collector(Arrivals(store), InferenceLog(store), directory, 3600, hooks=hooks)


@pytest.mark.parametrize("moment", ["copied", "dumped", "listed"])
def test_what_a_fleet_took_is_there_once_though_it_goes_to_the_log_meanwhile(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """After the first copy of objects, after the moment of the rows, or as objects are listed again."""
    site = LogSite.create(store_url, sqlite(tmp_path))
    collector = fleet_collector(site, ObjectStore(store_url))  # one of its own, which nothing listens to
    for id_ in ("a", "b"):
        collector._journal.append(exchange(id_, START))
    steps: list[str] = []
    listed = site.store.list

    def tell(step: str, _done: int, _total: int) -> None:
        if moment == "copied" and step.startswith("rows") and set(steps) == {"objects"}:
            collector.flush()
        steps.append(step)

    def listing(prefix: str) -> Iterator[ObjectInfo]:
        again = prefix == FOLDER and any(step.startswith("rows") for step in steps)
        if again and moment == "dumped":
            collector.flush()
        found = list(listed(prefix))
        if again and moment == "listed":
            collector.flush()
        return iter(found)

    monkeypatch.setattr(site.store, "list", listing)
    back_up(site.database, site.store, tmp_path / "segments", tmp_path / "b.tar", utc_now(), tell)
    expected = dict.fromkeys(site.raw(), 1)
    assert len(expected) == 4
    (path,) = site.log.files(DEPLOYMENT)
    site.database.close()

    home = tmp_path / "home"
    restored(home, tmp_path / "b.tar").close()
    copy = LogSite(str(home / "store"), sqlite(home))
    assert [row.id for row in copy.rows()] == [path]
    monkeypatch.setattr("tidegauge.storage.arrivals._DEAD", timedelta(seconds=-1))
    fleet_collector(copy, copy.store).flush()
    if moment == "listed":  # it was in both for that moment, and readers leave out what is there twice
        assert copy.raw().keys() == expected.keys()
    else:
        assert copy.raw() == expected
        assert [info.path for info in copy.store.list(FOLDER) if info.path.endswith(SUFFIX)] == []
    copy.database.close()


def test_a_restored_server_goes_on(ward: Ward, tmp_path: Path) -> None:
    ward.back_up(tmp_path / "backup.tar")
    restored(tmp_path / "home", tmp_path / "backup.tar").close()
    site = Site.build(tmp_path / "home", CLASSES)
    try:
        (monitor,) = site.services.database.monitors.where()
        site.deployment = site.services.database.deployments.get(monitor.deployment_id)
        site.clock.now = START + 2 * STEP + timedelta(seconds=10)
        site.work()
        runs = site.services.monitors.runs(monitor, None, None)
        assert [run.start for run in runs] == [START, START + STEP]
    finally:
        site.close()


def test_sqlite_restores_into_postgresql_and_back(ward: Ward, tmp_path: Path, postgres_url: str) -> None:
    ward.back_up(tmp_path / "first.tar")
    with closing(restored(tmp_path / "one", tmp_path / "first.tar", postgres_url)) as server:
        store = ObjectStore(str(tmp_path / "one" / "store"))
        back_up(server, store, tmp_path / "one" / "collector", tmp_path / "second.tar", utc_now(), quiet)
        with pytest.raises(ConflictError, match="rows already"):
            restored(tmp_path / "one", tmp_path / "first.tar", postgres_url)
    with closing(restored(tmp_path / "two", tmp_path / "second.tar")) as database:
        assert rows(database) == rows(ward.site.services.database)


@pytest.fixture(scope="module")
def tar(ward: Ward, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tar") / "backup.tar"
    ward.back_up(target)
    return target


def test_a_backup_that_was_cut_off_or_changed_is_refused_before_anything_is_written(
    tar: Path, tmp_path: Path
) -> None:
    whole = tar.read_bytes()
    with tarfile.open(tar) as archive:
        member = next(one for one in archive if one.name.startswith("objects/") and one.size > 10)
    changed = bytearray(whole)
    changed[member.offset_data + 5] ^= 1
    for name, content, said in (
        ("cut.tar", whole[: len(whole) // 2], "has no manifest|unexpected end"),
        ("changed.tar", bytes(changed), "is damaged"),
        ("text.tar", b"hello", "is no backup"),
        ("empty.tar", b"", "is no backup|has no manifest"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInputError, match=said):
            restored(tmp_path / "home", tmp_path / name).close()
        assert list(ObjectStore(str(tmp_path / "home" / "store")).list("")) == []
    with pytest.raises(NotFoundError, match="There is no file"):
        restored(tmp_path / "home", tmp_path / "nothing.tar")
    restored(tmp_path / "home", tar).close()  # the home is as empty as before


def test_a_backup_of_a_later_version_is_refused(tar: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.tar"
    with tarfile.open(tar) as old, tarfile.open(later, "w") as new:
        for member in old:
            data = old.extractfile(member)
            assert data
            content = data.read()
            if member.name == "manifest.json":
                content = orjson.dumps({**orjson.loads(content), "schema": "9999"})
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    with pytest.raises(InvalidInputError, match="'9999', which this version does not know"):
        restored(tmp_path / "home", later)


def test_nothing_stands_where_a_backup_failed(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(UnavailableError, match="No space left"):
            ward.back_up(tmp_path / "backup.tar")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnavailableError, match="cannot be written"):
        ward.back_up(tmp_path / "nowhere" / "backup.tar")
    (tmp_path / "backup.tar").write_bytes(b"mine")
    with pytest.raises(ConflictError, match="there already"):
        ward.back_up(tmp_path / "backup.tar")
    assert (tmp_path / "backup.tar").read_bytes() == b"mine"


def test_the_commands(ward: Ward, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        answer = CliRunner().invoke(app, list(words), catch_exceptions=False)
        return answer.exit_code, answer.output

    code, text = run("backup", str(tmp_path / "b.tar"), "--home", str(ward.home), "--json")
    made = orjson.loads(text)
    assert (code, made["bytes"]) == (0, (tmp_path / "b.tar").stat().st_size)
    code, text = run("restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "new"), "--json")
    assert (code, orjson.loads(text)["rows"]) == (0, made["rows"])
    with closing(Database(f"sqlite:///{tmp_path / 'new' / 'tidegauge.sqlite'}")) as database:
        assert rows(database) == rows(ward.site.services.database)
    code, text = run("restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "new"))
    assert code != 0
    assert "rows already" in text
    code, text = run("backup", str(tmp_path / "c.tar"), "--home", str(tmp_path / "nobody"))
    assert code != 0
    assert "has no database" in text
    assert not (tmp_path / "nobody").exists() or not list((tmp_path / "nobody").iterdir())
