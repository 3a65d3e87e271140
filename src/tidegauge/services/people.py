"""Users and tokens: who is calling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from tidegauge.domain.identity import check_name, new_id
from tidegauge.domain.users import (
    IngestToken,
    Principal,
    Role,
    Scope,
    Token,
    User,
    hash_secret,
    new_secret,
)
from tidegauge.errors import (
    ConflictError,
    FieldError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
)
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query

OPERATOR = "operator"
#: Names the token that a model server of ours reports with; each of its starts issues another.
LOG_TOKEN = "inference log"  # noqa: S105 - a name, no secret
_LONGEST = 100  # characters of the name that a person gives a token


@dataclass(frozen=True)
class Person:
    """A user, and how much is theirs."""

    user: User
    tokens: int
    monitors: int


class People:
    """Creates users and tokens and recognises the caller by the token's hash."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def first_start(self) -> str | None:
        """Create the operator of an empty installation and return its token, once; later None."""
        if self._database.users.find() is not None:
            return None
        operator = User(new_id(), OPERATOR, Role.OPERATOR, self._now())
        self._database.users.add(operator)
        return self.issue(operator, "first start")[1]

    def issue_for(self, user_name: str, name: str) -> str:
        """Issue a token of full scope for the user with this name; return its secret."""
        user = self._database.users.find(name=user_name)
        if user is None:
            raise NotFoundError(
                f"There is no user {user_name!r}; start the server once to create the operator."
            )
        return self.issue(user, name)[1]

    def issue(self, user: User, name: str, scope: Scope = Scope.ALL, subject: str = "") -> tuple[Token, str]:
        """Issue a token; the secret is returned here and never again."""
        secret = new_secret()
        token = Token(new_id(), user.id, name, scope, subject, hash_secret(secret), self._now())
        return self._database.tokens.add(token), secret

    def issue_named(self, user: User, name: str) -> tuple[Token, str]:
        """Issue a token of full scope under a name that a person gives it."""
        return self.issue(user, _checked(name))

    def issue_ingest(self, user: User, deployment_id: str, name: str) -> IngestToken:
        """Issue a token that reports events of a deployment, under a name that a person gives it."""
        name = _checked(name)
        if name == LOG_TOKEN:
            message = f"name is {name!r}, as the token of a model server is called; choose another name."
            raise InvalidInputError.of("name", message)
        if self._database.tokens.find(scope=Scope.INGEST, subject=deployment_id, name=name):
            message = f"There is a token {name!r} of this deployment already; choose another name."
            raise ConflictError(message, (FieldError("name", message),))
        token, secret = self.issue(user, name, Scope.INGEST, deployment_id)
        return replace(_shown(token), secret=secret)

    def ingest_tokens(self, deployment_id: str, query: Query) -> Page[IngestToken]:
        """List the tokens that report events of a deployment."""
        found = self._database.tokens.page(query, scope=Scope.INGEST, subject=deployment_id)
        return Page(tuple(map(_shown, found.items)), found.cursor)

    def ingest_token(self, deployment_id: str, name_or_id: str) -> IngestToken:
        """Return a token that reports events of a deployment."""
        found = self._database.tokens.find_by(
            name_or_id, "id", "name", scope=Scope.INGEST, subject=deployment_id
        )
        if found is None:
            raise NotFoundError(f"The deployment has no token {name_or_id!r}.")
        return _shown(found)

    def users(self, query: Query) -> Page[Person]:
        """List the users, for the operator."""
        found = self._database.users.page(query)
        tokens, monitors = self._database.tokens.tally("user_id"), self._database.monitors.tally("owner")
        people = (
            Person(user, tokens.get((user.id,), 0), monitors.get((user.name,), 0)) for user in found.items
        )
        return Page(tuple(people), found.cursor)

    def tokens(self, user: User, query: Query) -> Page[Token]:
        """List the tokens of a user, those for reporting events included."""
        return self._database.tokens.page(query, user_id=user.id)

    def token(self, user: User, token_id: str) -> Token:
        """Return a token of a user; somebody else's is not found."""
        return self._database.tokens.get(token_id, user_id=user.id)

    def owner(self, name: str) -> User:
        """Return the user that owns something."""
        user = self._database.users.find(name=check_name(name))
        if user is None:
            raise NotFoundError(f"There is no user {name!r}.")
        return user

    def revoke(self, token_id: str) -> None:
        self._database.tokens.delete(token_id)

    def revoke_own(self, user: User, token_id: str) -> None:
        """Revoke a token of a user; somebody else's is not found."""
        self.revoke(self.token(user, token_id).id)

    def revoke_ingest(self, deployment_id: str, name: str = "") -> None:
        """Revoke every token that reports for this deployment, or those with a name."""
        which = {"name": name} if name else {}
        self._database.tokens.delete_where(scope=Scope.INGEST, subject=deployment_id, **which)

    def revoke_named(self, name: str) -> None:
        """Revoke every token with this name."""
        for token in self._database.tokens.where(name=name):
            self._database.tokens.delete(token.id)

    def authenticate(self, secret: str) -> Principal:
        """Return the caller, or raise NotSignedInError."""
        token = self._database.tokens.find(hash=hash_secret(secret)) if secret else None
        user = self._database.users.find(id=token.user_id) if token else None
        if token is None or user is None:
            raise NotSignedInError(
                "The token is missing or not valid; send the header 'Authorization: Bearer <token>' "
                "(make a new one with: tidegauge token)."
            )
        return Principal(user, token)


def _checked(name: str) -> str:
    name = name.strip()
    if not name:
        raise InvalidInputError.of("name", "name is empty; say what the token is for.")
    if len(name) > _LONGEST or not name.isprintable():
        raise InvalidInputError.of(
            "name", f"name has to be at most {_LONGEST} printable characters; give a shorter one."
        )
    return name


def _shown(token: Token) -> IngestToken:
    return IngestToken(token.id, token.name, token.created_at)
