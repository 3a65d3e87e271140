"""Compaction of the inference log: every event once, whatever crashes, and whoever else is at work."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pyarrow.parquet as pq
import pytest

from parts_log import DEPLOYMENT, HOUR, LATER, NEVER, START, CrashError, LogSite, sqlite
from tidegauge.domain.erasure import Erasure, digest_of
from tidegauge.domain.events import REDACTED, REQUEST_TYPE
from tidegauge.domain.observation import LogFile, Reader
from tidegauge.errors import NotFoundError
from tidegauge.services.extraction import Extraction
from tidegauge.services.privacy.redacting import Redacting
from tidegauge.services.upkeep import compaction
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.storage.log import InferenceLog, is_merged
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.observations import ObservationStore

FILES = 5
EXTRACTION = Extraction(None, 2)


@pytest.fixture
def site(store_url: str, tmp_path: Path) -> Iterator[LogSite]:
    made = LogSite.create(store_url, sqlite(tmp_path))
    yield made
    made.database.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LogSite]:
    made = LogSite.create(str(tmp_path / "store"), sqlite(tmp_path))
    yield made
    made.database.close()


def forget(site: LogSite, event_id: str) -> None:
    """Delete an event as Erasures does: first it is taken down, then every file is looked into."""
    digest = digest_of(DEPLOYMENT, event_id)
    site.database.erasures.add(Erasure(event_id, DEPLOYMENT, digest, event_id, "o", "", START))
    for path, held in site.log.holding(site.log.files(DEPLOYMENT), {event_id}).items():
        site.log.erase(path, held)


def redact(site: LogSite) -> None:
    Redacting(site.database, site.log, ObservationStore(site.database, site.store)).follow(
        DEPLOYMENT, EXTRACTION
    )


def read_all(site: LogSite) -> None:
    """Say that a monitor's reader has read every file."""
    name = f"{DEPLOYMENT}/{EXTRACTION.id}"
    site.database.readers.add(Reader(name, DEPLOYMENT, EXTRACTION.id, position=1000))


def interleaved(make: Callable[[], LogSite], act: Callable[[LogSite], None]) -> Iterator[LogSite]:
    """Yield sites in which ``act`` came between any two operations of a compaction."""
    place = 0
    happened = True
    while happened:
        place, happened, site = place + 1, False, make()

        def do(site: LogSite = site) -> None:
            nonlocal happened
            happened = True
            act(site)

        site.store.interrupt(place, do)
        site.compact()
        yield site
        site.database.close()


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], LogSite]:
    """Make a site with small files, each time in a folder of its own."""
    template = tmp_path / "template"
    template.mkdir()
    first = LogSite.create(str(template / "store"), sqlite(template))
    first.fill(FILES)
    first.database.close()
    names = (tmp_path / f"site-{number}" for number in count())

    def one() -> LogSite:
        folder = next(names)
        shutil.copytree(template, folder)
        return LogSite(str(folder / "store"), sqlite(folder))

    return one


def test_parts_are_read_as_the_files_that_they_were(site: LogSite) -> None:
    before = site.fill(FILES)
    everything = list(site.log.records(DEPLOYMENT, START, START + HOUR))
    assert site.compact() == FILES
    (path,) = site.log.files(DEPLOYMENT)
    assert is_merged(path)
    assert path.startswith("d1/log/date=2026-03-01/hour=10/")
    assert site.contents() == before
    assert list(site.log.records(DEPLOYMENT, START, START + HOUR)) == everything
    assert site.log.count(DEPLOYMENT, START, START + HOUR) == 2 * 3 * FILES
    assert {row.merged_into for row in site.rows()} == {path}
    assert [row.number for row in site.rows()] == list(range(1, FILES + 1))
    assert site.logs().files(DEPLOYMENT) == []  # nothing that a reader would take for new


