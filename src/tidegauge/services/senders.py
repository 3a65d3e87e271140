"""Who may report events, and of which deployments: asked for every request, so remembered for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.users import Principal
from tidegauge.errors import TidegaugeError, UnavailableError
from tidegauge.services.people import People
from tidegauge.storage.database import Database

_SECONDS = 2.0  # another process may have changed what is remembered
_PATIENCE = 1.0  # seconds that the database is waited for where something is known
_MOST = 10_000

_Key = tuple[str, ...]


class Senders:
    """Recognises senders and finds deployments; what this process writes is known at once.

    For the tasks of one event loop, which never waits for the database. While that is away, what was known
    before counts: a collector goes on taking events.
    """

    def __init__(self, database: Database, people: People) -> None:
        self._database = database
        self._people = people
        self._known: dict[_Key, tuple[float, int, Any]] = {}  # fresh until a time, and another write
        self._asked: dict[_Key, asyncio.Future[Any]] = {}
        self._threads = ThreadPoolExecutor(4, "senders")

    async def recognise(self, secret: str, address: str = "") -> Principal:
        """Return who has this token; NotSignedInError where nobody has, counted for the address."""
        found: Principal = await self._remembered(
            ("secret", secret), lambda: self._people.authenticate(secret, address)
        )
        return found

    async def deployment(self, deployment_id: str) -> Deployment | None:
        """Return the deployment with this id, whoever owns it."""
        found: Deployment | None = await self._remembered(
            ("id", deployment_id), lambda: self._database.deployments.find(id=deployment_id)
        )
        return found

    async def serving(self, service: str, namespace: str) -> tuple[Deployment, ...]:
        """Return the deployments that KServe's logger may mean by these names."""
        found: tuple[Deployment, ...] | None = await self._remembered(
            ("service", service, namespace), lambda: reported_as(self._database, service, namespace) or None
        )
        return found or ()

    async def _remembered(self, key: _Key, load: Callable[[], Any]) -> Any:
        """Return what is known; what is not there is looked for each time, since it may come."""
        until, writes, found = self._known.get(key, (0.0, 0, None))
        if time.monotonic() < until and writes == self._database.writes:
            return found
        asked = self._asked.get(key)
        if asked is None:  # others who want to know the same wait for the same answer
            asked = self._asked[key] = asyncio.ensure_future(self._ask(key, load))
            asked.add_done_callback(lambda _: self._asked.pop(key, None))
        if found is None:
            return await asyncio.shield(asked)
        try:
            return await asyncio.wait_for(asyncio.shield(asked), _PATIENCE)
        except TimeoutError:
            return found  # the database neither answers nor fails; the question goes on

    async def _ask(self, key: _Key, load: Callable[[], Any]) -> Any:
        writes = self._database.writes
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, load)
        except TidegaugeError:
            self._known.pop(key, None)
            raise
        except Exception as error:
            if key in self._known:
                return self._known[key][2]
            raise UnavailableError("The database does not answer; send the events again later.") from error
        if found is None:
            self._known.pop(key, None)
        else:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = (time.monotonic() + _SECONDS, writes, found)
        return found


def reported_as(database: Database, service: str, namespace: str) -> tuple[Deployment, ...]:
    """Return the deployments that KServe's logger may mean by these names: its name and owner, or others.

    In this order, or somebody could have another's events by naming them first. Whose sender may report for
    the second alone means that one: a user may be named like a namespace.
    """
    rows = database.deployments
    return (*rows.where(name=service, owner=namespace), *rows.where(service=service, namespace=namespace))
