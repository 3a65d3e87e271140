from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tidegauge.domain.windows import window_of, windows_between


def test_a_moment_on_the_border_belongs_to_the_later_window() -> None:
    border = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    assert window_of(border, 5, "UTC")[0] == border


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
@pytest.mark.parametrize("minutes", [1, 5, 7, 60, 1440])
def test_the_windows_of_a_day_cover_it_without_gap_whatever_the_clocks_do(
    day: tuple[int, int, int], hours: int, minutes: int
) -> None:
    midnight = window_of(datetime(*day, 12, tzinfo=UTC), 1440, "Europe/Berlin")[0]
    found = list(windows_between(midnight, midnight + timedelta(hours=hours), minutes, "Europe/Berlin"))
    assert (found[0][0], found[-1][1]) == (midnight, midnight + timedelta(hours=hours))
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert all(end - start <= timedelta(minutes=max(minutes, hours * 60)) for start, end in found)


def test_only_windows_that_have_ended_are_given() -> None:
    start = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    found = list(windows_between(start, start + timedelta(minutes=13), 5, "UTC"))
    assert [begin.minute for begin, _ in found] == [0, 5]
