"""Channels, where alerts are told."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tidegauge.client.connection import Connection, decode
from tidegauge.domain.channel import Channel, Delivery, Setting


class Channels:
    """Channels, where alerts are told."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/channels"

    def create(
        self, name: str, kind: str, settings: Mapping[str, Setting] | None = None, secret: str = ""
    ) -> Channel:
        """Make a channel: mail, webhook, slack or alertmanager; docs/alerts.md lists their settings."""
        body = {"name": name, "kind": kind, "settings": settings or {}, "secret": secret}
        return self._client.read(Channel, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[Channel]:
        return list(self._client.pages(Channel, self._path, q))

    def get(self, name_or_id: str) -> Channel:
        return decode(Channel, self.detail(name_or_id)["channel"])

    def detail(self, name_or_id: str) -> dict[str, Any]:
        """Return the channel with the number of its deliveries by state and the alerts that use it."""
        return dict(self._client.json("GET", self._at(name_or_id)))

    def change(
        self, name_or_id: str, settings: Mapping[str, Setting | None] | None = None, secret: str | None = None
    ) -> Channel:
        """Change settings (None: back to the default) and the secret; the rest stays as it is."""
        body = {"settings": settings or {}, "secret": secret}
        return self._client.read(Channel, "PATCH", self._at(name_or_id), body)

    def delete(self, name_or_id: str) -> None:
        self._client.request("DELETE", self._at(name_or_id))

    def test(self, name_or_id: str) -> Delivery:
        """Send a test now; UnavailableError, with the reason, where it does not get through."""
        return self._client.read(Delivery, "POST", f"{self._at(name_or_id)}/test")

    def deliveries(self, name_or_id: str) -> builtins.list[Delivery]:
        """Return what was to be told, newest first."""
        return list(self._client.pages(Delivery, f"{self._at(name_or_id)}/deliveries"))

    def _at(self, name_or_id: str) -> str:
        return f"{self._path}/{quote(name_or_id, safe='')}"
