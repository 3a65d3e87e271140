"""How much comes of a deployment, whatever became of the files since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from parts_log import DEPLOYMENT, START, LogSite, sqlite
from tidegauge.services.noting import Noting
from tidegauge.services.traffic import Traffic

LONG_AGO = START - timedelta(hours=1)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LogSite]:
    site = LogSite.create(str(tmp_path / "store"), sqlite(tmp_path))
    with closing(site.database):
        yield site


@pytest.fixture
def traffic(site: LogSite) -> Traffic:
    return Traffic(site.database, site.log, lambda: START)


def inferences(traffic: Traffic) -> int:
    return traffic.flow(DEPLOYMENT).inferences


def test_late_events_count_after_they_were_merged_and_those_that_came_long_ago_do_not(
    site: LogSite, traffic: Traffic
) -> None:
    site.noting = Noting(site.database, lambda: LONG_AGO)
    site.write("old", ["a", "b"])
    site.noting = Noting(site.database, lambda: START)
    site.fill(4)
    assert inferences(traffic) == 12
    assert site.compact() == 5
    assert inferences(traffic) == 12


def test_events_that_are_merged_while_one_looks_count(
    site: LogSite, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fill(5)
    keys = site.log.keys

    def late(path: str, within: str = "") -> list[tuple[str, str, str]]:
        site.compact()
        return keys(path, within)

    monkeypatch.setattr(site.log, "keys", late)
    assert inferences(traffic) == 15


def test_what_was_deleted_counts_no_more(site: LogSite, traffic: Traffic) -> None:
    (path,) = site.write("s", ["a"])
    site.log.delete([path])
    assert inferences(traffic) == 0
