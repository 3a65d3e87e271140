"""Signing in, and the sessions that come of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from tidegauge.domain.identity import new_id
from tidegauge.domain.users import (
    INVITATION,
    SESSION_PREFIX,
    Means,
    OpenSession,
    Password,
    Principal,
    Scope,
    Session,
    Token,
    User,
    check_password,
    hash_secret,
    new_secret,
    normal,
)
from tidegauge.errors import ForbiddenError, InvalidInputError, NotFoundError, NotSignedInError
from tidegauge.services.lockout import Lockout
from tidegauge.services.passwords import Passwords
from tidegauge.services.people import People
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query

_AGENT = 200  # characters of what a browser says of itself
_WRONG = "The name or the password is wrong."


class OneTimePasswordError(ForbiddenError):
    """The password was given by an operator and is good for nothing but to choose another."""


class SignIns:
    """Signs people in and ends their sessions.

    Args:
        database: of the cluster.
        people: who recognises the sessions.
        passwords: hashes and checks.
        lasts: how long a session lasts, however much it is used.
        now: tells the time.
    """

    def __init__(
        self,
        database: Database,
        people: People,
        passwords: Passwords,
        lasts: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._people = people
        self._passwords = passwords
        self._lasts = lasts
        self._now = now
        self._lockout = Lockout(database, now)

    def by_password(self, name: str, password: str, address: str, agent: str) -> tuple[Session, str]:
        """Sign in somebody; return the session and its secret, told once.

        Raises NotSignedInError, TooManyError after too many failures, OneTimePasswordError where another
        password has to be chosen first.
        """
        return self._begin(self.check(name, password, address), Means.PASSWORD, address, agent)

    def by_token(self, secret: str, address: str, agent: str) -> tuple[Session, str]:
        """Sign in whoever has a token; the session may do what the token may, and ends with it."""
        caller = self._people.authenticate(secret, address)
        if caller.token is None or caller.scope not in (Scope.READ, Scope.WRITE):
            raise ForbiddenError(
                f"This token is good only for {caller.scope.value}; use another one, or name and password."
            )
        return self._begin(caller.user, Means.TOKEN, address, agent, caller.token)

    def by_provider(self, user: User, address: str, agent: str) -> tuple[Session, str]:
        """Sign in a user whom a provider has recognised."""
        return self._begin(user, Means.PROVIDER, address, agent)

    def check(self, name: str, password: str, address: str) -> User:
        """Return the user that has this name and password; raises as ``by_password`` does."""
        user, stored = self._verified(name, password, address)
        if stored.temporary:
            raise OneTimePasswordError(
                "This password is good once, to choose one of your own; do that first."
            )
        return user

    def choose(self, name: str, password: str, chosen: str, address: str) -> User:
        """Replace a password, one-time or not, by one that the user chose."""
        user, stored = self._verified(name, password, address)
        if stored.temporary and self._now() > stored.changed_at + INVITATION:
            raise ForbiddenError("This password is too old; ask an operator for another one.")
        if normal(chosen) == normal(password):
            raise InvalidInputError.of("chosen", "chosen is the password that you had; choose another one.")
        self.set_password(user, check_password(chosen, user.name, "chosen"))
        return user

    def change(self, caller: Principal, password: str, chosen: str, address: str) -> None:
        """Let somebody who is signed in choose a password; whoever has one has to know it.

        Ends their other sessions.
        """
        if self._database.passwords.find(id=caller.user.id) is None:
            self.set_password(caller.user, check_password(chosen, caller.name, "chosen"))
        else:
            try:
                self.choose(caller.name, password, chosen, address)
            except NotSignedInError as error:
                raise InvalidInputError.of(
                    "password", "password is not the one that you have now."
                ) from error
        self._end_others(caller)

    def set_password(self, user: User, password: str, *, temporary: bool = False) -> None:
        """Store a password of a user, and end what was signed in by the one before."""
        stored = Password(user.id, self._passwords.hash(password), self._now(), temporary)
        with self._database.transaction():
            if not self._database.passwords.update(
                user.id, hash=stored.hash, changed_at=stored.changed_at, temporary=temporary
            ):
                self._database.passwords.add(stored)

    def has_password(self, user: User) -> bool:
        """Tell whether a user can sign in by a password of their own choice."""
        stored = self._database.passwords.find(id=user.id)
        return stored is not None and not stored.temporary

    def sessions(self, user: User, query: Query, caller: Principal | None = None) -> Page[OpenSession]:
        """List the sessions of a user that have not ended."""
        found = self._database.sessions.page(query, user_id=user.id)
        current = caller.session.id if caller and caller.session else ""
        shown = (_shown(one, current) for one in found.items if not self._people.is_ended(one))
        return Page(tuple(shown), found.cursor)

    def end(self, user: User, session_id: str) -> None:
        """End a session of a user; somebody else's is not found."""
        if not self._database.sessions.delete_where(id=session_id, user_id=user.id):
            raise NotFoundError(f"There is no session {session_id!r} of {user.name}.")

    def end_all(self, user: User) -> int:
        """End every session of a user; return how many there were."""
        return self._database.sessions.delete_where(user_id=user.id)

    def _end_others(self, caller: Principal) -> None:
        mine = caller.session.id if caller.session else ""
        for session in self._database.sessions.where(user_id=caller.user.id):
            if session.id != mine:
                self._database.sessions.delete(session.id)

    def _verified(self, name: str, password: str, address: str) -> tuple[User, Password]:
        """Return the user with this name and password, and what is stored of it.

        Whether there is such a user does not show, neither in words nor in time.
        """
        name, password = normal(name).strip(), normal(password)
        self._lockout.begin_sign_in(name, address)
        user = self._database.users.find(name=name)
        stored = self._database.passwords.find(id=user.id) if user else None
        right = self._passwords.check(stored.hash if stored else None, password)
        if user is None or stored is None or not right:
            raise NotSignedInError(_WRONG)
        self._lockout.succeed(name, address)
        if user.disabled_at:
            raise ForbiddenError(f"The user {name!r} is disabled; ask an operator of this cluster.")
        if self._passwords.is_outdated(stored.hash):
            self._database.passwords.update(
                user.id, {"hash": stored.hash}, hash=self._passwords.hash(password)
            )
        return user, stored

    def _begin(
        self, user: User, means: Means, address: str, agent: str, token: Token | None = None
    ) -> tuple[Session, str]:
        now = self._now()
        for old in self._database.sessions.where(user_id=user.id):
            if self._people.is_ended(old):
                self._database.sessions.delete(old.id)
        secret = new_secret(SESSION_PREFIX)
        told = "".join(c for c in agent if c.isprintable())[:_AGENT]
        session = Session(
            new_id(),
            user.id,
            hash_secret(secret),
            means,
            token.id if token else None,
            address,
            told,
            now,
            now,
            now + self._lasts,
        )
        return self._database.sessions.add(session), secret


def _shown(session: Session, current: str) -> OpenSession:
    return OpenSession(
        session.id,
        session.means,
        session.address,
        session.agent,
        session.created_at,
        session.seen_at,
        session.expires_at,
        session.id == current,
    )