def test_a_merged_file_is_plain_parquet_and_says_what_its_parts_were(local: LogSite, tmp_path: Path) -> None:
    local.fill(FILES)
    before = pl.scan_parquet(tmp_path / "store/d1/log/**/*.parquet", hive_partitioning=True).collect()
    local.compact()
    (path,) = (tmp_path / "store").rglob("*.parquet")
    after = pl.scan_parquet(tmp_path / "store/d1/log/**/*.parquet", hive_partitioning=True).collect()
    assert after.sort("event_id", "type").equals(before.sort("event_id", "type"))
    noted = pq.ParquetFile(path).metadata.metadata[b"tidegauge.parts"]
    assert (
        noted
        == b'[["s000.parquet",1],["s001.parquet",1],["s002.parquet",1],["s003.parquet",1],["s004.parquet",1]]'
    )


def test_only_hours_that_have_been_over_for_an_hour_have_their_turn(local: LogSite) -> None:
    local.fill(FILES)
    local.fill(FILES, start=START + HOUR)
    assert local.compact(LATER - HOUR / 1000) == 0
    assert local.compact(LATER) == FILES
    assert local.compact(LATER) == 0
    assert local.compact(LATER + HOUR) == FILES


def test_few_files_stay_and_late_ones_are_merged_by_themselves(local: LogSite) -> None:
    local.fill(3)
    assert local.compact() == 0
    local.write("s100", ["late"])
    assert local.compact() == 4
    for number in range(4):
        local.write(f"s20{number}", [f"later-{number}"])
    before = local.contents()
    assert local.compact() == 4
    assert local.contents() == before
    assert len(local.log.files(DEPLOYMENT)) == 2


def test_merged_files_are_bounded(local: LogSite, monkeypatch: pytest.MonkeyPatch) -> None:
    before = local.fill(10)
    size = max(info.size for info in local.store.list("d1/log"))
    monkeypatch.setattr(compaction, "_BYTES", 4 * size)
    assert local.compact() == 8  # two files of four; the two that are left are too few
    assert len(local.log.files(DEPLOYMENT)) == 4
    assert local.contents() == before


def test_time_that_runs_out_leaves_the_rest_for_later(local: LogSite) -> None:
    local.fill(FILES)
    assert local.compaction.work(DEPLOYMENT, LATER, 0.0) is None
    assert local.compact() == FILES


def test_a_file_of_another_writer_is_left_as_it_is(local: LogSite) -> None:
    before = local.fill(FILES)
    odd = "d1/log/date=2026-03-01/hour=10/theirs.parquet"
    local.store.put(odd, b"no Parquet at all")
    local.noting.note([(DEPLOYMENT, odd)])
    assert local.compact() == 0
    assert local.compact() == FILES
    assert {path: records for path, records in before.items() if path != odd} == {
        row.id: local.logs().file(DEPLOYMENT, row.id) for row in local.rows() if row.id != odd
    }


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_at_any_step_loses_nothing_and_doubles_nothing(
    make: Callable[[], LogSite], *, late: bool
) -> None:
    def crash() -> None:
        raise CrashError

    place, crashed = 0, True
    while crashed:
        place, crashed, site = place + 1, False, make()
        before = site.contents()
        site.store.interrupt(place, crash, late=late)
        try:
            site.compact()
        except CrashError:
            crashed = True
        raw = site.raw()
        assert set(raw) == {(r.event.id, r.event.type) for records in before.values() for r in records}
        assert max(raw.values()) <= 2
        assert site.contents() == before
        again = Compaction(site.database, InferenceLog(site.store))  # another process
        again.work(DEPLOYMENT, LATER, NEVER)
        site.sweep()
        assert set(site.raw().values()) == {1}
        assert site.contents() == before
        assert len(site.log.files(DEPLOYMENT)) == 1
        site.database.close()
    assert place > 2 * FILES


def test_what_another_may_be_about_to_need_is_not_swept(local: LogSite) -> None:
    local.fill(FILES)
    paths = [row.id for row in local.rows()]
    merged = local.log.merge(paths, lambda _: False)
    old = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
    assert local.compaction.sweep(DEPLOYMENT, old) == 0
    assert merged in local.log.files(DEPLOYMENT)
    assert local.sweep() == 1
    assert local.log.files(DEPLOYMENT) == paths


