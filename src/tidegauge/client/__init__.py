"""The SDK: everything that the pages do, over HTTP.

>>> client = Client("http://127.0.0.1:32222", "tg_...")
>>> client.url
'http://127.0.0.1:32222'
"""

from __future__ import annotations

from pathlib import Path

from tidegauge.client.audit import Audit
from tidegauge.client.channels import Channels
from tidegauge.client.clusters import Clusters
from tidegauge.client.connection import Connection, credentials_file, wait_for
from tidegauge.client.deployments import Deployments
from tidegauge.client.ides import Ides
from tidegauge.client.monitors import Monitors
from tidegauge.client.people import Sessions, Tokens, Users
from tidegauge.client.pipelines import Pipelines
from tidegauge.client.repositories import Repositories
from tidegauge.client.retrainings import Retrainings
from tidegauge.domain.cluster import ClusterStatus
from tidegauge.domain.users import AccessToken, User

__all__ = ["Client", "Repositories", "credentials_file", "wait_for"]


class Client(Connection):
    """A connection to one Tidegauge server.

    Without arguments: ``TIDEGAUGE_URL`` and ``TIDEGAUGE_TOKEN``, else what ``tidegauge login`` saved,
    else ``http://127.0.0.1:32222``. A saved token goes to the server that it was saved for, to no other.
    ``ca``, or ``TIDEGAUGE_CA``, is a file of certificates (PEM) to trust in place of the system's.
    Every call raises the classes of ``tidegauge.errors``.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout: float = 60.0,
        ca: str | Path | None = None,
    ) -> None:
        super().__init__(url, token, timeout, ca)
        self.code = Repositories(self, "code")
        self.datasets = Repositories(self, "datasets")
        self.models = Repositories(self, "models")
        self.pipelines = Pipelines(self)
        self.deployments = Deployments(self)
        self.ides = Ides(self)
        self.monitors = Monitors(self)
        self.retrainings = Retrainings(self)
        self.channels = Channels(self)
        self.audit = Audit(self)
        self.clusters = Clusters(self)
        self.users = Users(self)
        self.tokens = Tokens(self)
        self.sessions = Sessions(self)

    def me(self) -> User:
        """Return whose token this is."""
        return self.read(User, "GET", "/api/v1/me")

    def status(self) -> ClusterStatus:
        """Return what the cluster is there for, and what rests there."""
        return self.read(ClusterStatus, "GET", "/api/v1/status")

    def sign_in(
        self,
        name: str,
        password: str,
        *,
        chosen: str = "",
        token_name: str = "sign-in",  # noqa: S107
    ) -> AccessToken:
        """Make a token of the user with this name and password; ``chosen`` replaces a one-time password."""
        body = {"name": name, "password": password, "chosen": chosen, "token_name": token_name}
        return self.read(AccessToken, "POST", "/api/v1/sign-in", body)

    def change_password(self, chosen: str, password: str = "") -> None:
        """Choose another password; ``password`` is the one before, if there is one."""
        self.request("PUT", "/api/v1/me/password", json={"chosen": chosen, "password": password})
