"""IDEs: JupyterLabs that the server runs."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from tidegauge.client.connection import Connection, wait_for
from tidegauge.domain.ide import FRAMEWORK_VERSION, Framework, Ide, IdeRequest, IdeState
from tidegauge.errors import TidegaugeError


class Ides:
    """JupyterLabs that the server runs, each with a Code in its workspace."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/ides"

    def create(
        self,
        name: str,
        code: str,
        *,
        framework: Framework | str = Framework.TENSORFLOW,
        framework_version: str = FRAMEWORK_VERSION,
        image: str = "",
    ) -> Ide:
        """Make a JupyterLab with the newest version of a Code, and start it; ``wait`` tells when it runs.

        Args:
            name: of the IDE.
            code: the Code that is put into ``workspace/<code>``.
            framework: tensorflow or none; kernels have what the server has.
            framework_version: as 2.21, for commands that start it elsewhere.
            image: a container image, for machines with Docker.
        """
        body = IdeRequest(name, code, Framework(framework), framework_version, image)
        return self._client.read(Ide, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[Ide]:
        """List your IDEs; an operator sees everybody's."""
        return list(self._client.pages(Ide, self._path, q))

    def get(self, name_or_id: str) -> Ide:
        return self._client.read(Ide, "GET", self._at(name_or_id))

    def url(self, ide: Ide) -> str:
        """Return the address that opens it, for a browser in which its owner is signed in."""
        return f"{self._client.url}{ide.lab}"

    def start(self, name_or_id: str) -> Ide:
        return self._client.read(Ide, "POST", f"{self._at(name_or_id)}/start")

    def stop(self, name_or_id: str) -> Ide:
        """Stop it with its kernels; its files stay. An operator may stop anybody's, by its id."""
        return self._client.read(Ide, "POST", f"{self._at(name_or_id)}/stop")

    def wait(self, name_or_id: str, timeout: float = 180.0) -> Ide:
        """Wait until it runs; TidegaugeError when it fails or is stopped meanwhile."""
        found = wait_for(
            lambda: self.get(name_or_id),
            lambda ide: ide.state is not IdeState.STARTING,
            f"The IDE {name_or_id}",
            timeout,
        )
        if found.state is not IdeState.RUNNING:
            raise TidegaugeError(f"The IDE {found.name!r} is {found.state.value}. {found.message}".strip())
        return found

    def log(self, name_or_id: str) -> str:
        """Return the end of what its JupyterLab has written."""
        return self._client.request("GET", f"{self._at(name_or_id)}/log").text

    def delete(self, name_or_id: str) -> None:
        """Stop it, and delete it with the files of its workspace."""
        self._client.request("DELETE", self._at(name_or_id))

    def _at(self, name_or_id: str) -> str:
        return f"{self._path}/{quote(name_or_id, safe='')}"
