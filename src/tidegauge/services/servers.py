"""Model servers that are not ours: looked up when somebody asks, and each minute from then on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from tidegauge.domain.deployment import Deployment, Origin
from tidegauge.domain.identity import as_name
from tidegauge.domain.served import ServedModel, ServedState
from tidegauge.errors import ConflictError, TidegaugeError
from tidegauge.links import servers
from tidegauge.services.deployments import Deployments
from tidegauge.services.gates import Gates
from tidegauge.services.rounds import Rounds
from tidegauge.storage.database import Database
from tidegauge.storage.leases import Leases
from tidegauge.storage.objects import ObjectStore

_POLL_SECONDS = 5.0
_CLAIM = timedelta(seconds=30)  # one process looks at all, of several that share a store
_PLACE = ".servers/look"
_LOOKS_AT_ONCE = 8  # so that servers that hang delay the others little


class Servers:
    """Finds out what others serve, and keeps watching what was looked up once."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        deployments: Deployments,
        gates: Gates,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._leases = Leases(store)
        self._deployments = deployments
        self._gates = gates
        self._now = now
        failure = "servers could not be looked at for a moment"
        self._rounds = Rounds("servers", _POLL_SECONDS, self.look_in_turn, failure)

    def start(self) -> None:
        self._rounds.start()

    def close(self) -> None:
        """Let the looks that are under way end."""
        self._rounds.close()

    def look_up(self, owner: str, url: str, model: str = "") -> ServedModel:
        """Return what is served at a URL, and keep nothing; see ``links.servers.look`` for the errors."""
        return servers.look(self._gates.of(owner), url, self._now(), model)

    def bring_in(self, owner: str, url: str, model: str = "", name: str = "", **more: Any) -> Deployment:
        """Add an external deployment of what is served at a URL, described by what its server says.

        Args:
            owner: name of the user that has it.
            url: base of the server, or where the model is asked.
            model: which one, of a server that has several.
            name: of the deployment; by default that of the model.
            more: what ``Deployments.register`` takes beside, such as ``classes``; without a ``service`` it
                is the one of KServe that the host is named after.

        Raises what ``look_up`` and ``Deployments.register`` do.
        """
        return self.bring_in_found(owner, self.look_up(owner, url, model), name, **more)

    def bring_in_found(self, owner: str, found: ServedModel, name: str = "", **more: Any) -> Deployment:
        """Add what a look has found; otherwise as ``bring_in``."""
        if not more.get("service") and not self._deployments.is_reported(found.service, found.namespace):
            more |= {"service": found.service, "namespace": found.namespace}
        given = {**more, "predict_url": found.predict_url, "served": found}
        return self._deployments.register(name or as_name(found.model), owner, **given)

    def look_again(self, deployment: Deployment) -> Deployment:
        """Look at the server of an external deployment now; what is wrong there is its state, no error.

        Raises ConflictError for one that has no server elsewhere, or no predict URL.
        """
        if deployment.origin is not Origin.EXTERNAL:
            raise ConflictError(
                f"The deployment {deployment.name!r} is {deployment.origin.value}; only servers of external "
                "ones are looked up."
            )
        if not deployment.predict_url:
            raise ConflictError(
                f"The deployment {deployment.name!r} has no predict URL; change it to have one first."
            )
        self._look(deployment)
        return self._database.deployments.get(deployment.id)

    def look_in_turn(self) -> None:
        """Look at every server whose time has come, unless another process does."""
        now = self._now()
        due = [
            deployment
            for deployment in self._database.deployments.where(origin=Origin.EXTERNAL)
            if deployment.served and deployment.served.is_due(now)
        ]
        if not due or self._leases.take(_PLACE, now, now + _CLAIM):
            return
        with ThreadPoolExecutor(_LOOKS_AT_ONCE, "server-look") as pool:
            list(pool.map(lambda one: None if self._rounds.is_closing else self._look(one), due))

    def _look(self, deployment: Deployment) -> None:
        """Look once and keep what was found, unless the URL is another one by now."""
        known = deployment.served
        url = deployment.predict_url
        model = known.model if known and known.predict_url == url else ""
        try:
            found = self.look_up(deployment.owner, url, model)
        except TidegaugeError as error:
            now = self._now()
            fields = known or ServedModel(url, ServedState.UNREACHABLE, now, now, model=_named(url))
            message = error.message.replace("url ", "Its predict URL ", 1)
            found = replace(fields, state=ServedState.UNREACHABLE, since=now, at=now, message=message)
        if known and known.state is found.state:
            found = replace(found, since=known.since)
        # What a person gave stays as it was given, whatever the server would make of it.
        found = replace(found, predict_url=url)
        self._database.deployments.update(deployment.id, {"predict_url": url}, served=found)


def _named(url: str) -> str:
    """Return the model that a predict URL names, empty where it names none."""
    _, _, rest = url.partition("/models/")
    return unquote(rest.partition("/")[0].partition(":")[0])
