from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Role, User
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Query
from tidegauge.storage.tables import metadata

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'test.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    database = Database(url)
    database.migrate()
    yield database
    database.close()


def user(name: str, created_at: datetime = NOW) -> User:
    return User(new_id(), name, Role.USER, created_at)


def test_migrations_and_tables_agree(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    added = database.users.add(user("ada"))
    database.migrate()
    assert database.users.get(added.id) == added


def test_times_come_back_in_utc_to_the_microsecond(database: Database) -> None:
    there = timezone(timedelta(hours=2))
    added = database.users.add(user("ada", NOW.astimezone(there)))
    found = database.users.get(added.id).created_at
    assert (found, found.utcoffset()) == (NOW, timedelta(0))


def test_a_name_that_is_taken_is_a_conflict(database: Database) -> None:
    database.users.add(user("ada"))
    with pytest.raises(ConflictError, match="user 'ada' already"):
        database.users.add(user("ada"))


def test_an_absent_row_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError, match="no user with id 'x'"):
        database.users.get("x")


@pytest.mark.parametrize("sort", ["-id", "id", "name", "-name", "created_at"])
def test_pages_show_every_row_once(database: Database, sort: str) -> None:
    names = [f"user-{number}" for number in range(7)]
    for number, name in enumerate(names):
        database.users.add(user(name, NOW + timedelta(days=number // 3)))  # ties in created_at
    seen: list[str] = []
    cursor = ""
    while True:
        page = database.users.page(Query(limit=3, cursor=cursor, sort=sort))
        seen += [item.name for item in page.items]
        cursor = page.cursor
        if not cursor:
            break
    assert seen == sorted(names, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", ["disabled_at", "-disabled_at"])
def test_pages_show_every_row_once_where_some_have_nothing_to_sort_by(database: Database, sort: str) -> None:
    for number in range(7):
        at = NOW + timedelta(days=number // 2) if number % 3 else None
        database.users.add(replace(user(f"user-{number}"), disabled_at=at))
    seen: list[User] = []
    cursor = ""
    while True:
        page = database.users.page(Query(limit=2, cursor=cursor, sort=sort))
        seen += page.items
        cursor = page.cursor
        if not cursor:
            break
    assert len({one.id for one in seen}) == len(seen) == 7
    assert [one.disabled_at for one in seen[-3:]] == [None] * 3
    times = [one.disabled_at for one in seen[:4] if one.disabled_at]
    assert times == sorted(times, reverse=sort.startswith("-"))


def test_a_search_takes_wildcards_literally(database: Database) -> None:
    for name in ("a-b", "a_b", "axb"):
        database.users.add(user(name))
    assert [item.name for item in database.users.page(Query(q="a_b")).items] == ["a_b"]


def test_an_unknown_sort_column_is_refused(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="sort is 'shoe'"):
        database.users.page(Query(sort="shoe"))


def test_an_update_waits_for_the_expected_value(database: Database) -> None:
    added = database.users.add(user("ada"))
    assert not database.users.update(added.id, {"role": Role.OPERATOR}, name="eve")
    assert database.users.update(added.id, {"role": Role.USER}, role=Role.OPERATOR)
    assert database.users.get(added.id).name == "ada"


def test_a_wrong_url_is_one_sentence() -> None:
    with pytest.raises(InvalidInputError, match="database_url 'nonsense' is not a URL"):
        Database("nonsense")


def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="cannot be opened"):
        Database("postgresql://nobody@127.0.0.1:1/none").migrate()


def test_what_was_deleted_is_forgotten_once_nobody_reads_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegauge.storage.database._FORGET_SECONDS", 0.0)
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    database.migrate()
    with database.engine.connect() as reader, database.engine.connect() as writer:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM users").one()
        writer.exec_driver_sql("CREATE TABLE more (a)")
        with database.engine.connect() as asked:
            asked.exec_driver_sql("PRAGMA busy_timeout=10")  # goes back into the pool
        assert not database.forget()
        reader.rollback()
        assert database.forget()
    assert (tmp_path / "a.sqlite-wal").stat().st_size == 0
    database.close()
