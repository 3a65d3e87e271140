"""``tidegauge secrets``, and what ``doctor`` says of the key."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from parts_receivers import add_channel
from tidegauge.app import open_database
from tidegauge.cli.main import app
from tidegauge.settings import load_settings
from tidegauge.storage.database import Database


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one secret."""
    with closing(open_database(load_settings(tmp_path / "home", None, {}))) as database:
        add_channel(database, "a", {"url": "https://a.org"}, secret="s")
    return tmp_path / "home"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def secret(home: Path) -> str:
    with closing(Database(f"sqlite:///{home / 'tidegauge.sqlite'}")) as database:
        return database.channels.where()[0].secret


def doctor(home: Path) -> dict[str, str]:
    checks = orjson.loads(run("doctor", "--home", str(home), "--json").stdout)
    (found,) = (check for check in checks if check["name"] == "key of the secrets")
    return dict(found)


def test_rotate_tells_how_much_was_sealed(home: Path) -> None:
    before = (home / "secrets.key").read_bytes()
    told = orjson.loads(run("secrets", "rotate", "--home", str(home), "--json").stdout)
    assert (told["sealed"], told["file"]) == (2, str(home / "secrets.key"))
    assert (home / "secrets.key").read_bytes().splitlines()[1] == before.strip()
    assert secret(home) == "s"


def test_forget_asks_and_empties_only_what_no_key_opens(home: Path) -> None:
    assert orjson.loads(run("secrets", "forget", "--home", str(home), "--json").stdout)["forgotten"] == 0
    assert secret(home) == "s"
    (home / "secrets.key").unlink()
    refused = run("secrets", "rotate", "--home", str(home))
    assert refused.exit_code == 2
    assert "sealed with the key" in refused.output
    assert run("secrets", "forget", "--home", str(home)).exit_code == 2  # nobody is there to say yes
    told = orjson.loads(run("secrets", "forget", "--home", str(home), "--yes", "--json").stdout)
    assert told["forgotten"] == 2
    assert secret(home) == ""


def test_a_home_without_a_database_is_named(tmp_path: Path) -> None:
    for command in ("rotate", "forget"):
        answer = run("secrets", command, "--home", str(tmp_path / "none"))
        assert answer.exit_code == 3
        assert "has no database" in answer.output
    assert not (tmp_path / "none").exists()


def test_doctor_looks_at_the_key(home: Path) -> None:
    key = home / "secrets.key"
    assert (doctor(home)["ok"], doctor(home)["warning"]) == (True, False)
    key.chmod(0o644)
    assert (doctor(home)["ok"], doctor(home)["warning"]) == (True, True)
    assert f"chmod 600 {key}" in doctor(home)["remedy"]
    content = key.read_bytes()
    key.write_bytes(b"words")
    assert "something else than keys" in doctor(home)["remedy"]
    key.unlink()
    assert doctor(home)["ok"] is False
    assert "sealed with the key" in doctor(home)["remedy"]
    assert not key.exists()
    key.write_bytes(content)
    assert doctor(home)["ok"] is True


def test_a_restore_keeps_the_keys_that_a_home_has(home: Path, tmp_path: Path) -> None:
    file, new = tmp_path / "b.tar", tmp_path / "new"
    assert run("backup", str(file), "--home", str(home), "--with-key").exit_code == 0
    with closing(open_database(load_settings(new, None, {}))):
        own = (new / "secrets.key").read_bytes()
    told = orjson.loads(run("restore", str(file), "--home", str(new), "--json").stdout)
    assert (len(told["keys"]), told["has_key"]) == (1, True)
    assert (new / "secrets.key").read_bytes() == own + (home / "secrets.key").read_bytes()
    assert (new / "secrets.key").stat().st_mode & 0o777 == 0o600
    assert secret(new) == "s"
