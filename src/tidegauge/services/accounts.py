"""The accounts of a cluster, as its operators look after them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tidegauge.domain.identity import check_name, new_id
from tidegauge.domain.users import INVITATION, FormerUser, Invitation, Person, Role, Scope, User, new_password
from tidegauge.errors import ConflictError, FieldError, ForbiddenError, NotFoundError
from tidegauge.services.sign_ins import SignIns
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query, Rows


class Accounts:
    """Creates, changes and deletes users; there is always an operator who can sign in."""

    def __init__(self, database: Database, sign_ins: SignIns, now: Callable[[], datetime]) -> None:
        self._database = database
        self._sign_ins = sign_ins
        self._now = now
        #: What people own, by its name in sentences, and what tells things of one owner apart; deployments
        #: first, since what comes for an imported one waits for it.
        self._owned: tuple[tuple[str, Rows[Any], tuple[str, ...]], ...] = (
            ("deployments", database.deployments, ("name",)),
            ("code, datasets and models", database.repositories, ("kind", "name")),
            ("pipeline runs", database.pipeline_runs, ("id",)),
            ("monitors", database.monitors, ("name",)),
            ("channels", database.channels, ("name",)),
            ("IDEs", database.ides, ("name",)),
        )

    def page(self, query: Query) -> Page[Person]:
        """List the users."""
        found = self._database.users.page(query)
        tokens, monitors = self._database.tokens.tally("user_id"), self._database.monitors.tally("owner")
        sessions = self._database.sessions.tally("user_id")
        temporary = dict(self._database.passwords.columns("id", "temporary"))
        people = (
            Person(
                user,
                tokens.get((user.id,), 0),
                monitors.get((user.name,), 0),
                sessions.get((user.id,), 0),
                {None: "none", True: "one-time", False: "own"}[temporary.get(user.id)],
            )
            for user in found.items
        )
        return Page(tuple(people), found.cursor)

    def get(self, name_or_id: str) -> User:
        """Return a user by name or id."""
        found = self._database.users.find_by(name_or_id, "name", "id")
        if found is None:
            raise NotFoundError(f"There is no user {name_or_id!r}.")
        return found

    def create(self, name: str, role: Role = Role.USER) -> Invitation:
        """Create a user; the invitation has a one-time password, told here and never again.

        Raises ConflictError where somebody has the name, or had it and was deleted.
        """
        user = User(new_id(), check_name(name), role, self._now())
        password = new_password()
        with self._database.transaction():
            self.add(user)
            self._sign_ins.set_password(user, password, temporary=True)
        return Invitation(user, password, self._now() + INVITATION)

    def add(self, user: User) -> None:
        """Add a user; ConflictError for a name that somebody has, or had.

        Names own things. What a user's last request writes while the user is deleted, and the audit log, must
        not be the next one's.
        """
        with self._database.transaction():
            self._database.users.add(user)
            if self._database.former_users.count(name=user.name):
                message = f"name is {user.name!r}, which a user had who is deleted; take another."
                raise ConflictError(message, (FieldError("name", message),))

    def invite(self, user: User) -> Invitation:
        """Replace the password of a user by a one-time password, and end their sessions."""
        password = new_password()
        self._sign_ins.set_password(user, password, temporary=True)
        return Invitation(user, password, self._now() + INVITATION)

    def change_role(self, user: User, role: Role) -> User:
        """Make a user an operator, or an operator a user; ConflictError for the last operator."""
        return self._change(user, f"made a {Role.USER.value}", role is Role.OPERATOR, role=role)

    def disable(self, user: User) -> User:
        """Keep a user out: tokens and sessions are refused at once, until the user is enabled again."""
        if user.disabled_at:
            return user
        with self._database.transaction():  # who is signing in is done, and signed out here, or refused
            changed = self._change(user, "disabled", False, disabled_at=self._now())
            self._sign_ins.end_all(user)
        return changed

    def enable(self, user: User) -> User:
        """Let a user in again, with the tokens that they had."""
        return self._change(user, "enabled", True, disabled_at=None)

    def delete(self, user: User, heir: User | None = None) -> None:
        """Delete a user with their tokens; what they own goes to ``heir`` first. The name is not given again.

        Raises ConflictError for the last operator, where they own something and there is no heir, and where
        the heir has something of the same name.
        """
        if heir is not None and (heir.id == user.id or heir.disabled_at):
            raise ConflictError(f"What {user.name} owns cannot go to {heir.name}; name another user.")
        with self._database.transaction():
            self._keep_an_operator(user, "deleted")
            if heir is not None:
                self._hand_over(user, heir)
            counts = ((rows.count(owner=user.name), noun) for noun, rows, _ in self._owned)
            owned = ", ".join(f"{count} {noun}" for count, noun in counts if count)
            if owned:
                raise ConflictError(
                    f"{user.name} owns {owned}; name who gets them (heir), or disable the user instead."
                )
            self._database.users.delete(user.id)
            self._database.former_users.add(FormerUser(user.id, user.name, self._now()))

    def _hand_over(self, user: User, heir: User) -> None:
        for noun, rows, columns in self._owned:
            both = set(rows.columns(*columns, owner=user.name)) & set(rows.columns(*columns, owner=heir.name))
            if both:
                names = ", ".join(sorted(row[-1] for row in both))
                raise ConflictError(f"{heir.name} has {noun} of the same names ({names}); name another heir.")
            rows.update_where({"owner": user.name}, owner=heir.name)
        # Model servers that run, and others' senders, go on reporting what they serve.
        mine = {"user_id": user.id, "scope": Scope.INGEST}
        self._database.tokens.update_where(mine, user_id=heir.id)

    def _change(self, user: User, deed: str, stays_operator: bool, **changes: Any) -> User:
        with self._database.transaction():
            if not stays_operator:
                self._keep_an_operator(user, deed)
            self._database.users.update(user.id, **changes)
        return self._database.users.get(user.id)

    def _keep_an_operator(self, user: User, deed: str) -> None:
        """Raise ConflictError for the last operator; others who are changed meanwhile wait."""
        operators = self._database.users.where(role=Role.OPERATOR)
        self._database.users.lock(*(one.id for one in operators))
        left = self._database.users.where(role=Role.OPERATOR, disabled_at=None)
        if [one.id for one in left] == [user.id]:
            raise ConflictError(
                f"{user.name} is the last operator and cannot be {deed}; make somebody else one first."
            )


def check_operator(
    user: User, sentence: str = "This is the operator's alone; ask the operator of this cluster."
) -> None:
    """Raise ForbiddenError with the sentence for who is no operator."""
    if not user.is_operator:
        raise ForbiddenError(sentence)
