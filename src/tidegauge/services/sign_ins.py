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
        user, stored = self._own(name, password, address)
        return self._begin(user, Means.PASSWORD, address, agent, password=stored)

    def by_token(self, secret: str, address: str, agent: str) -> tuple[Session, str]:
        """Sign in whoever has a token; the session may do what the token may, and ends with it."""
        caller = self._people.authenticate(secret, address)
        if caller.token is None or caller.scope not in (Scope.READ, Scope.WRITE):
            raise ForbiddenError(
                f"This token is good only for {caller.scope.value}; use another one, or name and password."
            )
        return self._begin(caller.user, Means.TOKEN, address, agent, token=caller.token)

    def by_provider(self, user: User, address: str, agent: str) -> tuple[Session, str]:
        """Sign in a user whom a provider has recognised."""
        return self._begin(user, Means.PROVIDER, address, agent)

    def check(self, name: str, password: str, address: str) -> User:
        """Return the user that has this name and password; raises as ``by_password`` does."""
        return self._own(name, password, address)[0]

    def choose(
        self, name: str, password: str, chosen: str, address: str, keep: Session | None = None
    ) -> User:
        """Replace a password, one-time or not, by one that the user chose; sessions end, but for ``keep``."""
        user, stored = self._verified(name, password, address)
        if stored.temporary and self._now() > stored.changed_at + INVITATION:
            raise ForbiddenError("This password is too old; ask an operator for another one.")
        if normal(chosen) == normal(password):
            raise InvalidInputError.of("chosen", "chosen is the password that you had; choose another one.")
        self._replace(user, stored, chosen, keep)
        return user

    def change(self, caller: Principal, password: str, chosen: str, address: str) -> None:
        """Let somebody who is signed in choose a password; whoever has one has to know it.

        Ends their other sessions. Raises ForbiddenError for a first password by a token that ends.
        """
        try:
            if self._database.passwords.find(id=caller.user.id) is None:
                if caller.token and caller.token.expires_at:  # or the token would get one without end
                    raise ForbiddenError(
                        "This token ends, so it chooses no password, which does not; sign in with one that "
                        "does not end, or ask an operator for a one-time password."
                    )
                self._replace(caller.user, None, chosen, caller.session)
            else:
                self.choose(caller.name, password, chosen, address, caller.session)
        except NotSignedInError as error:
            raise InvalidInputError.of("password", "password is not the one that you have now.") from error

    def set_password(self, user: User, password: str, *, temporary: bool = False) -> None:
        """Store a password of a user, whichever they had, and end their sessions."""
        self._store(Password(user.id, self._passwords.hash(password), self._now(), temporary))

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

    def _own(self, name: str, password: str, address: str) -> tuple[User, Password]:
        """Return as ``_verified`` does; OneTimePasswordError where another has to be chosen first."""
        user, stored = self._verified(name, password, address)
        if stored.temporary:
            raise OneTimePasswordError(
                "This password is good once, to choose one of your own; do that first."
            )
        return user, stored

    def _replace(self, user: User, before: Password | None, chosen: str, keep: Session | None) -> None:
        """Store what a user chose in the place of the password that they showed, or of none."""
        hashed = self._passwords.hash(check_password(chosen, user.name, "chosen"))
        with self._database.transaction():
            self._lock(user)
            self._check_same(user, before)
            self._store(Password(user.id, hashed, self._now(), temporary=False), keep)

    def _store(self, password: Password, keep: Session | None = None) -> None:
        """Store a password, and end what was signed in by the one before."""
        with self._database.transaction():
            self._database.users.lock(password.id)  # who is signing in by the one before is done, or refused
            if not self._database.passwords.update(
                password.id, hash=password.hash, changed_at=password.changed_at, temporary=password.temporary
            ):
                self._database.passwords.add(password)
            for session in self._database.sessions.where(user_id=password.id):
                if keep is None or session.id != keep.id:
                    self._database.sessions.delete(session.id)

    def _lock(self, user: User) -> None:
        """Let nobody disable a user or replace their password until this transaction ends.

        Raises NotSignedInError for one who is deleted, ForbiddenError for one who is disabled meanwhile.
        """
        self._database.users.lock(user.id)
        found = self._database.users.find(id=user.id)
        if found is None:
            raise NotSignedInError(_WRONG)
        _check_enabled(found)

    def _check_same(self, user: User, before: Password | None) -> None:
        """Raise NotSignedInError where the password was replaced; to hash it anew leaves it the same."""
        stored = self._database.passwords.find(id=user.id)
        if (stored and stored.changed_at) != (before and before.changed_at):
            raise NotSignedInError("The password was replaced just now; sign in with the new one.")

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
        _check_enabled(user)
        if self._passwords.is_outdated(stored.hash):
            self._database.passwords.update(
                user.id, {"hash": stored.hash}, hash=self._passwords.hash(password)
            )
        return user, stored

    def _begin(
        self,
        user: User,
        means: Means,
        address: str,
        agent: str,
        *,
        token: Token | None = None,
        password: Password | None = None,
    ) -> tuple[Session, str]:
        """Begin a session, by a password or a token that has been checked: it may have gone meanwhile."""
        now = self._now()
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
        with self._database.transaction():
            self._lock(user)
            if password is not None:
                self._check_same(user, password)
            for old in self._database.sessions.where(user_id=user.id):
                if self._people.is_ended(old):
                    self._database.sessions.delete(old.id)
            self._database.sessions.add(session)
        return session, secret


def _check_enabled(user: User) -> None:
    if user.disabled_at:
        raise ForbiddenError(f"The user {user.name!r} is disabled; ask an operator of this cluster.")


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
