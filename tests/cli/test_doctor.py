from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli_runs import Outcome, Run
from tidegauge.client import Client
from tidegauge.links.processes import free_port
from tidegauge.settings import load_settings
from tidegauge.storage.database import Database


def checks(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(outcome.out)}


def test_it_changes_nothing(run_anywhere: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    outcome = run_anywhere("doctor", "--home", str(home), "--port", str(free_port()), "--json")
    assert outcome.code == 0
    assert checks(outcome)["database"]["found"].endswith("made by the first start")
    assert not home.exists()


def test_a_database_of_an_older_version_is_left_as_it_is(run_anywhere: Run, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'tidegauge.sqlite'}")
    assert not database.is_migrated()
    found = checks(run_anywhere("doctor", "--home", str(tmp_path), "--json"))["database"]
    assert found["ok"]
    assert found["found"].endswith("migrated by the next start")
    assert not database.is_migrated()
    database.migrate()
    assert database.is_migrated()
    database.close()


def test_a_running_server_on_the_port_is_well(run: Run, server: Client) -> None:
    name = f"port {(port := server.url.rpartition(':')[2])}"
    found = checks(run("doctor", "--port", port, "--json"))[name]
    assert (found["ok"], found["found"].startswith("a running Tidegauge")) == (True, True)


def test_a_server_that_is_none_names_its_remedy(run_anywhere: Run, tmp_path: Path) -> None:
    url = "postgresql://me:pa55word@127.0.0.1:1/x"
    outcome = run_anywhere("doctor", "--home", str(tmp_path), "--database-url", url)
    assert outcome.code == 1
    assert "Missing or in the way: database." in outcome.err
    assert "Connection refused" in outcome.out
    assert "pa55word" not in outcome.out + outcome.err


def test_a_bucket_is_asked(run_anywhere: Run, tmp_path: Path, s3_url: str) -> None:
    def look(url: str) -> dict[str, Any]:
        outcome = run_anywhere("doctor", "--home", str(tmp_path), "--store-url", url, "--json")
        assert "hidden" not in outcome.out + outcome.err
        return checks(outcome)["object store"]

    found = look(s3_url)
    assert (found["ok"], found["found"]) == (True, s3_url)
    assert "The specified bucket does not exist" in look(s3_url.replace("hospital", "nobodys"))["remedy"]
    away = f"s3://hospital/x?endpoint=http://127.0.0.1:{free_port()}"
    assert "The object store does not answer" in look(away)["remedy"]
    assert "AWS_SECRET_ACCESS_KEY" in look(f"{s3_url}&secret_access_key=hidden")["remedy"]


def test_a_bad_setting_is_found_and_the_rest_is_looked_at(run_anywhere: Run, tmp_path: Path) -> None:
    outcome = run_anywhere("doctor", "--home", str(tmp_path), "--json", TIDEGAUGE_PORT="many")
    found = checks(outcome)
    assert outcome.code == 1
    assert found["settings"]["remedy"] == "port is 'many' in TIDEGAUGE_PORT; use a whole number."
    assert found["python"]["ok"]


def test_what_is_optional_is_absent_and_says_what_for(
    run_anywhere: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = run_anywhere("doctor", "--home", str(tmp_path), "--port", str(free_port()))
    assert outcome.code == 0
    assert "absent, optional" in outcome.out
    assert "Needed to read code and datasets from git" in outcome.out


@pytest.mark.parametrize(
    ("host", "address", "private"),
    [
        ("127.0.0.1", "http://127.0.0.1:32222", True),
        ("localhost", "http://localhost:32222", True),
        ("::1", "http://[::1]:32222", True),
        ("0.0.0.0", "http://127.0.0.1:32222", False),
        ("::", "http://[::1]:32222", False),
        ("10.0.0.7", "http://10.0.0.7:32222", False),
    ],
)
def test_the_address_as_seen_from_this_machine(
    tmp_path: Path, host: str, address: str, *, private: bool
) -> None:
    settings = load_settings(tmp_path, {"host": host}, {})
    assert (settings.address, settings.is_private) == (address, private)
