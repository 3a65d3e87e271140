"""People and the tokens they act with."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

_PREFIX = "tg_"


class Role(StrEnum):
    """What a person may do: a user has own things, an operator looks after the cluster."""

    USER = "user"
    OPERATOR = "operator"


class Scope(StrEnum):
    """What a token is good for."""

    ALL = "all"
    INGEST = "ingest"  # report events of one deployment, nothing else


@dataclass(frozen=True)
class User:
    id: str
    name: str
    role: Role
    created_at: datetime


@dataclass(frozen=True)
class Token:
    """A stored token: only the hash of the secret is kept."""

    id: str
    user_id: str
    name: str
    scope: Scope
    subject: str  # the deployment id of an ingest token, else empty
    hash: str
    created_at: datetime


@dataclass(frozen=True)
class IngestToken:
    """A token that reports events of one deployment; its ``secret`` is told once, when it is made."""

    id: str
    name: str
    created_at: datetime
    secret: str = ""


def new_secret() -> str:
    """Return a fresh token secret of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Hash a secret for storage; its 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Principal:
    """Who is calling, and what the token they call with is good for."""

    user: User
    token: Token

    @property
    def name(self) -> str:
        return self.user.name

    @property
    def is_operator(self) -> bool:
        return self.user.role is Role.OPERATOR

    def may_ingest(self, deployment_id: str, owner: str) -> bool:
        """Tell whether this token may report events of the deployment, which ``owner`` has."""
        if self.token.scope is Scope.INGEST:
            return self.token.subject == deployment_id
        return self.is_operator or self.user.name == owner