def test_a_merged_file_that_has_all_that_there_is_of_a_part_counts_for_it(local: LogSite) -> None:
    """So it is in a backup, whose rows are older than a merge that its objects have seen."""
    before = local.fill(FILES)
    paths = [row.id for row in local.rows()]
    merged = local.log.merge(paths, lambda _: False)
    local.log.delete(paths[:2])
    local.sweep()
    assert [row.merged_into for row in local.rows()] == [merged, merged, "", "", ""]
    assert local.contents() == before
    assert set(local.raw().values()) == {1}


@pytest.mark.parametrize("known", [0, 2])
@pytest.mark.parametrize("crashes", [False, True])
def test_a_database_that_was_set_back_gets_to_know_what_was_merged_since(
    site: LogSite, known: int, *, crashes: bool
) -> None:
    """Its rows are those of a moment at which some parts were written, and none was merged."""
    before = site.fill(FILES)
    site.compact()
    (merged,) = site.log.files(DEPLOYMENT)
    for row in site.rows():
        site.database.log_files.delete(row.id)
    site.database.log_files.add_all(
        LogFile(path, DEPLOYMENT, number, START) for number, path in enumerate(list(before)[:known], 1)
    )
    if crashes:
        with (
            patch.object(site.database.log_files, "add_all", side_effect=CrashError),
            pytest.raises(CrashError),
        ):
            site.sweep()
        assert len(site.rows()) == known
    assert site.sweep() == 0
    assert site.log.files(DEPLOYMENT) == [merged]
    assert [row.number for row in site.rows()] == list(range(1, FILES + 1))
    assert {row.merged_into for row in site.rows()} == {merged}
    assert site.contents() == before
    assert set(site.raw().values()) == {1}
    assert site.sweep() == 0


def test_a_database_that_was_set_back_gets_to_know_what_was_written_since(site: LogSite) -> None:
    before = site.fill(FILES)
    for row in site.rows()[3:]:
        site.database.log_files.delete(row.id)
    site.compaction.sweep(DEPLOYMENT, START)
    assert len(site.rows()) == 3  # a collector may be about to take the others down
    assert site.sweep() == 0
    assert [row.number for row in site.rows()] == list(range(1, FILES + 1))
    assert site.contents() == before


def test_an_event_that_is_deleted_meanwhile_does_not_come_back(make: Callable[[], LogSite]) -> None:
    for site in interleaved(make, lambda site: forget(site, "002-1")):
        site.compact()
        site.sweep()
        if site.database.erasures.find() is None:
            continue
        assert not [key for key in site.raw() if key[0] == "002-1"]
        assert set(site.raw().values()) == {1}
        assert len(site.raw()) == 2 * (3 * FILES - 1)
        assert sum(map(len, site.contents().values())) == 2 * (3 * FILES - 1)


def test_an_event_that_was_deleted_before_it_was_written_is_not_merged(local: LogSite) -> None:
    """A collector may write what it held while the deletion looked into the files."""
    local.fill(FILES)
    digest = digest_of(DEPLOYMENT, "001-1")
    local.database.erasures.add(Erasure("001-1", DEPLOYMENT, digest, "", "o", "", START))
    assert local.compact() == FILES
    assert not [key for key in local.raw() if key[0] == "001-1"]


def test_images_that_are_redacted_meanwhile_do_not_come_back(make: Callable[[], LogSite]) -> None:
    def act(site: LogSite) -> None:
        read_all(site)
        redact(site)

    for site in interleaved(make, act):
        if site.database.readers.find() is None:
            continue
        redact(site)  # the next look
        site.sweep()
        kept = [record.event for records in site.contents().values() for record in records]
        assert len(kept) == 2 * 3 * FILES
        for event in kept:
            if event.type == REQUEST_TYPE:
                assert (event.data, event.extensions.get(REDACTED)) == (b"", True)
        assert all(row.redacted for row in site.rows())
        assert set(site.raw().values()) == {1}


def test_of_two_compactors_one_wins(make: Callable[[], LogSite]) -> None:
    def other(site: LogSite) -> None:
        Compaction(site.database, InferenceLog(site.store)).work(DEPLOYMENT, LATER, NEVER)

    for site in interleaved(make, other):
        site.sweep()
        assert set(site.raw().values()) == {1}
        assert len(site.raw()) == 2 * 3 * FILES
        assert sum(map(len, site.contents().values())) == 2 * 3 * FILES
        assert len(site.log.files(DEPLOYMENT)) == 1


