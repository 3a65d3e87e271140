"""Links to serving clusters: an operator makes them; what is so of them is looked at from time to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from tidegauge.domain.cluster_link import ClusterLink, Exported, Greeting, LinkState, ShownLink, shown
from tidegauge.domain.identity import new_id
from tidegauge.domain.secret import Secret
from tidegauge.domain.users import User
from tidegauge.errors import (
    ConflictError,
    FieldError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    raise_all,
)
from tidegauge.links.addresses import WEB, Gate, split
from tidegauge.links.clusters import RefusedTokenError, RemoteCluster
from tidegauge.services.accounts import check_operator
from tidegauge.services.gates import Gates
from tidegauge.storage.database import Database

_OPERATORS = "Only an operator links clusters; ask the operator, or choose a link that is there."


class Clusters:
    """The links of this cluster."""

    def __init__(self, database: Database, gates: Gates, now: Callable[[], datetime]) -> None:
        self._database = database
        self._gates = gates
        self._now = now

    def add(
        self, by: User, name: str, url: str, token: str, *, ca: str = "", fingerprint: str = ""
    ) -> ShownLink:
        """Link a serving cluster, once it has answered.

        Args:
            by: who asks; only an operator may.
            name: of the link, by which people of this cluster choose it.
            url: of the serving cluster, with or without a final slash.
            token: of a user over there, of the scope link: deployments of that user can be imported.
            ca: certificates (PEM) to trust in place of the system's.
            fingerprint: SHA-256 of the only certificate to trust.

        Raises ForbiddenError for who is no operator, InvalidInputError with every field that is wrong,
        ConflictError where the name is taken, UnavailableError where the cluster does not answer.
        """
        check_operator(by, _OPERATORS)
        now = self._now()
        link = ClusterLink(
            id=new_id(),
            name=name.strip(),
            url=_address(url),
            token=Secret(token.strip()),
            ca=ca.strip(),
            fingerprint=fingerprint.strip(),
            state=LinkState.REACHABLE,
            message="",
            version="",
            user="",
            created_by=by.name,
            created_at=now,
            checked_at=now,
            answered_at=now,
        )
        raise_all(link.errors())
        self._check_free(link)
        self._gate().check(link.url, "url")
        try:
            greeting = self._greet(link)
        except UnavailableError as error:
            raise UnavailableError(error.message, (FieldError("url", error.message),)) from error
        return shown(
            self._database.cluster_links.add(replace(link, version=greeting.version, user=greeting.user))
        )

    def page(self) -> tuple[ShownLink, ...]:
        """Return all links, by name."""
        counts = self._database.imports.tally("link_id")
        return tuple(
            shown(link, counts.get((link.id,), 0)) for link in self._database.cluster_links.where(sort="name")
        )

    def get(self, name_or_id: str) -> ShownLink:
        link = self.link(name_or_id)
        return shown(link, self._database.imports.count(link_id=link.id))

    def renew(self, by: User, name_or_id: str, token: str) -> ShownLink:
        """Give a link another token, once the cluster has taken it."""
        check_operator(by, _OPERATORS)
        link = replace(self.link(name_or_id), token=Secret(token.strip()))
        raise_all(link.errors())
        greeting = self._greet(link)
        self._database.cluster_links.update(link.id, token=link.token)
        self.note(link, version=greeting.version, user=greeting.user)
        return self.get(link.id)

    def check(self, by: User, name_or_id: str) -> ShownLink:
        """Look at a link now."""
        check_operator(by, _OPERATORS)
        self.look(self.link(name_or_id))
        return self.get(name_or_id)

    def look(self, link: ClusterLink) -> None:
        """Ask a cluster how it is, and write that down."""
        try:
            with self.open(link) as remote:
                greeting = remote.greet()
        except RefusedTokenError as error:
            self.note(link, LinkState.REFUSED, error.message)
        except (UnavailableError, InvalidInputError) as error:
            self.note(link, LinkState.UNREACHABLE, error.message)
        else:
            self.note(link, version=greeting.version, user=greeting.user)

    def delete(self, by: User, name_or_id: str) -> None:
        """Remove a link; refused while deployments follow over it."""
        check_operator(by, _OPERATORS)
        link = self.link(name_or_id)
        with self._database.transaction():
            self._database.cluster_links.lock(link.id)  # who imports over it meanwhile finds it gone
            users = self._database.imports.where(link_id=link.id)
            if users:
                names = ", ".join(
                    deployment.name
                    for deployment in self._database.deployments.where(id=[one.id for one in users])
                )
                raise ConflictError(
                    f"Over the link {link.name!r} come the deployments {names}; delete these first."
                )
            self._database.cluster_links.delete(link.id)

    def found(self, name_or_id: str, namespace: str = "") -> tuple[Exported, ...]:
        """Return the deployments that can be imported over a link."""
        with self.open(self.link(name_or_id)) as remote:
            return remote.find(namespace)

    def open(self, link: ClusterLink) -> RemoteCluster:
        """Return the cluster behind a link. An operator has made it, so it may be in a private network."""
        return RemoteCluster(link, self._gate())

    def note(
        self,
        link: ClusterLink,
        state: LinkState = LinkState.REACHABLE,
        message: str = "",
        **said: str,
    ) -> None:
        """Write down how a link was found."""
        now = self._now()
        answered = {"answered_at": now} if state is not LinkState.UNREACHABLE else {}
        self._database.cluster_links.update(
            link.id, None, state=state, message=message, checked_at=now, **answered, **said
        )

    def link(self, name_or_id: str) -> ClusterLink:
        """Return a link with its token, for services that use it."""
        found = self._database.cluster_links.find_by(name_or_id, "name", "id")
        if found is None:
            raise NotFoundError(
                f"There is no cluster {name_or_id!r}; the operator links it under Clusters, or with: "
                "tidegauge cluster add NAME --url URL --token TOKEN"
            )
        return found

    def _gate(self) -> Gate:
        return self._gates.for_role(is_operator=True)

    def _greet(self, link: ClusterLink) -> Greeting:
        """Return what a cluster says of itself; InvalidInputError where it does not take the token."""
        try:
            with self.open(link) as remote:
                return remote.greet()
        except RefusedTokenError as error:
            raise InvalidInputError.of("token", f"token: {error.message}") from error

    def _check_free(self, link: ClusterLink) -> None:
        if self._database.cluster_links.find(name=link.name):
            message = f"name is {link.name!r}, by which there is a cluster already; choose another."
            raise ConflictError(message, (FieldError("name", message),))


def _address(url: str) -> str:
    """Return a URL without a final slash; InvalidInputError where it has more than a path."""
    parts = split(url.strip(), "url", WEB)
    if parts.query or parts.fragment:
        raise InvalidInputError.of(
            "url", "url has more than an address; give one such as https://host:32222/."
        )
    return url.strip().rstrip("/")
