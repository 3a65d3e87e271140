"""Secrets are sealed in the database, with a key that stands beside it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import insert, select, text, update

from parts_receivers import NOW, add_channel
from tidegauge.app import open_database
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.errors import InvalidInputError, UnavailableError
from tidegauge.settings import load_settings
from tidegauge.storage import tables
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Query
from tidegauge.storage.sealing import Keys, sealed_with

CANARY = "canary-5c9a"


def stored(database: Database) -> list[tuple[str, str]]:
    """Return what stands in the database of each channel, as it stands."""
    with database.engine.connect() as connection:
        columns = tables.channels.c
        return [tuple(row) for row in connection.execute(select(columns.secret, columns.settings))]


def test_secrets_are_read_in_plain_and_written_sealed(database: Database) -> None:
    made = add_channel(database, "a", {"url": f"https://example.org/{CANARY}"}, secret=CANARY)
    assert database.channels.get(made.id) == made
    database.channels.update(made.id, secret=f"{CANARY}-2", settings={"url": "https://b.org"})
    assert database.channels.get(made.id).secret == f"{CANARY}-2"
    ((secret, settings),) = stored(database)
    assert sealed_with(secret) == sealed_with(settings) == database.keys.ids[0]
    with database.engine.connect() as connection:
        plain = connection.execute(text("SELECT secret, CAST(settings AS TEXT) FROM channels")).one()
    assert CANARY not in str(plain)
    assert "b.org" not in str(plain)


def test_an_empty_secret_stays_empty(database: Database) -> None:
    add_channel(database, "a", {}, secret="")
    assert stored(database)[0][0] == ""


def test_rows_are_not_put_into_the_order_of_their_secrets(database: Database) -> None:
    for column in ("secret", "settings"):
        with pytest.raises(InvalidInputError, match="sort is"):
            database.channels.page(Query(sort=column))


def test_the_key_is_for_its_owner_alone_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "home" / "secrets.key"
    barrier = threading.Barrier(8)
    found: list[str] = []

    def start() -> None:
        barrier.wait()
        keys = Keys(path)
        keys.make()
        found.append(keys.ids[0])

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), len(set(found))) == (8, 1)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_the_first_start_makes_the_key_where_the_setting_says(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere" / "key"
    with closing(open_database(load_settings(tmp_path / "home", {"secrets_key": str(place)}, {}))):
        assert place.exists()
    assert not (tmp_path / "home" / "secrets.key").exists()


def home_with_a_secret(home: Path) -> Path:
    with closing(open_database(load_settings(home, None, {}))) as database:
        add_channel(database, "a", {"url": "https://a.org"}, secret=CANARY)
    return home / "secrets.key"


def test_a_start_without_the_key_of_what_is_sealed_is_refused(tmp_path: Path) -> None:
    key = home_with_a_secret(tmp_path)
    kept = key.read_bytes()
    for content in (None, Fernet.generate_key()):
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_bytes(content)
        with pytest.raises(
            InvalidInputError, match=r"sealed with the key \w{8}, which .*secrets.key"
        ) as caught:
            open_database(load_settings(tmp_path, None, {}))
        assert caught.value.errors[0].field == "secrets_key"
        assert key.exists() == (content is not None)  # no other key is made in its place
    for content, sentence in ((b"", "is empty"), (b"words", "something else than keys")):
        key.write_bytes(content)
        with pytest.raises(InvalidInputError, match=sentence):
            open_database(load_settings(tmp_path, None, {}))
    key.write_bytes(kept)
    with closing(open_database(load_settings(tmp_path, None, {}))) as database:
        assert database.channels.where()[0].secret == CANARY


def test_a_key_that_is_gone_while_it_is_used_is_said(tmp_path: Path) -> None:
    key = home_with_a_secret(tmp_path)
    with closing(Database(f"sqlite:///{tmp_path / 'tidegauge.sqlite'}")) as database:
        key.unlink()
        with pytest.raises(UnavailableError, match="tidegauge secrets forget"):
            database.channels.where()


def test_what_was_written_in_plain_is_sealed_by_the_next_start_and_stays_usable(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, None, {})
    with closing(open_database(settings)) as database:
        made = add_channel(database, "a", {"url": f"https://a.org/{CANARY}"}, secret=CANARY)
        with database.engine.begin() as connection:
            connection.execute(
                update(tables.channels).values(secret=CANARY, settings={"url": f"https://a.org/{CANARY}"})
            )
        assert database.channels.get(made.id) == made
    assert CANARY.encode() in (tmp_path / "tidegauge.sqlite").read_bytes()
    with closing(open_database(settings)) as database:
        assert database.channels.get(made.id) == made
        everything = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
        assert CANARY.encode() not in everything


def test_credentials_leave_the_urls_of_repositories_when_the_schema_is_migrated(tmp_path: Path) -> None:
    from alembic import command

    from tidegauge.storage.database import migrations

    settings = load_settings(tmp_path, None, {})
    with closing(Database(settings.database)) as database:
        config = migrations()
        with database.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0011")
            rows = {
                "with": {"type": "git", "url": f"https://me:{CANARY}@example.org/x.git", "branch": "main"},
                "ssh": {"type": "git", "url": "ssh://git@example.org/x.git"},
                "upload": {"type": "upload"},
            }
            old = tables.Table(
                "repositories",
                tables.MetaData(),
                *(column._copy() for column in tables.repositories.c if column.name != "secret"),
            )
            for name, source in rows.items():
                values = {"id": name, "kind": "code", "name": name, "owner": "o", "source": source}
                connection.execute(insert(old).values(**values, created_at=NOW, shared=False))
    with closing(open_database(settings)) as database:
        found = {each.name: each for each in database.repositories.where(kind=RepositoryKind.CODE)}
        assert (found["with"].source.url, found["with"].secret) == (
            "https://example.org/x.git",
            f"me:{CANARY}",
        )
        assert (found["ssh"].source.url, found["ssh"].secret) == ("ssh://git@example.org/x.git", "")
        assert CANARY not in repr(found["with"])
        everything = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
        assert CANARY.encode() not in everything


# Rotation


def test_a_rotation_seals_everything_anew_while_others_read_and_write(database: Database) -> None:
    channels = [
        add_channel(database, f"c{n}", {"url": f"https://a.org/{n}"}, secret=f"s{n}") for n in range(5)
    ]
    first = database.keys.ids[0]
    other = Database(database.engine.url.render_as_string(hide_password=False), database.keys.path)
    with closing(other):
        assert other.channels.get(channels[0].id) == channels[0]  # it has read the key of before
        assert database.vault.renew() == 10
        second = database.keys.ids[0]
        assert second != first
        assert database.vault.counts() == {second: 10}
        assert [other.channels.get(channel.id) for channel in channels] == channels
        add_channel(other, "new", {}, secret="s")
        assert other.vault.counts() == {second: 12}
        other.vault.renew()
        assert first not in database.keys.ids  # two rotations ago
        assert database.channels.get(channels[4].id) == channels[4]


def test_two_rotations_at_once_lose_no_key(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys" / "secrets.key"
    with closing(Database(postgres_url, path)) as one, closing(Database(postgres_url, path)) as other:
        one.migrate()
        made = [add_channel(one, f"c{n}", {}, secret=f"s{n}") for n in range(5)]
        first, second = one.vault, threading.Thread(target=other.vault.renew)
        counts = first.counts

        def overtaken() -> Counter[str]:
            found = counts()
            if not second.ident:
                second.start()
                second.join(1)  # or as long as it is kept waiting
            return found

        monkeypatch.setattr(first, "counts", overtaken)
        first.renew()
        second.join()
        assert not one.vault.lacking()
        assert [other.channels.get(channel.id) for channel in made] == made


def test_a_value_sealed_with_the_former_key_meanwhile_stays_readable(database: Database) -> None:
    made = add_channel(database, "a", {}, secret="s")
    late = database.keys.seal("late")
    database.vault.renew()
    with database.engine.begin() as connection:
        connection.execute(update(tables.channels).values(secret=late))
    assert database.channels.get(made.id).secret == "late"
    database.vault.renew()
    assert database.channels.get(made.id).secret == "late"


_KILLED = """
import os, signal, sys
from pathlib import Path
from tidegauge.storage.database import Database
from tidegauge.storage.sealing import Keys
from tidegauge.storage.vault import Vault
url, key, moment = sys.argv[1:]
put, keep, done = Vault._put, Keys.keep, []
def dying(*given):
    if len(done) == int(moment):
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(1)
    return put(*given)
