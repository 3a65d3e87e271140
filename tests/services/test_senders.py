"""Senders: remembered for a moment; what this process changes is known at once, and databases may be away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from parts_collector import deployment
from tidegauge.domain.users import Scope
from tidegauge.errors import NotSignedInError, UnavailableError
from tidegauge.services.people import People
from tidegauge.services.senders import Senders
from tidegauge.storage.database import Database

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Counted(People):
    asked = 0
    away = False

    def authenticate(self, secret: str, address: str = "") -> Any:
        self.asked += 1
        if self.away:
            raise OSError("connection refused")
        return super().authenticate(secret, address)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    made.migrate()
    yield made
    made.close()


def test_a_sender_is_asked_for_once_in_a_moment_and_forgotten_with_the_token(database: Database) -> None:
    people = Counted(database, lambda: NOW)
    people.first_start()
    token, secret = people.issue(database.users.find(), "logger", Scope.INGEST, "d1")  # type: ignore[arg-type]
    senders = Senders(database, people)

    async def run() -> None:
        found = await asyncio.gather(*(senders.recognise(secret) for _ in range(100)))
        assert {each.token.subject for each in found} == {"d1"}
        await senders.recognise(secret)
        assert people.asked == 1
        people.revoke(token.id)
        with pytest.raises(NotSignedInError):
            await senders.recognise(secret)

    asyncio.run(run())


def test_deployments_that_come_and_go_are_known_at_once(database: Database) -> None:
    senders = Senders(database, People(database, lambda: NOW))

    async def run() -> None:
        assert await senders.deployment("d1") is None
        database.deployments.add(deployment("d1"))
        assert await senders.deployment("d1") == deployment("d1")
        assert await senders.serving("d1", "ann") == (deployment("d1"),)
        database.deployments.update("d1", logging=False)
        assert (await senders.deployment("d1")).logging is False  # type: ignore[union-attr]
        database.deployments.delete("d1")
        assert await senders.deployment("d1") is None

    asyncio.run(run())


def test_while_the_database_is_away_what_was_known_counts(database: Database) -> None:
    people = Counted(database, lambda: NOW)
    secret = people.first_start()
    assert secret
    senders = Senders(database, people)

    async def run() -> None:
        await senders.recognise(secret)
        people.away = True
        senders._known = {
            key: (0.0, *rest) for key, (_, *rest) in senders._known.items()
        }  # two seconds later
        assert (await senders.recognise(secret)).name == "operator"
        with pytest.raises(UnavailableError, match="database does not answer"):
            await senders.recognise("another")

    asyncio.run(run())


def test_a_database_that_says_nothing_holds_up_nobody_who_is_known(database: Database) -> None:
    people = Counted(database, lambda: NOW)
    secret = people.first_start()
    assert secret
    senders = Senders(database, people)
    answering = threading.Event()

    async def run() -> None:
        await senders.recognise(secret)
        senders._known = {key: (0.0, *rest) for key, (_, *rest) in senders._known.items()}
        known = people.authenticate
        people.authenticate = lambda *given: answering.wait(20) and known(*given)  # type: ignore[method-assign]
        begun = time.monotonic()
        assert (await senders.recognise(secret)).name == "operator"
        assert time.monotonic() - begun < 10
        answering.set()
        assert (await senders.recognise(secret)).name == "operator"

    asyncio.run(run())
