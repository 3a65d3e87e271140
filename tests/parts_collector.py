"""Collectors of tests: deployments that are nothing but their ids, and senders that may report for any."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegauge.domain.cloudevents import Decoded
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.events import Event
from tidegauge.domain.users import Principal, Role, Scope, Token, User
from tidegauge.services.collector import Collector, Directory, Taken
from tidegauge.storage.log import InferenceLog
from tidegauge.storage.objects import ObjectStore
from tidegauge.storage.segments import Segments

_TURN = threading.Lock()
_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def principal(role: Role = Role.OPERATOR, scope: Scope = Scope.WRITE, subject: str = "") -> Principal:
    """Return somebody with a token."""
    user = User("u1", "ann", role, _BEGUN)
    return Principal(user, Token("t1", user.id, "test", scope, subject, "", _BEGUN))


def deployment(id_: str, **more: Any) -> Deployment:
    """Return a deployment that is nothing but its id."""
    running = DeploymentState.RUNNING
    plain = Deployment(id_, id_, "ann", "m", "m", 1, True, Origin.LOCAL, running, running, _BEGUN, "/")
    return Deployment(**{**plain.__dict__, **more})


def build(
    folder: Path,
    store: ObjectStore,
    known: Callable[[str], bool] = lambda _: True,
    serving: Callable[[str, str], str | None] = lambda _service, _namespace: None,
    flush_seconds: float = 3600.0,
    *,
    segments: dict[str, Any] | None = None,
    **more: Any,
) -> Collector:
    """Build a collector of the deployments that ``known`` says there are."""

    async def found(id_: str) -> Deployment | None:
        return deployment(id_) if known(id_) else None

    async def served(service: str, namespace: str) -> list[Deployment]:
        id_ = serving(service, namespace)
        return [deployment(id_)] if id_ else []

    return Collector(
        Segments(folder, max_age=flush_seconds, **(segments or {})),
        InferenceLog(store),
        Directory(found, served, known),
        flush_seconds,
        **more,
    )


def report(
    collector: Collector,
    deployment_id: str | None,
    events: Sequence[Event],
    now: datetime,
    sender: Principal | None = None,
) -> Taken:
    """Have a collector take events, as its door does; one call at a time, for each has a loop of its own."""
    decoded = Decoded(list(events), list(range(len(events))))
    with (
        _TURN,
        ThreadPoolExecutor(1) as aside,
    ):  # this thread may have a loop of its own, as a browser's tests do
        taking = collector.take(sender or principal(), deployment_id, decoded, now)
        return aside.submit(asyncio.run, taking).result()
