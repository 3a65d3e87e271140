"""A secret that is given to every place that takes one is found nowhere again."""

from __future__ import annotations

import io
import logging
import re
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import polars as pl
import pytest
from typer.testing import CliRunner

from parts import running_server
from parts_receivers import Receiver, http_receiver
from tidegauge.cli.main import app
from tidegauge.client import Client
from tidegauge.errors import TidegaugeError
from tidegauge.storage.database import Database

CANARY = "k9canary7f3e"


class Planted:
    def __init__(self, home: Path, client: Client, receiver: Receiver) -> None:
        self.home, self.client, self.receiver = home, client, receiver
        self.told: list[str] = []  # every error that was raised meanwhile
        self.ids: dict[str, str] = {}

    def plant(self) -> None:
        url = self.receiver.url
        port = str(self.receiver.port)  # speaks no SMTP
        mail = {"host": "127.0.0.1", "port": port, "user": "ward", "from": "a@b.org", "to": "c@d.org"}
        places = [
            ("webhook", {"url": f"{url}/hook"}, CANARY),
            ("slack", {}, f"{url}/services/{CANARY}"),
            ("alertmanager", {"url": url}, CANARY),
            ("alertmanager", {"url": url, "user": "ward"}, CANARY),
            ("mail", mail, CANARY),
        ]
        for number, (kind, settings, secret) in enumerate(places):
            made = self.client.channels.create(f"c{number}", kind, settings, secret)
            self.receiver.answer(400, body=f"refused: {secret}".encode())
            self.raises(lambda made=made: self.client.channels.test(made.id))
            self.ids["channel_id"] = made.id
            self.receiver.answers.clear()
        self.raises(lambda: self.client.channels.create("bad", "slack", {}, f"{CANARY}://x"))
        self.raises(
            lambda: self.client.channels.create("bad", "webhook", {"url": f"http://me:{CANARY}@a.org"})
        )
        for kind in ("code", "datasets"):
            repositories = getattr(self.client, kind)
            source = {"type": "git", "url": f"http://me:{CANARY}@127.0.0.1:{port}/x.git"}
            self.client.request("POST", f"/api/v1/{kind}", json={"name": "mine", "source": source})
            self.raises(lambda repositories=repositories: repositories.add_version("mine"))
        self.raises(lambda: self.client.request("GET", "/api/v1/me", headers={"Authorization": CANARY}))

    def raises(self, call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except TidegaugeError as error:
            self.told.append(f"{error!r} {error.message} {error.errors}")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    home: Path = tmp_path_factory.mktemp("canaries") / "home"
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with http_receiver() as receiver, running_server(home) as client:
            made = Planted(home, client, receiver)
            made.plant()
            made.log = log  # type: ignore[attr-defined]
            yield made
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def test_secrets_are_used_where_they_belong(planted: Planted) -> None:
    sent = [request for request in planted.receiver.requests if CANARY in f"{request.path}{request.headers}"]
    assert len(sent) >= 2  # Slack's address and Alertmanager's header
    paths = [request.path for request in planted.receiver.requests]
    assert "/x.git/info/refs?service=git-upload-pack" in paths


def test_no_error_says_one(planted: Planted) -> None:
    assert len(planted.told) >= 7
    assert [said for said in planted.told if CANARY in said] == []


def test_no_answer_and_no_page_shows_one(planted: Planted) -> None:
    headers = {"Authorization": f"Bearer {planted.client.token}"}
    seen = 0
    with httpx.Client(base_url=planted.client.url, headers=headers, trust_env=False) as asking:
        document = asking.get("/api/v1/openapi.json").json()
        pages = ["/", "/settings/notifications", "/code", "/datasets", "/code/mine", "/datasets/mine"]
        channels = [channel.id for channel in planted.client.channels.list()]
        pages += [
            f"/settings/notifications/{id_}{rest}" for id_ in channels for rest in ("", "/change", "/test")
        ]
        api = [path for path, methods in document["paths"].items() if "get" in methods]
        values = {"name": "mine", "number": "1", "channel_id": channels[0]}
        for path in [*pages, *api]:
            filled = re.sub(r"{(\w+)}", lambda found: values.get(found[1], "x"), path)
            if filled.endswith("/live"):
                continue
            answer = asking.get(filled)
            seen += answer.status_code == 200
            assert CANARY not in answer.text, filled
            assert answer.status_code < 500, filled
    assert seen > 30


def test_no_log_line_has_one(planted: Planted) -> None:
    log = planted.log.getvalue()  # type: ignore[attr-defined]
    assert "import of version" in log
    assert CANARY not in log


def test_no_file_of_the_home_has_one(planted: Planted) -> None:
    files = [path for path in planted.home.rglob("*") if path.is_file()]
    assert planted.home / "tidegauge.sqlite" in files
    assert [str(path) for path in files if CANARY.encode() in path.read_bytes()] == []


def test_no_row_has_one(planted: Planted) -> None:
    with closing(Database(f"sqlite:///{planted.home / 'tidegauge.sqlite'}")) as database:
        dumped = "\n".join(database.engine.raw_connection().driver_connection.iterdump())  # type: ignore[union-attr]
        assert "sealed:" in dumped
        assert CANARY not in dumped
        channels = database.channels.where()
        assert any(CANARY in channel.secret for channel in channels)
        assert CANARY not in repr(channels)
        assert CANARY not in repr(database.repositories.where())


@pytest.mark.parametrize("with_key", [False, True])
def test_no_backup_has_one_and_the_key_only_when_it_is_asked_for(
    planted: Planted, tmp_path: Path, with_key: bool
) -> None:
    file = tmp_path / "b.tar"
    words = ["backup", str(file), "--home", str(planted.home), *(["--with-key"] if with_key else [])]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    key = (planted.home / "secrets.key").read_bytes().strip()
    with tarfile.open(file) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member).read()  # type: ignore[union-attr]
            if member.name.endswith(".parquet") and member.name.startswith("tables/"):
                content += str(pl.read_parquet(content).to_dicts()).encode()
            assert CANARY.encode() not in content, member.name
            assert (key in content) == (with_key and member.name == "secrets.key"), member.name
    new = tmp_path / "new"
    answer = CliRunner().invoke(app, ["restore", str(file), "--home", str(new)], catch_exceptions=False)
    assert answer.exit_code == 0
    assert ("sealed with the key" in answer.output) == (not with_key)
    if not with_key:
        (new / "secrets.key").write_bytes(key)
    with closing(Database(f"sqlite:///{new / 'tidegauge.sqlite'}")) as database:
        assert any(CANARY in channel.secret for channel in database.channels.where())
