"""Who may send this server where: operators into private networks, others only where it is set so."""

from __future__ import annotations

from tidegauge.domain.users import Role
from tidegauge.links.addresses import Gate, Resolve, resolve
from tidegauge.storage.database import Database


class Gates:
    """The gate of each person, by their role as it is now."""

    def __init__(
        self, database: Database, *, allow_private: bool = False, resolve: Resolve = resolve
    ) -> None:
        """``allow_private`` is the setting ``allow_private_urls``."""
        self._database = database
        self._allow_private = allow_private
        self._resolve = resolve

    def of(self, owner: str) -> Gate:
        """Return the gate of the user with this name; who is unknown is no operator."""
        user = self._database.users.find(name=owner)
        return self.for_role(is_operator=user is not None and user.role is Role.OPERATOR)

    def for_role(self, *, is_operator: bool) -> Gate:
        return Gate(is_operator or self._allow_private, self._resolve)