Vault._put = staticmethod(dying)
if moment == "6":
    Keys.keep = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
Database(url, Path(key)).vault.renew()
"""


@pytest.mark.parametrize("moment", range(7))
def test_a_rotation_that_is_killed_leaves_everything_readable(database: Database, moment: int) -> None:
    channels = [
        add_channel(database, f"c{n}", {"url": f"https://a.org/{n}"}, secret=f"s{n}") for n in range(3)
    ]
    url = database.engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, url, str(database.keys.path), str(moment)], check=False, timeout=60
    )
    assert done.returncode == -9
    with closing(Database(url, database.keys.path)) as again:
        assert [again.channels.get(channel.id) for channel in channels] == channels
        again.vault.renew()
        assert again.vault.counts() == {again.keys.ids[0]: 6}
        assert [again.channels.get(channel.id) for channel in channels] == channels


def test_what_no_key_opens_can_be_given_up(tmp_path: Path) -> None:
    key = home_with_a_secret(tmp_path)
    key.unlink()
    with closing(Database(f"sqlite:///{tmp_path / 'tidegauge.sqlite'}")) as database:
        assert database.vault.give_up() == 2
        assert database.vault.lacking() == []
    with closing(open_database(load_settings(tmp_path, None, {}))) as database:
        (channel,) = database.channels.where()
        assert (channel.secret, channel.settings) == ("", {})
        add_channel(database, "b", {}, secret="new")
        assert database.channels.find(name="b").secret == "new"  # type: ignore[union-attr]


def test_without_a_key_file_nothing_is_written_in_plain(postgres_url: str) -> None:
    with closing(Database(postgres_url)) as database:
        database.migrate()
        with pytest.raises(UnavailableError, match="secrets_key"):
            add_channel(database, "a", {}, secret=CANARY)
