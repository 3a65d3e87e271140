"""Sharing what is one's own."""

from __future__ import annotations

from typing import Generic, TypeVar

from tidegauge.client.connection import Connection

T = TypeVar("T")


class Sharing(Generic[T]):
    """Things of a kind, which their owner may share for everybody to read."""

    _client: Connection
    _kind: type[T]

    def share(self, name_or_id: str) -> T:
        """Let everybody read it; nobody but its owner changes it."""
        return self._client.read(self._kind, "POST", f"{self._at(name_or_id)}/share")

    def unshare(self, name_or_id: str) -> T:
        """Let nobody but its owner see it."""
        return self._client.read(self._kind, "POST", f"{self._at(name_or_id)}/unshare")

    def _at(self, name_or_id: str) -> str:
        raise NotImplementedError
