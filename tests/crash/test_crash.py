"""A handful of rounds of each kind; ``benchmarks/crash.py`` does hundreds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crash.rounds import Result, alone, fleet, full_disk, outages
from parts import absent

Tell = Callable[[Result], Result]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print what a run found, and complain of what is never right."""

    def tell(result: Result) -> Result:
        with capsys.disabled():
            print(f"\n{result}")
        assert result.faults == []
        assert result.acknowledged > 50
        assert (result.missing, result.changed, result.strange) == (0, 0, 0)
        assert result.found == result.read == result.acknowledged
        return result

    return tell


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        absent("the right to mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_kills_lose_and_double_nothing(tmp_path: Path, tell: Tell) -> None:
    result = tell(alone(tmp_path, rounds=6, seed=1))
    assert result.doubled == 0


def test_kills_in_a_fleet_lose_nothing(tmp_path: Path, s3_endpoint: str, tell: Tell) -> None:
    result = tell(fleet(tmp_path, s3_endpoint, rounds=4, seed=2))
    assert result.doubled == result.unsure  # the others of a fleet do not know what a dead one had safe


def test_a_full_disk_refuses_and_recovers_by_itself(small_disk: Path, tell: Tell) -> None:
    result = tell(full_disk(small_disk, rounds=3, seed=3))
    assert result.doubled == 0
    assert result.answers["503"] > 0
    assert len(result.waits) == 3


def test_kills_while_the_bucket_is_away_double_nothing(tmp_path: Path, s3_endpoint: str, tell: Tell) -> None:
    result = tell(outages(tmp_path, s3_endpoint, 1, rounds=1, seed=5, fleet=False, kills=True))
    assert result.doubled == 0


@pytest.mark.parametrize("is_fleet", [False, True], ids=["alone", "fleet"])
def test_a_bucket_that_is_away_costs_nothing(
    tmp_path: Path, s3_endpoint: str, tell: Tell, is_fleet: bool
) -> None:
    result = tell(outages(tmp_path, s3_endpoint, 1.5, rounds=2, seed=4, fleet=is_fleet))
    assert result.doubled == (result.unsure if is_fleet else 0)
    assert len(result.waits) == 2
