"""Malformed requests: no 5xx, no exception, nothing stored. ``benchmarks/fuzz.py`` sends 100,000."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from parts_malformed import Door, Sent, bodies, owners

HASTE = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(tmp_path_factory.mktemp("fuzz")) as door:
        yield door
        accepted = door.collector.counts().received
        assert accepted > 100  # of those that are not surely wrong
        assert door.stored() == accepted


@given(sent=bodies())
@settings(HASTE, max_examples=2000)
def test_what_is_malformed_is_refused_and_not_stored(door: Door, sent: Sent) -> None:
    door.check(sent)


def test_names_that_no_database_takes_are_nobodys(postgres_url: str, tmp_path: Path) -> None:
    with Door(tmp_path, postgres_url) as door:

        @given(sent=owners())
        @settings(HASTE, max_examples=300)
        def check(sent: Sent) -> None:
            door.check(sent)

        check()
