"""Users and tokens: who is calling."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from tidegauge.domain.identity import check_name, new_id
from tidegauge.domain.users import (
    SESSION_PREFIX,
    AccessToken,
    Principal,
    Role,
    Scope,
    Session,
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
from tidegauge.services.auditing import Auditing
from tidegauge.services.lockout import Lockout
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query

_log = logging.getLogger(__name__)

OPERATOR = "operator"
#: Names the token that a model server of ours reports with; each of its starts issues another.
LOG_TOKEN = "inference log"  # noqa: S105 - a name, no secret
_LONGEST = 100  # characters of the name that a person gives a token
_MOST_DAYS = 3650  # that a token may be good for
_SEEN = timedelta(minutes=1)  # between two notes that a token or a session was used
_INVALID = (
    "The token is missing or not valid; send the header 'Authorization: Bearer <token>' "
    "(make a new one with: tidegauge token)."
)


class People:
    """Creates users and tokens and recognises the caller by the hash of a token's or a session's secret."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], session_idle: timedelta = timedelta(days=1)
    ) -> None:
        """``session_idle`` is how long a session lasts that nobody uses."""
        self._database = database
        self._now = now
        self._idle = session_idle
        self._lockout = Lockout(database, now)
        self._auditing = Auditing(database, now)

    def first_start(self) -> str | None:
        """Create the operator of an empty installation and return its token, once; later None."""
        if self._database.users.find() is not None:
            return None
        operator = User(new_id(), OPERATOR, Role.OPERATOR, self._now())
        try:
            self._database.users.add(operator)
        except ConflictError:  # of two servers that start on one database the other was faster
            return None
        self._auditing.note_command("first start", operator.name)
        return self.issue(operator, "first start")[1]

    def issue_for(self, user_name: str, name: str) -> str:
        """Issue a token of full scope for the user with this name; return its secret."""
        user = self._database.users.find(name=user_name)
        if user is None:
            raise NotFoundError(
                f"There is no user {user_name!r}; start the server once to create the operator."
            )
        if user.disabled_at:
            raise ConflictError(f"The user {user_name!r} is disabled; an operator has to enable it first.")
        self._auditing.note_command("tidegauge token", f"{user_name}: {name}")
        return self.issue(user, name)[1]

    def issue(
        self,
        user: User,
        name: str,
        scope: Scope = Scope.WRITE,
        subject: str = "",
        expires_at: datetime | None = None,
    ) -> tuple[Token, str]:
        """Issue a token; the secret is returned here and never again."""
        secret = new_secret()
        token = Token(
            new_id(), user.id, name, scope, subject, hash_secret(secret), self._now(), expires_at=expires_at
        )
        return self._database.tokens.add(token), secret

    def issue_named(
        self,
        user: User,
        name: str,
        scope: Scope = Scope.WRITE,
        days: int | None = None,
        by: Token | None = None,
    ) -> AccessToken:
        """Issue a token under a name that a person gives it, good for so many days or until it is revoked.

        One that is asked for ``by`` another token lasts no longer than that.
        """
        if scope is Scope.INGEST:
            raise InvalidInputError.of(
                "deployment", "deployment is missing; a token of the scope ingest is for one deployment."
            )
        token, secret = self.issue(user, _checked(name), scope, expires_at=self._end(days, by))
        return replace(self._shown(token), secret=secret)

    def _end(self, days: int | None, by: Token | None = None) -> datetime | None:
        if days is not None and not 1 <= days <= _MOST_DAYS:
            raise InvalidInputError.of(
                "days", f"days is {days}; give 1 to {_MOST_DAYS:,}, or nothing for no end."
            )
        ends = [self._now() + timedelta(days=days)] if days is not None else []
        if by is not None and by.expires_at is not None:
            ends.append(by.expires_at)
        return min(ends, default=None)

    def issue_ingest(
        self, user: User, deployment_id: str, name: str, days: int | None = None, by: Token | None = None
    ) -> AccessToken:
        """Issue a token that reports events of a deployment, under a name that a person gives it."""
        name = _checked(name)
        if name == LOG_TOKEN:
            message = f"name is {name!r}, as the token of a model server is called; choose another name."
            raise InvalidInputError.of("name", message)
        end = self._end(days, by)
        with self._database.transaction():
            self._database.deployments.lock(deployment_id)  # who issues another of this name waits here
            if self._database.tokens.find(scope=Scope.INGEST, subject=deployment_id, name=name):
                message = f"There is a token {name!r} of this deployment already; choose another name."
                raise ConflictError(message, (FieldError("name", message),))
            token, secret = self.issue(user, name, Scope.INGEST, deployment_id, end)
        return replace(self._shown(token), secret=secret)

    def ingest_tokens(self, deployment_id: str, query: Query) -> Page[AccessToken]:
        """List the tokens that report events of a deployment."""
        found = self._database.tokens.page(query, scope=Scope.INGEST, subject=deployment_id)
        return Page(tuple(map(self._shown, found.items)), found.cursor)

    def ingest_token(self, deployment_id: str, name_or_id: str) -> AccessToken:
        """Return a token that reports events of a deployment."""
        found = self._database.tokens.find_by(
            name_or_id, "id", "name", scope=Scope.INGEST, subject=deployment_id
        )
        if found is None:
            raise NotFoundError(f"The deployment has no token {name_or_id!r}.")
        return self._shown(found)

    def tokens(self, user: User, query: Query) -> Page[AccessToken]:
        """List the tokens of a user, those for reporting events included."""
        found = self._database.tokens.page(query, user_id=user.id)
        return Page(tuple(map(self._shown, found.items)), found.cursor)

    def token(self, user: User, name_or_id: str) -> AccessToken:
        """Return a token of a user by id, or by a name that one has; others' are not found."""
        found = self._database.tokens.where(id=name_or_id, user_id=user.id)
        found = found or self._database.tokens.where(name=name_or_id, user_id=user.id, limit=2)
        if not found:
            raise NotFoundError(f"You have no token {name_or_id!r}.")
        if len(found) > 1:
            raise ConflictError(f"You have several tokens {name_or_id!r}; name the one you mean by its id.")
        return self._shown(found[0])

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

    def revoke_ide(self, ide_id: str) -> None:
        """Revoke the token that the kernels of an IDE act with."""
        self._database.tokens.delete_where(scope=Scope.WRITE, subject=ide_id)

    def revoke_named(self, name: str) -> None:
        """Revoke every token with this name."""
        for token in self._database.tokens.where(name=name):
            self._database.tokens.delete(token.id)

    def authenticate(self, secret: str, address: str = "") -> Principal:
        """Return the caller by the secret of a token or of a session, or raise NotSignedInError.

        Raises TooManyError instead where too many wrong tokens came from this address.
        """
        caller = self._of_session(secret) if secret.startswith(SESSION_PREFIX) else self._of_token(secret)
        if caller is None:
            if secret and address and not secret.startswith(SESSION_PREFIX):
                self._lockout.fail_token(address)
            raise NotSignedInError(_INVALID)
        return caller

    def _of_token(self, secret: str) -> Principal | None:
        token = self._database.tokens.find(hash=hash_secret(secret)) if secret else None
        user = self._user(token.user_id) if token and not self._is_over(token) else None
        if token is None or user is None:
            return None
        now = self._now()
        if token.used_at is None or token.used_at <= now - _SEEN:
            self._note(lambda: self._database.tokens.touch(token.id, "used_at", token.used_at, now))
        return Principal(user, token)

    def _of_session(self, secret: str) -> Principal | None:
        session = self._database.sessions.find(hash=hash_secret(secret))
        if session is None or self.is_ended(session):
            return None
        token = self._database.tokens.find(id=session.token_id) if session.token_id else None
        user = self._user(session.user_id)
        if user is None or (session.token_id and (token is None or self._is_over(token))):
            return None
        now = self._now()
        if session.seen_at <= now - _SEEN:
            self._note(lambda: self._database.sessions.touch(session.id, "seen_at", session.seen_at, now))
        return Principal(user, token, session)

    def is_ended(self, session: Session) -> bool:
        """Tell whether a session was unused too long, or has lasted as long as any may."""
        now = self._now()
        return now >= session.expires_at or now >= session.seen_at + self._idle

    def _shown(self, token: Token) -> AccessToken:
        return AccessToken(
            token.id,
            token.name,
            token.created_at,
            token.scope,
            token.subject,
            token.expires_at,
            token.used_at,
            self._is_over(token),
        )

    def _is_over(self, token: Token) -> bool:
        return token.expires_at is not None and self._now() >= token.expires_at

    def _user(self, id_: str) -> User | None:
        user = self._database.users.find(id=id_)
        return user if user and not user.disabled_at else None

    def _note(self, write: Callable[[], None]) -> None:
        """Write down that something was used; a database that only reads for a moment keeps nobody out."""
        try:
            write()
        except Exception:
            _log.warning("The use of a token or a session could not be written down", exc_info=True)


def _checked(name: str) -> str:
    name = name.strip()
    if not name:
        raise InvalidInputError.of("name", "name is empty; say what the token is for.")
    if len(name) > _LONGEST or not name.isprintable():
        raise InvalidInputError.of(
            "name", f"name has to be at most {_LONGEST} printable characters; give a shorter one."
        )
    return name
