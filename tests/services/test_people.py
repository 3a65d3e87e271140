"""Tokens of a person: listed, made under a name, revoked by their owner alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, Scope, User
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, NotSignedInError
from tidegauge.services.people import LOG_TOKEN, People
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Query

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def people(database: Database) -> People:
    return People(database, lambda: NOW)


@pytest.fixture
def ward(database: Database) -> User:
    return database.users.add(User(new_id(), "ward", Role.USER, NOW))


@pytest.fixture
def other(database: Database) -> User:
    return database.users.add(User(new_id(), "other", Role.USER, NOW))


def test_a_person_sees_their_own_tokens_alone(people: People, ward: User, other: User) -> None:
    people.issue_named(other, "theirs")
    people.issue_named(ward, "notebook")
    people.issue(ward, "inference log", Scope.INGEST, "some-deployment")
    found = people.tokens(ward, Query(sort="name")).items
    assert [(token.name, token.scope) for token in found] == [
        ("inference log", Scope.INGEST),
        ("notebook", Scope.WRITE),
    ]
    assert [token.name for token in people.tokens(ward, Query(q="NOTE")).items] == ["notebook"]


def test_a_named_token_signs_in(people: People, ward: User) -> None:
    token = people.issue_named(ward, "  notebook ")
    assert token.name == "notebook"
    assert people.authenticate(token.secret).name == "ward"


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b"])
def test_a_token_needs_a_name_that_can_be_read(people: People, ward: User, name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        people.issue_named(ward, name)
    assert [error.field for error in caught.value.errors] == ["name"]


def test_a_person_revokes_their_own_tokens_alone(people: People, ward: User, other: User) -> None:
    token = people.issue_named(ward, "notebook")
    with pytest.raises(NotFoundError):
        people.revoke_own(other, token.id)
    assert people.authenticate(token.secret).token_id == token.id
    people.revoke_own(ward, token.id)
    with pytest.raises(NotSignedInError):
        people.authenticate(token.secret)


def test_ingest_tokens_of_a_deployment_are_told_without_their_secrets(people: People, ward: User) -> None:
    made = people.issue_ingest(ward, "here", " script ")
    people.issue_ingest(ward, "there", "script")
    assert made.secret.startswith("tg_")
    (found,) = people.ingest_tokens("here", Query()).items
    assert (found.id, found.name, found.secret) == (made.id, "script", "")
    assert people.ingest_token("here", "script") == people.ingest_token("here", made.id) == found
    caller = people.authenticate(made.secret)
    assert [caller.may_ingest(deployment, "ward") for deployment in ("here", "there", "")] == [
        True,
        False,
        False,
    ]
    with pytest.raises(NotFoundError):
        people.ingest_token("elsewhere", made.id)


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "inference log"])
def test_an_ingest_token_has_a_name_of_its_own(people: People, ward: User, name: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        people.issue_ingest(ward, "here", name)
    assert [error.field for error in refused.value.errors] == ["name"]
    people.issue_ingest(ward, "here", "script")
    with pytest.raises(ConflictError, match="token 'script' of this deployment already"):
        people.issue_ingest(ward, "here", "script")


def test_a_model_server_loses_no_tokens_but_its_own(people: People, ward: User) -> None:
    people.issue(ward, LOG_TOKEN, Scope.INGEST, "here")
    people.issue_ingest(ward, "here", "script")
    people.revoke_ingest("here", name=LOG_TOKEN)
    assert [token.name for token in people.ingest_tokens("here", Query()).items] == ["script"]
    people.revoke_ingest("here")
    assert not people.ingest_tokens("here", Query()).items
