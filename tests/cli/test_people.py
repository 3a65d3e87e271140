from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cli_runs import Run
from tidegauge.cli.main import app
from tidegauge.client import Client

OWN = "tide and moon and stars"


def test_the_whole_life_of_a_user(run: Run, server: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("user", "create", "ada")
    assert made.code == 0
    one_time = made.out.strip()
    assert f"{server.url}/sign-in/password?name=ada" in made.err.replace("\n", "")
    with Client(server.url, "none") as stranger:
        token = stranger.sign_in("ada", one_time, chosen=OWN).secret
    assert "ada" in run("user", "list").out
    assert run("user", "list", TIDEGAUGE_TOKEN=token).code == 4
    assert json.loads(run("user", "role", "ada", "operator", "--json").out)["role"] == "operator"
    assert json.loads(run("user", "disable", "ada", "--json").out)["disabled_at"]
    assert run("token", "list", TIDEGAUGE_TOKEN=token).code == 4
    assert json.loads(run("user", "enable", "ada", "--json").out)["disabled_at"] is None
    assert run("token", "list", TIDEGAUGE_TOKEN=token).code == 0
    again = json.loads(run("user", "password", "ada", "--json").out)
    assert again["user"]["name"] == "ada"
    assert again["password"] != one_time
    assert "No browser is signed in as ada" in run("user", "sessions", "ada").err
    assert run("user", "sessions", "ada", "--end").code == 0
    last = run("user", "role", "operator", "user")
    assert last.code == 0  # ada is one, too
    assert run("user", "role", "operator", "operator", TIDEGAUGE_TOKEN=token).code == 0
    unsure = run("user", "delete", "ada")
    assert (unsure.code, "nobody gets what they own" in unsure.err) == (2, True)
    assert run("user", "delete", "ada", "--yes").code == 0
    assert run("user", "delete", "ada", "--yes").code == 3
    assert "last operator" in run("user", "disable", "operator").err


def test_tokens_are_made_listed_and_revoked(run: Run, server: Client) -> None:
    made = run("token", "create", "notebook", "--scope", "read", "--days", "7")
    with Client(server.url, made.out.strip()) as reader:
        assert reader.me().name == "operator"
    listed = {token["name"]: token for token in json.loads(run("token", "list", "--json").out)}
    assert (listed["notebook"]["scope"], listed["notebook"]["secret"]) == ("read", "")
    assert listed["notebook"]["used_at"]
    assert run("token", "create", "x", "--scope", "ingest").code == 2
    assert run("token", "create", "x", "--days", "0").code == 2
    assert run("token", "revoke", "notebook", "--yes").code == 0
    assert run("token", "revoke", "notebook", "--yes").code == 3


def test_a_login_by_name_asks_for_the_password_and_keeps_a_token(run_anywhere: Run, server: Client) -> None:
    invitation = server.users.create("eve")
    with Client(server.url, "none") as stranger:
        stranger.sign_in("eve", invitation.password, chosen=OWN)
    done = CliRunner().invoke(app, ("login", "--url", server.url, "--user", "eve"), input=OWN)
    assert (done.exit_code, "as eve" in done.stderr) == (0, True)
    assert json.loads(run_anywhere("token", "list", "--json").out)[0]["name"].startswith("login at ")
    wrong = CliRunner().invoke(app, ("login", "--url", server.url, "--user", "eve"), input="no")
    assert (wrong.exit_code, wrong.stderr.strip()) == (4, "The name or the password is wrong.")


@pytest.mark.parametrize("noun", ["code", "deployment"])
def test_what_is_shared_is_listed_with_its_owner(run: Run, server: Client, noun: str) -> None:
    make = server.code.create if noun == "code" else server.deployments.register
    make("shown")
    name = f"reader-of-{noun}"
    invitation = server.users.create(name)
    with Client(server.url, "none") as stranger:
        token = stranger.sign_in(name, invitation.password, chosen=OWN).secret
    assert "shown" not in run(noun, "list", TIDEGAUGE_TOKEN=token).out
    assert json.loads(run(noun, "share", "shown", "--json").out)["shared"] is True
    (listed,) = json.loads(run(noun, "list", "--json", TIDEGAUGE_TOKEN=token).out)
    assert (listed["name"], listed["owner"]) == ("shown", "operator")
    assert run(noun, "show", listed["id"], TIDEGAUGE_TOKEN=token).code == 0
    refused = run(noun, "delete", listed["id"], "--yes", TIDEGAUGE_TOKEN=token)
    assert (refused.code, "ask operator to change it" in refused.err) == (4, True)
    assert run(noun, "unshare", "shown").code == 0
    assert run(noun, "show", listed["id"], TIDEGAUGE_TOKEN=token).code == 3


def test_the_audit_log_is_shown_and_exported(run: Run, server: Client) -> None:
    server.code.create("audited")
    shown = json.loads(run("audit", "--who", "operator", "-q", "audited", "--json").out)
    assert [(e["method"], e["action"]) for e in shown] == [("POST", "/api/v1/code")]
    assert "/api/v1/code" in run("audit", "--limit", "5").out
    assert "No entry is like that." in run("audit", "--to", "2020-01-01").err
    lines = run("audit", "--export", "jsonl", "-q", "audited").out.splitlines()
    assert json.loads(lines[0])["subject"].startswith("name=audited")
    assert run("audit", "--export", "csv").out.startswith("id,at,who,")
