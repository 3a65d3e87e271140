"""Who may report events, and of which deployments: asked for every request, so remembered for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.users import Principal
from tidegauge.services.people import People
from tidegauge.storage.database import Database

T = TypeVar("T")
_SECONDS = 2.0  # another process may have changed what is remembered
_MOST = 10_000


class Senders:
    """Recognises senders and finds deployments; what this process writes is known at once."""

    def __init__(self, database: Database, people: People) -> None:
        self._database = database
        self._people = people
        self._known: dict[tuple[str, ...], object] = {}
        self._until = 0.0
        self._writes = -1

    def recognise(self, secret: str) -> Principal:
        """Return who has this token; NotSignedInError where nobody has."""
        return self._remembered(("secret", secret), lambda: self._people.authenticate(secret))

    def deployment(self, deployment_id: str) -> Deployment | None:
        """Return the deployment with this id, whoever owns it."""
        return self._remembered(
            ("id", deployment_id), lambda: self._database.deployments.find(id=deployment_id)
        )

    def serving(self, service: str, namespace: str) -> Deployment | None:
        """Return the deployment that KServe's logger reports by these names."""
        return self._remembered(
            ("service", service, namespace), lambda: reported_as(self._database, service, namespace)
        )

    def _remembered(self, key: tuple[str, ...], load: Callable[[], T]) -> T:
        """Return what is known; what is not there is looked for each time, since it may come."""
        now, writes = time.monotonic(), self._database.writes
        if now > self._until or writes != self._writes or len(self._known) > _MOST:
            self._known, self._until, self._writes = {}, now + _SECONDS, writes
        found = self._known.get(key)
        if found is None:
            found = load()
            if found is not None:
                self._known[key] = found
        return found  # type: ignore[return-value]


def reported_as(database: Database, service: str, namespace: str) -> Deployment | None:
    """Return the deployment that KServe's logger reports by these names: its name and owner, or others.

    In this order, or somebody could have another's events by naming them first.
    """
    rows = database.deployments
    return rows.find(name=service, owner=namespace) or rows.find(service=service, namespace=namespace)
