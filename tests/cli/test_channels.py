from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_runs import Run
from parts_receivers import Receiver, http_receiver
from tidegauge.client import Client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


@pytest.fixture(autouse=True)
def empty(server: Client) -> Iterator[None]:
    yield
    for channel in server.channels.list():
        server.channels.delete(channel.id)


def test_the_whole_life_of_a_channel(run: Run, receiver: Receiver) -> None:
    assert "tidegauge channel add" in run("channel", "list").err
    made = run("channel", "add", "ops", "webhook", "--url", receiver.url)
    assert made.code == 0
    assert receiver.url in run("channel", "list").out
    assert "tidegauge channel test ops" in run("channel", "deliveries", "ops").err
    tested = run("channel", "test", "ops")
    assert (tested.code, tested.out) == (0, "")
    assert "The test has got through" in tested.err
    assert "Tidegauge: test" in run("channel", "deliveries", "ops").out
    assert json.loads(run("channel", "show", "ops", "--json").out)["deliveries"]["sent"] == 1
    changed = run("channel", "change", "ops", "--url", f"{receiver.url}/new", "--json")
    assert json.loads(changed.out)["settings"] == {"url": f"{receiver.url}/new"}
    unsure = run("channel", "delete", "ops")
    assert unsure.code == 2
    assert "0 messages that are not sent yet and the record of 1 others" in unsure.err
    assert run("channel", "delete", "ops", "--yes").code == 0
    assert json.loads(run("channel", "list", "--json").out) == []


def test_every_option_of_a_mail_channel_arrives(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("pass word\n")
    made = run(
        *("channel", "add", "mail", "mail", "--host", "smtp.example.org", "--port", "2525"),
        *("--security", "tls", "--user", "ward", "--from", "g@example.org", "--to", "a@b.org,c@d.org"),
        *("--secret-file", str(secret), "--json"),
    )
    channel = json.loads(made.out)
    assert channel["settings"] == {
        "host": "smtp.example.org",
        "port": 2525,
        "security": "tls",
        "user": "ward",
        "from": "g@example.org",
        "to": "a@b.org, c@d.org",
    }


def test_a_secret_file_is_used_and_its_content_never_printed(
    run: Run, receiver: Receiver, tmp_path: Path
) -> None:
    secret = tmp_path / "url"
    secret.write_text(f"{receiver.url}/services/secret-part\n")
    outcomes = [
        run("channel", "add", "chat", "slack", "--secret-file", str(secret)),
        run("channel", "test", "chat"),
        run("channel", "list"),
        run("channel", "show", "chat"),
        run("channel", "deliveries", "chat", "--json"),
        run("channel", "change", "chat", "--secret-file", str(secret)),
    ]
    assert [outcome.code for outcome in outcomes] == [0] * 6
    assert receiver.requests[0].path == "/services/secret-part"
    assert [o for o in outcomes if "secret-part" in o.out + o.err] == []
    assert "(hidden)" in outcomes[3].out


def test_a_test_that_fails_is_exit_6_with_the_reason(run: Run, receiver: Receiver) -> None:
    run("channel", "add", "ops", "webhook", "--url", receiver.url)
    receiver.answer(404, body=b"no such hook")
    failed = run("channel", "test", "ops")
    assert failed.code == 6
    assert "The channel 'ops' does not work: It answered 404 Not Found: no such hook." in failed.err
    assert "no such hook" in run("channel", "deliveries", "ops").out


def test_wrong_settings_are_exit_2_a_line_each(run: Run) -> None:
    refused = run("channel", "add", "mail", "mail", "--host", "smtp.example.org")
    assert refused.code == 2
    assert "settings.from is missing" in refused.err
    assert "settings.to is missing" in refused.err


def test_a_secret_file_that_is_not_there_is_a_sentence(run: Run) -> None:
    outcome = run("channel", "add", "chat", "slack", "--secret-file", "/none")
    assert (outcome.code, outcome.out) == (1, "")
    assert "/none: No such file or directory." in outcome.err
