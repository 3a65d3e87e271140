"""Links to serving clusters."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from tidegauge.client.connection import Connection
from tidegauge.domain.cluster_link import Exported, ShownLink


class Clusters:
    """Links from this, a monitoring cluster, to serving clusters; operators make them."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/clusters"

    def add(self, name: str, url: str, token: str, *, ca: str = "", fingerprint: str = "") -> ShownLink:
        """Link a serving cluster by its URL and a token of the scope link, which it issued.

        ``ca`` holds certificates (PEM text) to trust in place of the system's; ``fingerprint`` is the SHA-256
        of the only certificate to trust. It has to answer at once.
        """
        body = {"name": name, "url": url, "token": token, "ca": ca, "fingerprint": fingerprint}
        return self._client.read(ShownLink, "POST", self._path, body)

    def list(self) -> builtins.list[ShownLink]:
        return self._client.read(builtins.list[ShownLink], "GET", self._path)

    def get(self, name_or_id: str) -> ShownLink:
        return self._client.read(ShownLink, "GET", self._at(name_or_id))

    def check(self, name_or_id: str) -> ShownLink:
        """Look now whether it answers and takes the token."""
        return self._client.read(ShownLink, "POST", f"{self._at(name_or_id)}/check")

    def renew(self, name_or_id: str, token: str) -> ShownLink:
        """Give the link another token."""
        return self._client.read(ShownLink, "PUT", f"{self._at(name_or_id)}/token", {"token": token})

    def delete(self, name_or_id: str) -> None:
        self._client.request("DELETE", self._at(name_or_id))

    def deployments(self, name_or_id: str, namespace: str = "") -> builtins.list[Exported]:
        """List what can be imported over the link; ``namespace`` is a user of the serving cluster."""
        return self._client.read(
            builtins.list[Exported],
            "GET",
            f"{self._at(name_or_id)}/deployments",
            params={"namespace": namespace} if namespace else {},
        )

    def _at(self, name_or_id: str) -> str:
        return f"{self._path}/{quote(name_or_id, safe='')}"
