"""Accounts, passwords and sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from parts import meeting
from tidegauge.domain.channel import Channel, ChannelKind
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Means, Role, Scope, Session, User
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TooManyError,
)
from tidegauge.services.accounts import Accounts
from tidegauge.services.passwords import Passwords
from tidegauge.services.people import People
from tidegauge.services.sign_ins import OneTimePasswordError, SignIns
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Query

OWN = "tide and moon and stars"
HERE = ("10.0.0.1", "Firefox")
QUICK = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}


@dataclass
class Ward:
    database: Database
    now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)
    hasher: PasswordHasher = PasswordHasher(**QUICK)  # noqa: RUF009 - the same for all

    def __post_init__(self) -> None:
        self.people = People(self.database, self.clock, timedelta(hours=24))
        self.sign_ins = SignIns(
            self.database, self.people, Passwords(self.hasher), timedelta(days=30), self.clock
        )
        self.accounts = Accounts(self.database, self.sign_ins, self.clock)

    def clock(self) -> datetime:
        return self.now

    def user(self, name: str, role: Role = Role.USER) -> User:
        """Add a user with a password of their own."""
        invitation = self.accounts.create(name, role)
        return self.sign_ins.choose(name, invitation.password, OWN, "10.0.0.9")

    def secret_of(self, name: str) -> str:
        return self.sign_ins.by_password(name, OWN, *HERE)[1]

    def stored(self) -> str:
        """Return everything that stands in the tables of people."""
        with self.database.engine.connect() as connection:
            return "\n".join(
                str(connection.execute(text(f"SELECT * FROM {table}")).all())
                for table in ("users", "passwords", "sessions", "tokens", "attempts")
            )


@pytest.fixture
def ward(database: Database) -> Ward:
    return Ward(database)


def test_a_one_time_password_is_good_once_to_choose_another(ward: Ward) -> None:
    invitation = ward.accounts.create("ada")
    with pytest.raises(OneTimePasswordError):
        ward.sign_ins.by_password("ada", invitation.password, *HERE)
    ward.sign_ins.choose("ada", invitation.password, OWN, HERE[0])
    with pytest.raises(NotSignedInError):
        ward.sign_ins.choose("ada", invitation.password, "another long password", HERE[0])
    session, secret = ward.sign_ins.by_password("ada", OWN, *HERE)
    assert (session.means, session.address, session.agent) == (Means.PASSWORD, *HERE)
    assert ward.people.authenticate(secret).name == "ada"
    assert invitation.password not in ward.stored()
    assert OWN not in ward.stored()
    assert secret not in ward.stored()


def test_a_one_time_password_gets_too_old(ward: Ward) -> None:
    invitation = ward.accounts.create("ada")
    ward.now = invitation.expires_at + timedelta(seconds=1)
    with pytest.raises(ForbiddenError, match="too old; ask an operator"):
        ward.sign_ins.choose("ada", invitation.password, OWN, HERE[0])


@pytest.mark.parametrize("chosen", ["short", "a" * 20, "ada likes tides", "x" * 1001])
def test_a_password_that_is_easy_to_guess_is_refused_and_not_repeated(ward: Ward, chosen: str) -> None:
    invitation = ward.accounts.create("ada")
    with pytest.raises(InvalidInputError) as caught:
        ward.sign_ins.choose("ada", invitation.password, chosen, HERE[0])
    assert [error.field for error in caught.value.errors] == ["chosen"]
    assert chosen not in caught.value.message


def test_a_password_is_the_same_from_every_keyboard(ward: Ward) -> None:
    invitation = ward.accounts.create("ada")
    ward.sign_ins.choose("ada", invitation.password, "Gezeiten über Eis", HERE[0])
    decomposed = "Gezeiten u\u0308ber Eis"
    assert ward.sign_ins.by_password("ada", decomposed, *HERE)


def test_unknown_names_and_wrong_passwords_are_told_alike_and_both_are_checked(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.user("ada")
    checked: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, stored: str, password: str) -> bool:
        checked.append(stored)
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    told = []
    for name in ("ada", "nobody"):
        with pytest.raises(NotSignedInError) as caught:
            ward.sign_ins.by_password(name, "a wrong password", *HERE)
        told.append(caught.value.message)
    assert told[0] == told[1]
    assert len(checked) == 2
    assert all(stored.startswith("$argon2id$") for stored in checked)


def test_a_hash_of_other_parameters_is_made_anew_at_the_next_sign_in(ward: Ward) -> None:
    user = ward.user("ada")
    before = ward.database.passwords.get(user.id).hash
    later = Ward(ward.database, hasher=PasswordHasher(**{**QUICK, "time_cost": 2}))
    later.secret_of("ada")
    after = ward.database.passwords.get(user.id).hash
    assert ("t=1" in before, "t=2" in after) == (True, True)
    later.secret_of("ada")
    assert ward.database.passwords.get(user.id).hash == after


def test_too_many_wrong_passwords_make_the_right_one_wait(ward: Ward) -> None:
    ward.user("ada")
    for _ in range(5):
        with pytest.raises(NotSignedInError):
            ward.sign_ins.by_password("ada", "a wrong password", *HERE)
    with pytest.raises(TooManyError):
        ward.sign_ins.by_password("ada", OWN, *HERE)
    ward.now += timedelta(seconds=30)
    assert ward.secret_of("ada")


def test_a_session_ends_without_use(ward: Ward) -> None:
    ward.user("ada")
    secret = ward.secret_of("ada")
    for _ in range(29):
        ward.now += timedelta(hours=23)
        assert ward.people.authenticate(secret).session
    ward.now += timedelta(hours=25)
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(secret)


def test_a_session_that_is_used_all_the_time_ends_after_thirty_days(ward: Ward) -> None:
    ward.user("ada")
    secret = ward.secret_of("ada")
    begun = ward.now
    while ward.now < begun + timedelta(days=29):
        ward.now += timedelta(hours=20)
        ward.people.authenticate(secret)
    ward.now = begun + timedelta(days=30)
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(secret)
    ward.secret_of("ada")  # sweeps what has ended
    assert ward.database.sessions.count() == 1


def test_sessions_are_seen_and_ended_by_their_owner_alone(ward: Ward) -> None:
    ada, bob = ward.user("ada"), ward.user("bob")
    secret, other = ward.secret_of("ada"), ward.secret_of("ada")
    caller = ward.people.authenticate(secret)
    shown = ward.sign_ins.sessions(ada, Query(), caller).items
    assert [session.current for session in shown] == [False, True]
    with pytest.raises(NotFoundError):
        ward.sign_ins.end(bob, shown[0].id)
    ward.sign_ins.end(ada, shown[0].id)
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(other)
    assert ward.people.authenticate(secret)


def test_another_password_ends_the_other_sessions(ward: Ward) -> None:
    ward.user("ada")
    secret, other = ward.secret_of("ada"), ward.secret_of("ada")
    caller = ward.people.authenticate(secret)
    with pytest.raises(InvalidInputError, match="password is not the one"):
        ward.sign_ins.change(caller, "not the one", "stars and moon and tide", HERE[0])
    ward.sign_ins.change(caller, OWN, "stars and moon and tide", HERE[0])
    assert ward.people.authenticate(secret)
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(other)


def test_a_password_that_is_replaced_ends_what_was_signed_in_by_the_one_before(ward: Ward) -> None:
    ada = ward.user("ada")
    for replace in (
        lambda: ward.sign_ins.choose("ada", OWN, "stars and moon and tide", HERE[0]),
        lambda: ward.sign_ins.set_password(ada, OWN),
        lambda: ward.accounts.invite(ada),
    ):
        secret = ward.secret_of("ada")
        replace()
        with pytest.raises(NotSignedInError):
            ward.people.authenticate(secret)
        ward.sign_ins.set_password(ada, OWN)


def test_of_two_who_have_one_one_time_password_one_chooses(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    invitation = ward.accounts.create("ada")
    ward.now += timedelta(hours=1)
    monkeypatch.setattr(ward.sign_ins, "_verified", meeting(ward.sign_ins._verified))

    def choose(chosen: str) -> str:
        try:
            ward.sign_ins.choose("ada", invitation.password, chosen, HERE[0])
        except NotSignedInError as error:
            return error.message
        return chosen

    with ThreadPoolExecutor(2) as pool:
        done = set(pool.map(choose, ("first of the phrases", "second of the phrases")))
    refused = "The password was replaced just now; sign in with the new one."
    (won,) = done - {refused}
    monkeypatch.undo()
    assert ward.sign_ins.by_password("ada", won, *HERE)


@pytest.mark.parametrize("deed", ["invite", "disable", "choose"])
def test_a_sign_in_that_is_under_way_while_the_password_goes_is_refused(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    ada = ward.user("ada")
    ward.now += timedelta(hours=1)
    own = ward.sign_ins._own
    deeds: dict[str, Callable[[], object]] = {
        "invite": lambda: ward.accounts.invite(ada),
        "disable": lambda: ward.accounts.disable(ada),
        "choose": lambda: ward.sign_ins.choose("ada", OWN, "stars and moon and tide", HERE[0]),
    }

    def overtaken(*place: str) -> Any:
        found = own(*place)
        deeds[deed]()
        return found

    monkeypatch.setattr(ward.sign_ins, "_own", overtaken)
    with pytest.raises(ForbiddenError if deed == "disable" else NotSignedInError):
        ward.secret_of("ada")
    assert ward.database.sessions.count() == 0


@pytest.mark.parametrize("deed", ["invite", "disable"])
def test_a_session_that_begins_while_its_user_is_kept_out_ends(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    ada = ward.user("ada")
    add = ward.database.sessions.add
    with ThreadPoolExecutor(1) as pool:
        done: list[Future[object]] = []

        def add_late(session: Session) -> Session:
            done.append(pool.submit(getattr(ward.accounts, deed), ada))
            with contextlib.suppress(TimeoutError):
                done[0].result(timeout=1)  # it waits until the session is there
            return add(session)

        monkeypatch.setattr(ward.database.sessions, "add", add_late)
        ward.secret_of("ada")
        done[0].result(timeout=60)
    assert ward.database.sessions.count() == 0


def test_a_sign_in_while_the_hash_is_made_anew_is_none_by_another_password(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.user("ada")
    later = Ward(ward.database, hasher=PasswordHasher(**{**QUICK, "time_cost": 2}))
    monkeypatch.setattr(later.sign_ins, "_verified", meeting(later.sign_ins._verified))
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(later.secret_of, ["ada", "ada"]))


def test_who_signed_in_with_a_token_chooses_a_first_password(ward: Ward) -> None:
    token = ward.people.first_start()
    assert token
    secret = ward.sign_ins.by_token(token, *HERE)[1]
    ward.sign_ins.change(ward.people.authenticate(secret), "", OWN, HERE[0])
    assert ward.secret_of("operator")


def test_a_token_that_ends_chooses_no_first_password(ward: Ward) -> None:
    ada = ward.database.users.add(User(new_id(), "ada", Role.USER, ward.now))
    week = ward.people.issue_named(ada, "week", days=7).secret
    for secret in (week, ward.sign_ins.by_token(week, *HERE)[1]):
        with pytest.raises(ForbiddenError, match="This token ends"):
            ward.sign_ins.change(ward.people.authenticate(secret), "", OWN, HERE[0])
    assert not ward.sign_ins.has_password(ada)
    ward.sign_ins.set_password(ada, OWN)  # whoever knows it may do so with any token
    ward.sign_ins.change(ward.people.authenticate(week), OWN, "stars and moon and tide", HERE[0])


def test_a_session_by_token_may_what_the_token_may_and_ends_with_it(ward: Ward) -> None:
    ada = ward.user("ada")
    token, secret = ward.people.issue(ada, "reads", Scope.READ)
    session = ward.sign_ins.by_token(secret, *HERE)[1]
    assert ward.people.authenticate(session).scope is Scope.READ
    ward.people.revoke(token.id)
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(session)
    for scope in (Scope.INGEST, Scope.LINK):
        with pytest.raises(ForbiddenError):
            ward.sign_ins.by_token(ward.people.issue(ada, "x", scope, "d")[1], *HERE)


def test_a_disabled_user_is_out_at_once_and_may_come_back(ward: Ward) -> None:
    ada = ward.user("ada")
    session, (_, token) = ward.secret_of("ada"), ward.people.issue(ada, "script")
    ward.accounts.disable(ada)
    for secret in (session, token):
        with pytest.raises(NotSignedInError):
            ward.people.authenticate(secret)
    with pytest.raises(ForbiddenError, match="'ada' is disabled"):
        ward.secret_of("ada")
    ward.accounts.enable(ada)
    assert ward.people.authenticate(token)
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(session)


def test_the_last_operator_stays(ward: Ward) -> None:
    root, ada = ward.user("root", Role.OPERATOR), ward.user("ada")
    for refused in (
        lambda: ward.accounts.change_role(root, Role.USER),
        lambda: ward.accounts.disable(root),
        lambda: ward.accounts.delete(root, ada),
    ):
        with pytest.raises(ConflictError, match="root is the last operator"):
            refused()
    ward.accounts.change_role(ada, Role.OPERATOR)
    ward.accounts.disable(root)
    with pytest.raises(ConflictError, match="ada is the last operator"):
        ward.accounts.change_role(ada, Role.USER)


def test_of_two_operators_who_go_at_once_one_stays(ward: Ward) -> None:
    for _ in range(5):
        pair = [ward.user(f"op-{new_id()[-12:]}", Role.OPERATOR) for _ in range(2)]

        def demote(user: User) -> bool:
            try:
                ward.accounts.change_role(user, Role.USER)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(demote, pair))
        assert sorted(done) == [False, True]
        (left,) = ward.database.users.where(role=Role.OPERATOR)
        ward.database.users.delete(left.id)


def test_who_owns_something_goes_only_with_an_heir(ward: Ward) -> None:
    ward.user("root", Role.OPERATOR)
    ada, bob = ward.user("ada"), ward.user("bob")
    channels = ward.database.channels
    made = [
        channels.add(Channel(new_id(), owner, "ward", ChannelKind.WEBHOOK, {}, ward.now))
        for owner in ("ada", "bob")
    ]
    with pytest.raises(ConflictError, match="ada owns 1 channels"):
        ward.accounts.delete(ada)
    with pytest.raises(ConflictError, match=r"bob has channels of the same names \(ward\)"):
        ward.accounts.delete(ada, bob)
    channels.delete(made[1].id)
    secret = ward.secret_of("ada")
    (_, logs), (_, script) = (
        ward.people.issue(ada, "inference log", Scope.INGEST, "d"),
        ward.people.issue(ada, "script"),
    )
    ward.accounts.delete(ada, bob)
    assert ward.people.authenticate(logs).name == "bob"
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(script)
    assert channels.get(made[0].id).owner == "bob"
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(secret)
    with pytest.raises(ConflictError, match="name is 'ada', which a user had who is deleted; take another"):
        ward.accounts.create("ada")  # what her last request still writes would be another's
    assert ward.database.users.count(name="ada") == 0


def test_use_is_noted_once_a_minute_and_makes_nobody_look_again(ward: Ward) -> None:
    ada = ward.user("ada")
    token, secret = ward.people.issue(ada, "script")
    writes = ward.database.writes
    begun = ward.now
    for _ in range(5):
        ward.people.authenticate(secret)
        ward.now += timedelta(seconds=10)
    assert ward.database.tokens.get(token.id).used_at == begun
    ward.now = begun + timedelta(seconds=60)
    ward.people.authenticate(secret)
    assert ward.people.token(ada, token.id).used_at == ward.now
    assert ward.database.writes == writes


def test_of_two_ingest_tokens_of_one_name_at_once_one_is_issued(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, running = ward.user("ada"), DeploymentState.RUNNING
    ward.database.deployments.add(
        Deployment("d", "d", "ada", "", "", 0, True, Origin.EXTERNAL, running, running, ward.now, "")
    )
    tokens = ward.database.tokens
    monkeypatch.setattr(tokens, "find", meeting(tokens.find))

    def issue(_: int) -> bool:
        try:
            ward.people.issue_ingest(ada, "d", "sender")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(issue, range(2))) == [False, True]
    assert tokens.count(name="sender") == 1


def test_a_token_expires_and_makes_none_that_lasts_longer(ward: Ward) -> None:
    ada = ward.user("ada")
    made = ward.people.issue_named(ada, "week", days=7)
    by = ward.people.authenticate(made.secret).token
    assert ward.people.issue_named(ada, "for ever", by=by).expires_at == made.expires_at
    assert ward.people.issue_named(ada, "a day", days=1, by=by).expires_at == ward.now + timedelta(days=1)
    ward.now += timedelta(days=7)
    with pytest.raises(NotSignedInError):
        ward.people.authenticate(made.secret)
    assert ward.people.token(ada, "week").expired
    with pytest.raises(InvalidInputError, match="days is 0"):
        ward.people.issue_named(ada, "never", days=0)
