"""Who may use the JupyterLab of an IDE; a module of its own, since JupyterLab imports it by its name."""

from __future__ import annotations

import hmac
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, User


class OwnersOnly(IdentityProvider):  # type: ignore[misc]  # it has no types
    """Lets in whoever shows the secret in a header, which the proxy adds for the owner alone.

    Not Jupyter's own token: that would be in each page and in a cookie, and it turns off Jupyter's looks at
    where a request comes from.
    """

    secret = ""
    owner = ""
    token = ""

    def get_user(self, handler: Any) -> User | None:
        """Return the owner where the request shows the secret."""
        shown = handler.request.headers.get("Authorization", "")
        expected = f"token {self.secret}"
        return User(self.owner) if hmac.compare_digest(shown.encode(), expected.encode()) else None

    @property
    def login_available(self) -> bool:
        return False

    @property
    def logout_available(self) -> bool:
        return False
