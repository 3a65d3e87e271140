"""People, and the tokens and sessions they act with."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tidegauge.errors import InvalidInputError

TOKEN_PREFIX = "tg_"  # noqa: S105 - no secret
SESSION_PREFIX = "tgs_"
LEAST_PASSWORD, MOST_PASSWORD = 12, 1000  # characters
INVITATION = timedelta(days=7)  # that a one-time password is good for


class Role(StrEnum):
    """What a person may do: a user has own things, an operator looks after the cluster."""

    USER = "user"
    OPERATOR = "operator"


class Scope(StrEnum):
    """What a token is good for."""

    READ = "read"  # look at what its user may see, change nothing
    WRITE = "write"  # everything that its user may do
    INGEST = "ingest"  # report events of one deployment, nothing else
    LINK = "link"  # what a monitoring cluster reads of a serving cluster, nothing else


class Means(StrEnum):
    """How somebody signed in."""

    PASSWORD = "password"  # noqa: S105 - no secret
    TOKEN = "token"  # noqa: S105 - no secret
    PROVIDER = "provider"  # single sign-on


@dataclass(frozen=True)
class User:
    id: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None = None

    @property
    def is_operator(self) -> bool:
        return self.role is Role.OPERATOR


@dataclass(frozen=True)
class FormerUser:
    """A user who was deleted; nobody is given the name again."""

    id: str
    name: str
    deleted_at: datetime


@dataclass(frozen=True)
class Password:
    """The stored password of a user; only its hash by argon2id is kept.

    A ``temporary`` one, which an operator gave, is good once, to choose another, for ``INVITATION``.
    """

    id: str  # of the user
    hash: str
    changed_at: datetime
    temporary: bool


@dataclass(frozen=True)
class Token:
    """A stored token: only the hash of the secret is kept."""

    id: str
    user_id: str
    name: str
    scope: Scope
    subject: str  # the id of an ingest token's deployment, or of the IDE that acts with it, else empty
    hash: str
    created_at: datetime
    expires_at: datetime | None = None
    used_at: datetime | None = None  # to the minute


@dataclass(frozen=True)
class AccessToken:
    """A token as people see it; its ``secret`` is told once, when it is made."""

    id: str
    name: str
    created_at: datetime
    scope: Scope = Scope.INGEST
    subject: str = ""
    expires_at: datetime | None = None
    used_at: datetime | None = None
    expired: bool = False
    secret: str = ""


@dataclass(frozen=True)
class Session:
    """A browser that is signed in: only the hash of its secret is kept."""

    id: str
    user_id: str
    hash: str
    means: Means
    token_id: str | None  # that it was signed in with, and ends with
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime  # to the minute
    expires_at: datetime


@dataclass(frozen=True)
class OpenSession:
    """A session as people see it; ``current`` is that of who asks."""

    id: str
    means: Means
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    current: bool = False


@dataclass(frozen=True)
class Invitation:
    """What an operator hands to a person: a one-time password, told once."""

    user: User
    password: str
    expires_at: datetime


@dataclass(frozen=True)
class Person:
    """A user, and how much is theirs."""

    user: User
    tokens: int
    monitors: int
    sessions: int
    password: str  # own, one-time or none


def new_secret(prefix: str = TOKEN_PREFIX) -> str:
    """Return a fresh secret of 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def new_password() -> str:
    """Return a fresh one-time password of 96 random bits."""
    return secrets.token_urlsafe(12)


def hash_secret(secret: str) -> str:
    """Hash a secret for storage; its 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def normal(password: str) -> str:
    r"""Return a password as every keyboard writes it.

    >>> normal("u\u0308") == "\u00fc"
    True
    """
    # JSON can hold halves of characters, which nothing else can.
    return unicodedata.normalize("NFKC", password.encode("utf-8", "replace").decode())


def check_password(password: str, name: str, field: str = "password") -> str:
    """Return a password that somebody chose, as ``normal`` has it.

    Raises InvalidInputError, which never repeats the password.

    >>> check_password("tide and moon", "ada")
    'tide and moon'
    """
    password = normal(password)
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise InvalidInputError.of(
            field,
            f"{field} has {len(password)} characters; choose one of {LEAST_PASSWORD} to {MOST_PASSWORD}, "
            "such as a few words.",
        )
    if len(set(password)) < 5 or name in password.casefold():
        raise InvalidInputError.of(
            field,
            f"{field} is easy to guess; choose one without the name and with more different characters.",
        )
    return password


@dataclass(frozen=True)
class Principal:
    """Who is calling, and what they call with: a token, or a session, which a token may have begun."""

    user: User
    token: Token | None = None
    session: Session | None = None
    reading: bool = False  # by a request that changes nothing

    @property
    def name(self) -> str:
        return self.user.name

    @property
    def is_operator(self) -> bool:
        return self.user.is_operator

    @property
    def scope(self) -> Scope:
        return self.token.scope if self.token else Scope.WRITE

    @property
    def token_id(self) -> str:
        return self.token.id if self.token else ""

    @property
    def token_name(self) -> str:
        return self.token.name if self.token else ""

    def may_ingest(self, deployment_id: str, owner: str) -> bool:
        """Tell whether this caller may report events of the deployment, which ``owner`` has."""
        if self.scope is Scope.INGEST:
            return self.token is not None and self.token.subject == deployment_id
        return self.scope is Scope.WRITE and (self.is_operator or self.user.name == owner)
