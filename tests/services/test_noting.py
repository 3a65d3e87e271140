"""What a collector knows of the events that others, or it before a crash, have made safe."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from parts_collector import build, report
from parts_log import START, LogSite, exchange, sqlite
from tidegauge.errors import UnavailableError
from tidegauge.services.repeats import key_of
from tidegauge.storage.objects import ObjectStore


@pytest.mark.parametrize("while_reading", [False, True])
def test_events_of_files_that_were_merged_are_known(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, while_reading: bool
) -> None:
    site = LogSite.create(store_url, sqlite(tmp_path))
    with closing(site.database):
        written = site.fill(5)
        keys = site.log.keys
        if while_reading:  # the compactor is at work between the look into the database and into the file

            def late(path: str) -> list[tuple[str, str, str]]:
                site.compact()
                return keys(path)

            monkeypatch.setattr(site.log, "keys", late)
        else:
            assert site.compact() == 5
        found = list(site.noting.recent(site.log))
    records = [record for held in written.values() for record in held]
    assert set(found) == {
        key_of(each.deployment_id, each.event.source, each.event.id, each.event.type) for each in records
    }
    assert while_reading or len(found) == len(records)


class Away(ObjectStore):
    """A store that takes nothing, and says so once ``patience`` is over."""

    patience: threading.Event | None = None

    def put(self, path: str, data: bytes) -> None:
        if self.patience:
            self.patience.wait()
        raise UnavailableError("away")


def test_what_waits_for_the_store_is_known_after_a_start(tmp_path: Path) -> None:
    events = [record.event for record in exchange("a", START)]
    store = Away(str(tmp_path / "store"))
    first = build(tmp_path / "segments", store)
    assert report(first, None, events, START + timedelta(minutes=1)).accepted == 2
    first.close()
    store.patience = threading.Event()
    second = build(tmp_path / "segments", store)
    second.start()  # and does not wait for the store
    taken = report(second, None, events, START + timedelta(minutes=2))
    store.patience.set()
    second.close()
    assert (taken.accepted, taken.repeated) == (0, 2)
