"""A whole installation whose objects lie in a bucket: log, windows, deletions, backups, and an outage."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import parts_s3
from parts import CLASSES, SIDE, image
from simulated import OWNER, START, Site
from tidegauge.app import utc_now
from tidegauge.domain.monitor import MonitorRun
from tidegauge.errors import UnavailableError
from tidegauge.services.backups import back_up, restore
from tidegauge.storage import buckets
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore

STEP = timedelta(minutes=5)
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)


class Ward:
    """A site in a bucket behind a gate, with a monitor."""

    def __init__(self, folder: Path, gate: parts_s3.Gate) -> None:
        self.gate = gate
        self.home = folder / "home"
        self.rng = np.random.default_rng(3)
        self.site = Site.build(self.home, CLASSES, store_url=parts_s3.prefix(gate.endpoint))
        self.site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA")
        labels = self.rng.choice(CLASSES, 120)
        images = np.stack([image(str(label), self.rng) for label in labels])
        self.site.add_images("pool", folder / "pool", images, labels)
        self.monitor = self.site.monitor("pool", SIDE)
        self.store = self.site.services.store

    def send(self, window: int, n: int = 8) -> list[str]:
        labels = self.rng.choice(CLASSES, n)
        images = np.stack([image(str(label), self.rng) for label in labels])
        start = START + window * STEP
        times = [start + STEP * (k + 1) / (n + 1) for k in range(n)]
        return self.site.send(images, SURE[(labels == "PNEUMONIA").astype(int)], times)

    def look(self, window: int) -> MonitorRun:
        self.site.clock.now = max(self.site.clock.now, START + (window + 1) * STEP + timedelta(seconds=10))
        self.site.work()
        start = START + window * STEP
        monitor = self.site.services.monitors.get(OWNER, self.monitor.id)
        return self.site.services.monitors.runs(monitor, start, start + STEP)[-1]

    def logged(self, window: int) -> list[str]:
        """Return the ids of the events of a window, a request and a response each."""
        start = START + window * STEP
        log = self.site.services.collector.log
        return [event.id for event in log.read(self.site.deployment.id, start, start + STEP)]

    def contents(self) -> bytes:
        """Return all that the bucket holds, the bytes of the objects and those of their tables."""
        found = []
        for info in self.store.list(""):
            found.append(self.store.get(info.path))
            if info.path.endswith(".parquet"):
                found.append(str(pq.read_table(io.BytesIO(found[-1])).to_pydict()).encode())
        return b"\n".join(found)


@pytest.fixture(scope="module")
def ward(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    gate = parts_s3.Gate(s3_endpoint)
    ward = Ward(tmp_path_factory.mktemp("ward"), gate)
    yield ward
    ward.site.close()
    gate.refuse()


def test_windows_are_looked_at(ward: Ward) -> None:
    ids = ward.send(0)
    run = ward.look(0)
    assert sorted(ward.logged(0)) == sorted(ids * 2)
    found = run.metric("image")
    assert found is not None
    assert (found.n, run.metric("requests").value) == (8, 8)  # type: ignore[union-attr]
    assert not (ward.home / "store").exists()


def test_a_deleted_event_is_in_no_object_any_more(ward: Ward) -> None:
    ids = ward.send(1)
    ward.look(1)
    assert ids[2].encode() in ward.contents()
    services = ward.site.services
    services.erasures.begin(ward.site.deployment, (ids[2],), OWNER, "asked for")
    while services.database.erasures.where(done_at=None):
        time.sleep(0.02)
    run = ward.look(1)
    assert (run.revision, run.metric("requests").value) == (2, 7)  # type: ignore[union-attr]
    left = ward.contents()
    assert [id_ for id_ in ids if id_.encode() not in left] == [ids[2]]


def test_a_backup_is_restored_into_another_bucket(ward: Ward, s3_url: str, tmp_path: Path) -> None:
    ward.send(2)
    ward.look(2)
    services = ward.site.services
    target = tmp_path / "backup.tar"
    back_up(services.database, ward.store, ward.home / "collector", target, utc_now(), lambda *_: None)
    copy = ObjectStore(s3_url)
    with closing(Database(f"sqlite:///{tmp_path / 'copy.sqlite'}")) as database:
        restore(database, copy, tmp_path / "collector", target, lambda *_: None)
        assert database.monitor_runs.count() == services.database.monitor_runs.count()
    assert [info.path for info in copy.list("")] == [info.path for info in ward.store.list("")]
    assert all(copy.get(info.path) == ward.store.get(info.path) for info in copy.list(""))


@pytest.mark.parametrize("way", ["refuse", "be_mute"])
def test_events_wait_for_a_bucket_that_is_away(ward: Ward, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    window = 3 if way == "refuse" else 4
    collector = ward.site.services.collector
    monkeypatch.setattr(ward.store, "_store", short_of_patience(ward))
    before = ward.send(window, 3)
    collector.flush()
    getattr(ward.gate, way)()
    during = []
    for _ in range(2):
        during += ward.send(window, 3)
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="The object store does not answer"):
            collector.flush()
        assert time.monotonic() - began < 5
    assert collector.counts().pending == 2
    assert "does not answer" in collector.counts().failure
    ward.gate.answer()
    assert ward.look(window).metric("requests").value == 9  # type: ignore[union-attr]
    assert sorted(ward.logged(window)) == sorted((before + during) * 2)
    assert (collector.counts().pending, collector.counts().failure) == (0, "")


def short_of_patience(ward: Ward) -> object:
    """Return the bucket as it is opened with a second of patience in place of half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(buckets._CLIENT, "timeout", timedelta(seconds=1))
        patch.setitem(buckets._RETRY, "retry_timeout", timedelta(seconds=1))
        return buckets.open_bucket(ward.site.services.settings.store)[1]