def test_compactors_in_threads_with_deletions_agree(postgres_url: str, s3_url: str) -> None:
    """On PostgreSQL and S3, as servers that share both."""
    site = LogSite.create(s3_url, postgres_url)
    before = site.fill(12)
    gone = {"000-0", "005-1", "011-2"}

    def compact() -> None:
        with closing(LogSite(s3_url, postgres_url).database) as database:
            Compaction(database, InferenceLog(ObjectStore(s3_url))).work(DEPLOYMENT, LATER, NEVER)

    jobs = [compact] * 3 + [partial(forget, site, id_) for id_ in sorted(gone)]
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    site.compact()
    site.sweep()
    expected = {
        path: [record for record in records if record.event.id not in gone]
        for path, records in before.items()
    }
    assert site.contents() == expected
    assert site.raw() == Counter(
        (record.event.id, record.event.type) for records in expected.values() for record in records
    )
    site.database.close()


def test_an_event_of_a_part_is_deleted_and_the_parts_stay_apart(site: LogSite) -> None:
    before = site.fill(FILES)
    site.compact()
    (merged,) = site.log.files(DEPLOYMENT)
    for id_ in ("001-0", "003-0", "003-1", "003-2"):  # all of a part
        forget(site, id_)
    assert site.log.files(DEPLOYMENT) == [merged]
    expected = {
        path: [r for r in records if r.event.id != "001-0" and not r.event.id.startswith("003")]
        for path, records in before.items()
    }
    assert site.contents() == expected
    for number in range(FILES):
        for k in range(3):
            site.log.erase(merged, {f"{number:03}-{k}"})
    assert site.log.files(DEPLOYMENT) == []
    with pytest.raises(NotFoundError):
        site.logs().file(DEPLOYMENT, site.rows()[0].id)


def test_two_deletions_in_one_merged_file_do_not_undo_each_other(local: LogSite) -> None:
    local.fill(FILES)
    local.compact()
    (merged,) = local.log.files(DEPLOYMENT)
    other = InferenceLog(local.store)
    local.store.interrupt(2, lambda: other.erase(merged, {"004-2"}) and None)  # read, and not yet written
    assert local.log.erase(merged, {"000-0"}) == 2
    assert {id_ for id_, _ in local.raw()} == {f"{n:03}-{k}" for n in range(FILES) for k in range(3)} - {
        "000-0",
        "004-2",
    }


def test_a_segment_that_is_written_again_brings_no_merged_part_back(local: LogSite) -> None:
    local.fill(FILES)
    local.compact()
    files = local.log.files(DEPLOYMENT)
    assert local.write("s002", [f"002-{k}" for k in range(3)]) == []
    assert local.log.files(DEPLOYMENT) == files


def test_a_window_is_read_whole_while_its_files_are_merged(local: LogSite) -> None:
    local.fill(FILES)
    expected = list(local.log.records(DEPLOYMENT, START, START + HOUR))
    listed = local.store.list
    compacted = False

    def listing(prefix: str):  # type: ignore[no-untyped-def]
        nonlocal compacted
        found = list(listed(prefix))
        if not compacted and "hour=" in prefix:
            compacted = True
            local.compact()
        return iter(found)

    local.store.list = listing  # type: ignore[method-assign]
    assert list(local.log.records(DEPLOYMENT, START, START + HOUR)) == expected
    assert compacted


def test_redacted_parts_of_a_merged_file_leave_the_others(site: LogSite) -> None:
    site.fill(FILES)
    site.compact()
    name = f"{DEPLOYMENT}/{EXTRACTION.id}"
    site.database.readers.add(Reader(name, DEPLOYMENT, EXTRACTION.id, position=2))
    redact(site)
    assert [row.redacted for row in site.rows()] == [True, True, False, False, False]
    images = [
        any(record.event.data for record in records if record.event.type == REQUEST_TYPE)
        for records in site.contents().values()
    ]
    assert images == [False, False, True, True, True]
