"""Retention of the inference log: what goes, when, and what stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from parts_log import DEPLOYMENT, HOUR, NEVER, START, CrashError, LogSite, sqlite
from tidegauge.domain.deployment import Deployment
from tidegauge.errors import NotFoundError
from tidegauge.services.baselines import Baselines
from tidegauge.services.upkeep import keeper
from tidegauge.services.upkeep.compaction import Compaction
from tidegauge.services.upkeep.keeper import Keeper
from tidegauge.services.upkeep.retention import Retention
from tidegauge.storage.leases import Leases
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectInfo

DAY = timedelta(days=1)
HOURS = 5


@pytest.fixture
def site(store_url: str, tmp_path: Path) -> Iterator[LogSite]:
    made = LogSite.create(store_url, sqlite(tmp_path))
    for hour in range(HOURS):
        made.write(f"s{hour}", [f"{hour}-{k}" for k in range(3)], START + hour * HOUR)
    yield made
    made.database.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LogSite]:
    made = LogSite.create(str(tmp_path / "store"), sqlite(tmp_path))
    yield made
    made.database.close()


def bound(site: LogSite, now: datetime, *, days: int = 0, most: int = 0, **own: int | None) -> list[str]:
    """Bound the log by settings and by the deployment's own; return the hours that are left."""
    own = {"keep_days": None, "keep_bytes": None, **own}
    site.database.deployments.update(DEPLOYMENT, **own)
    retention = Retention(site.database, site.log, Baselines(site.store), days, most)
    retention.work(site.database.deployments.get(DEPLOYMENT), now, NEVER)
    return left(site)


def left(site: LogSite) -> list[str]:
    return [hour.strftime("%H") for hour in site.log.hours(DEPLOYMENT)]


def test_hours_go_once_all_of_them_is_too_old(site: LogSite) -> None:
    assert bound(site, START + DAY + HOUR - timedelta(seconds=1), days=1) == ["10", "11", "12", "13", "14"]
    assert bound(site, START + DAY + HOUR, days=1) == ["11", "12", "13", "14"]
    gone, *others = site.rows()
    assert gone.gone_at == START + DAY + HOUR
    assert all(row.gone_at is None for row in others)
    with pytest.raises(NotFoundError, match="is kept for a limited time or size"):
        site.logs().file(DEPLOYMENT, gone.id)
    assert bound(site, START + 100 * DAY, days=1) == []


def test_the_oldest_hours_go_until_the_log_is_small_enough(site: LogSite) -> None:
    sizes = [sum(info.size for info in infos) for infos in site.log.hours(DEPLOYMENT).values()]
    now = START + DAY
    assert bound(site, now, most=sum(sizes)) == ["10", "11", "12", "13", "14"]
    assert bound(site, now, most=sum(sizes) - 1) == ["11", "12", "13", "14"]
    assert bound(site, now, most=sum(sizes[3:])) == ["13", "14"]


def test_the_newest_hours_stay_however_large(site: LogSite) -> None:
    assert bound(site, START + HOURS * HOUR, most=1) == ["14"]
    assert bound(site, START + (HOURS + 1) * HOUR, most=1) == []


def test_nothing_goes_without_a_bound_and_a_bound_of_the_deployment_is_its_own(site: LogSite) -> None:
    now = START + 10 * DAY
    assert len(bound(site, now)) == HOURS
    assert len(bound(site, now, days=1, keep_days=30)) == HOURS
    assert bound(site, now, days=30, keep_days=1) == []


