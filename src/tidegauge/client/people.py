"""Users, tokens and sessions."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from tidegauge.client.connection import Connection
from tidegauge.domain.users import AccessToken, Invitation, OpenSession, Person, Role, Scope, User


class Users:
    """The users of a cluster, for its operators."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/users"

    def list(self, q: str = "") -> builtins.list[Person]:
        return list(self._client.pages(Person, self._path, q, "name"))

    def get(self, name: str) -> User:
        return self._client.read(User, "GET", self._at(name))

    def create(self, name: str, role: Role | str = Role.USER) -> Invitation:
        """Create a user; the one-time password is told here and never again."""
        return self._client.read(Invitation, "POST", self._path, {"name": name, "role": str(role)})

    def change_role(self, name: str, role: Role | str) -> User:
        """Make a user an operator, or an operator a user; ConflictError for the last operator."""
        return self._client.read(User, "PATCH", self._at(name), {"role": str(role)})

    def disable(self, name: str) -> User:
        """Keep a user out: tokens and sessions are refused at once."""
        return self._client.read(User, "PATCH", self._at(name), {"disabled": True})

    def enable(self, name: str) -> User:
        return self._client.read(User, "PATCH", self._at(name), {"disabled": False})

    def delete(self, name: str, heir: str = "") -> None:
        """Delete a user; what they own goes to ``heir``."""
        self._client.request("DELETE", self._at(name), params={"heir": heir} if heir else None)

    def invite(self, name: str) -> Invitation:
        """Replace the password of a user by a one-time password, told here and never again."""
        return self._client.read(Invitation, "POST", f"{self._at(name)}/password")

    def sessions(self, name: str) -> builtins.list[OpenSession]:
        return list(self._client.pages(OpenSession, f"{self._at(name)}/sessions"))

    def end_sessions(self, name: str) -> None:
        """Sign out every browser of a user."""
        self._client.request("DELETE", f"{self._at(name)}/sessions")

    def _at(self, name: str) -> str:
        return f"{self._path}/{quote(name, safe='')}"


class Tokens:
    """The tokens of who is calling."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/tokens"

    def list(self, q: str = "") -> builtins.list[AccessToken]:
        return list(self._client.pages(AccessToken, self._path, q))

    def create(
        self, name: str, scope: Scope | str = Scope.WRITE, *, deployment: str = "", days: int | None = None
    ) -> AccessToken:
        """Make a token; its secret is told here and never again.

        Args:
            name: what it is for.
            scope: read, write, ingest (events of one ``deployment``) or link.
            deployment: name or id, of the scope ingest.
            days: that it is good for; None: until it is revoked. No longer than the token that asks for it.
        """
        body = {"name": name, "scope": str(scope), "deployment": deployment, "days": days}
        return self._client.read(AccessToken, "POST", self._path, body)

    def revoke(self, name_or_id: str) -> None:
        self._client.request("DELETE", f"{self._path}/{quote(name_or_id, safe='')}")


class Sessions:
    """The browsers that are signed in as who is calling."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/me/sessions"

    def list(self) -> builtins.list[OpenSession]:
        return list(self._client.pages(OpenSession, self._path))

    def end(self, session_id: str) -> None:
        self._client.request("DELETE", f"{self._path}/{quote(session_id, safe='')}")