def test_what_an_active_monitor_has_not_read_stays(site: LogSite, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[float] = [3]
    retention = Retention(site.database, site.log, Baselines(site.store), 1, 0)
    monkeypatch.setattr(retention, "_read", lambda _deployment_id: read[0])
    deployment = site.database.deployments.get(DEPLOYMENT)
    retention.work(deployment, START + 10 * DAY, NEVER)
    assert left(site) == ["13", "14"]
    read[0] = 5
    retention.work(deployment, START + 10 * DAY, NEVER)
    assert left(site) == []


def test_a_file_that_nobody_has_taken_down_yet_keeps_its_hour(site: LogSite) -> None:
    records = site.log.file(DEPLOYMENT, site.rows()[0].id)
    site.log.write("late", records)
    now = datetime.now(UTC)
    assert len(bound(site, now, days=1)) == HOURS
    assert bound(site, now + 2 * DAY, days=1) == []


def test_merged_hours_go_with_all_their_parts(site: LogSite) -> None:
    for number in range(4):
        site.write(f"t{number}", [f"t-{number}"])
    assert site.compact() == 5
    assert bound(site, START + DAY + HOUR, days=1) == ["11", "12", "13", "14"]
    assert [row.gone_at is not None for row in site.rows()] == [True] + [False] * 4 + [True] * 4
    with pytest.raises(NotFoundError, match="limited time or size"):
        site.logs().file(DEPLOYMENT, site.rows()[0].id)


def test_what_is_gone_is_not_written_again(site: LogSite) -> None:
    bound(site, START + DAY + HOUR, days=1)
    assert site.write("s0", [f"0-{k}" for k in range(3)]) == []
    assert left(site) == ["11", "12", "13", "14"]


def test_a_late_event_of_an_hour_that_is_gone_goes_too(site: LogSite) -> None:
    now = START + DAY + HOUR
    bound(site, now, days=1)
    site.write("late", ["late"])
    assert left(site)[0] == "10"
    assert bound(site, now, days=1)[0] == "11"


@pytest.mark.parametrize("late", [False, True])
def test_a_crash_at_any_step_is_taken_up(tmp_path: Path, *, late: bool) -> None:
    def crash() -> None:
        raise CrashError

    place, crashed = 0, True
    while crashed:
        place, crashed = place + 1, False
        folder = tmp_path / str(place)
        folder.mkdir()
        site = LogSite.create(str(folder / "store"), sqlite(folder))
        site.fill(5)
        site.compact()
        site.write("later", ["later"])
        site.store.interrupt(place, crash, late=late)
        try:
            bound(site, START + DAY + HOUR, days=1)
        except CrashError:
            crashed = True
        assert all(row.gone_at is None for row in site.rows()) or all(row.gone_at for row in site.rows())
        if crashed:
            bound(site, START + DAY + HOUR, days=1)  # the next look
        site.sweep()
        assert all(row.gone_at for row in site.rows())
        assert site.log.files(DEPLOYMENT) == []
        site.database.close()
    assert place > 1


def test_an_hour_that_is_merged_meanwhile_waits(local: LogSite, monkeypatch: pytest.MonkeyPatch) -> None:
    local.fill(5)
    listed, calls = local.log.hours, count()

    def hours(deployment_id: str) -> dict[datetime, list[ObjectInfo]]:
        found = listed(deployment_id)
        if next(calls) == 0:  # before they are taken down as gone
            Compaction(local.database, InferenceLog(local.store)).work(DEPLOYMENT, START + DAY, NEVER)
        return found

    monkeypatch.setattr(local.log, "hours", hours)
    assert bound(local, START + DAY + HOUR, days=1) == ["10"]
    assert all(row.merged_into and row.gone_at is None for row in local.rows())
    assert bound(local, START + DAY + HOUR, days=1) == []


@pytest.mark.parametrize("place", range(1, 8))
def test_an_hour_that_goes_meanwhile_is_not_merged(local: LogSite, place: int) -> None:
    local.fill(5)
    local.store.interrupt(place, lambda: bound(local, START + DAY + HOUR, days=1) and None)
    local.compact()
    bound(local, START + DAY + HOUR, days=1)
    assert all(row.gone_at for row in local.rows())
    local.sweep()
    assert local.log.files(DEPLOYMENT) == []


def test_the_size_of_a_log_tells_what_has_become_of_its_files(site: LogSite) -> None:
    for number in range(4):
        site.write(f"t{number}", [f"t-{number}"], START + HOUR)
    assert site.compact(START + 4 * HOUR) == 5
    bound(site, START + DAY + HOUR, days=1)
    retention = Retention(site.database, site.log, Baselines(site.store), 7, 0)
    size = retention.size(site.database.deployments.get(DEPLOYMENT))
    assert (size.files, size.merged, size.gone, size.keep_days, size.keep_bytes) == (4, 5, 1, 7, 0)
    assert size.bytes == sum(info.size for info in site.store.list(f"{DEPLOYMENT}/log"))
    assert size.first == START + HOUR
    assert size.last is not None
    assert START + 4 * HOUR <= size.last < START + 5 * HOUR


class Clock:
    now: datetime = START + DAY

    def __call__(self) -> datetime:
        return self.now


def keepers(site: LogSite, clock: Clock, count: int) -> list[Keeper]:
    return [
        Keeper(
            site.database,
            site.store,
            Compaction(site.database, site.log),
            Retention(site.database, site.log, Baselines(site.store), 0, 0),
            clock,
        )
        for _ in range(count)
    ]


def test_a_log_is_looked_after_by_one_process_at_a_time(site: LogSite) -> None:
    clock = Clock()
    one, other = keepers(site, clock, 2)
    site.fill(5)
    leases = Leases(site.store)
    assert leases.take(f"{DEPLOYMENT}/upkeep", clock.now, clock.now + HOUR) is None
    assert leases.take(f"{DEPLOYMENT}/upkeep", clock.now, clock.now + 2 * HOUR) == clock.now + HOUR
    assert (one.look(), one.counts.merged) == (False, 0)
    clock.now += 2 * HOUR  # its owner is dead
    assert (one.look(), one.counts.merged) == (False, 6)
    site.fill(5, start=START + HOUR)
    assert (other.look(), other.counts.merged) == (False, 0)  # all was done a moment ago
    clock.now += HOUR
    assert (other.look(), other.counts.merged) == (False, 6)


def test_a_log_with_much_to_do_gives_others_a_turn(site: LogSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.fill(5)
    (one,) = keepers(site, Clock(), 1)
    monkeypatch.setattr(keeper, "_SECONDS", 0.0)
    assert one.look() is True
    monkeypatch.setattr(keeper, "_SECONDS", 5.0)
    assert (one.look(), one.counts.merged) == (False, 6)


def test_the_lease_of_a_deployment_that_is_deleted_goes_with_it(site: LogSite) -> None:
    leases = Leases(site.store)
    assert leases.take(f"{DEPLOYMENT}/upkeep", START, START + HOUR) is None
    site.store.delete_below(DEPLOYMENT)
    leases.release(f"{DEPLOYMENT}/upkeep", START + HOUR)
    assert list(site.store.list("")) == []


def test_a_claim_is_kept_and_ended_only_by_whoever_has_it(site: LogSite) -> None:
    one, other = Leases(site.store), Leases(site.store)
    path = f"{DEPLOYMENT}/upkeep"
    assert one.take(path, START, START + HOUR) is None
    now = START + HOUR * 3 / 4
    assert one.keep(path, now, now + HOUR)
    assert other.take(path, START + HOUR, START + 2 * HOUR) == now + HOUR
    assert not other.keep(path, now, now + 2 * HOUR)  # it has none
    assert other.take(path, now + HOUR, now + 2 * HOUR) is None  # what has run out
    one.release(path, now + HOUR)
    assert one.take(path, now + HOUR, now + 2 * HOUR) == now + 2 * HOUR
    assert not one.keep(path, now + HOUR, now + 2 * HOUR)
    other.release(path, now + HOUR)
    assert one.take(path, now + HOUR, now + 2 * HOUR) is None


def test_a_keeper_works_by_itself_and_ends_when_it_is_told(local: LogSite) -> None:
    local.fill(5)
    (one,) = keepers(local, Clock(), 1)
    one._seconds = 0.01
    one.start()
    deadline = time.monotonic() + 20
    while not one.counts.merged and time.monotonic() < deadline:
        time.sleep(0.01)
    one.close()
    assert one.counts.merged == 5
    assert not one._thread.is_alive()


def test_a_database_that_is_away_for_a_moment_does_not_end_the_upkeep(
    site: LogSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.fill(5)
    away = threading.Event()
    where = site.database.deployments.where

    def failing(**_: object) -> Sequence[Deployment]:
        if away.is_set():
            return where()
        away.set()
        raise OperationalError("SELECT", {}, OSError("the server closed the connection"))

    monkeypatch.setattr(site.database.deployments, "where", failing)
    retention = Retention(site.database, site.log, Baselines(site.store), 0, 0)
    compaction = Compaction(site.database, site.log)
    upkeep = Keeper(site.database, site.store, compaction, retention, Clock(), seconds=0.01)
    upkeep.start()
    until = time.monotonic() + 10
    while not upkeep.counts.merged and time.monotonic() < until:
        time.sleep(0.02)
    upkeep.close()
    assert upkeep.counts.merged == 6
    assert "could not be looked after" in caplog.text
