from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import polars as pl
import pytest

import tidegauge.client.connection
from parts import UNSERVABLE, write_images, write_model
from tidegauge.client import Client, credentials_file, wait_for
from tidegauge.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TidegaugeError,
    UnavailableError,
)


@contextmanager
def stranger(status: int, body: bytes) -> Iterator[str]:
    """Run an HTTP server that answers every request alike; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No address and no token, neither in the environment nor saved."""
    monkeypatch.delenv("TIDEGAUGE_URL", raising=False)
    monkeypatch.delenv("TIDEGAUGE_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return monkeypatch


def save(text: str) -> None:
    credentials_file().parent.mkdir(parents=True, exist_ok=True)
    credentials_file().write_text(text)


def where(*arguments: str | None) -> tuple[str, str]:
    with Client(*arguments) as client:
        return client.url, client.token


def test_arguments_win_over_environment_over_saved_over_default(nobody: pytest.MonkeyPatch) -> None:
    assert where() == ("http://127.0.0.1:32222", "")
    save('url = "http://saved"\ntoken = "tg_saved"\n')
    assert where() == ("http://saved", "tg_saved")
    nobody.setenv("TIDEGAUGE_URL", "http://environment/")
    nobody.setenv("TIDEGAUGE_TOKEN", "tg_environment")
    assert where() == ("http://environment", "tg_environment")
    assert where("http://argument", "tg_argument") == ("http://argument", "tg_argument")


@pytest.mark.usefixtures("nobody")
def test_a_saved_token_goes_to_its_own_server_only() -> None:
    save('url = "http://saved"\ntoken = "tg_saved"\n')
    assert where("http://other") == ("http://other", "")
    assert where("http://saved/") == ("http://saved", "tg_saved")


@pytest.mark.usefixtures("nobody")
def test_damaged_credentials_name_the_file_and_do_not_stop_a_new_login() -> None:
    save("url = ")
    with pytest.raises(InvalidInputError, match=r"credentials\.toml is damaged .* tidegauge login"):
        Client()
    assert where("http://new", "tg_new") == ("http://new", "tg_new")


@pytest.mark.parametrize("url", ["127.0.0.1:32222", "ftp://host", "http://", "http://[::1", "words"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidInputError, match="give an address such as"):
        Client(url, "tg_x")


@pytest.mark.parametrize("token", ["tg_\n", "tg_é", "tg_ x"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(InvalidInputError, match="copy it again"):
        Client("http://127.0.0.1:1", token)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Client(client.url, client.token) as behind:
        assert behind.me().name == "operator"


def test_no_server_at_all() -> None:
    with Client("http://127.0.0.1:1", "tg_x") as client, pytest.raises(UnavailableError) as caught:
        client.me()
    assert caught.value.message.startswith("http://127.0.0.1:1 does not answer")
    assert "tidegauge up" in caught.value.message


@pytest.mark.parametrize(
    ("status", "body", "error", "sentence"),
    [
        (200, b"<html>", TidegaugeError, "did not answer with JSON"),
        (200, b'{"id": 7}', TidegaugeError, "answer is not understood"),
        (418, b"tea", TidegaugeError, "answered 418: tea"),
        (503, b"busy", UnavailableError, "answered 503: busy"),
        (404, b'{"detail": 3, "errors": [{}]}', NotFoundError, "answered 404"),
    ],
)
def test_a_server_that_is_no_tidegauge(
    status: int, body: bytes, error: type[TidegaugeError], sentence: str
) -> None:
    with stranger(status, body) as url, Client(url, "tg_x") as client:
        with pytest.raises(TidegaugeError, match=sentence) as caught:
            client.me()
        assert type(caught.value) is error


def test_each_error_of_the_server_has_its_class(client: Client) -> None:
    with pytest.raises(NotFoundError, match="no dataset 'none'"):
        client.datasets.get("none")
    with pytest.raises(InvalidInputError) as invalid:
        client.datasets.create("x", git="https://host/x", sub_path="/", form="cubes")
    assert [item.field for item in invalid.value.errors] == ["form"]
    with pytest.raises(InvalidInputError, match="not both"):
        client.datasets.create("x", git="https://host/x", folder="/tmp")
    client.datasets.create("x")
    with pytest.raises(ConflictError):
        client.datasets.create("x")
    with Client(client.url, "tg_wrong") as wrong, pytest.raises(NotSignedInError):
        wrong.me()


def test_a_listing_goes_on_over_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c", "d", "e"):
        client.datasets.create(f"set-{name}")
    monkeypatch.setattr(tidegauge.client.connection, "_PAGE", 2)
    assert [item.name for item in client.datasets.list()] == [f"set-{name}" for name in "edcba"]
    assert [item.name for item in client.datasets.list("set-c")] == ["set-c"]


def test_an_upload_comes_back_as_it_was(client: Client, tmp_path: Path) -> None:
    source = write_model(tmp_path / "model")
    client.models.create("tiny")
    seen: list[tuple[str, int, int]] = []
    version = client.models.add_version("tiny", source, meta={"note": 1}, progress=lambda *s: seen.append(s))
    assert (version.number, version.meta["note"]) == (1, 1)
    uploads = [(done, total) for step, done, total in seen if step == "upload"]
    assert uploads[-1][0] == uploads[-1][1] > 0
    assert seen[-1][0] == "import"

    loads: list[tuple[str, int, int]] = []
    folder = client.models.download("tiny", 1, tmp_path / "back", progress=lambda *s: loads.append(s))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    assert loads[-1][0] == "download"
    assert loads[-1][1] == loads[-1][2] > 0


def test_what_is_uploaded_must_be_there(client: Client, tmp_path: Path) -> None:
    client.datasets.create("set")
    with pytest.raises(InvalidInputError, match="give a folder or an archive that exists"):
        client.datasets.add_version("set", tmp_path / "absent")
    with pytest.raises(InvalidInputError, match="send an archive"):
        client.datasets.add_version("set")
    (tmp_path / "words.zip").write_text("no archive")
    with pytest.raises(TidegaugeError, match="Version v1 of 'set' could not be imported"):
        client.datasets.add_version("set", tmp_path / "words.zip")
    with pytest.raises(NotFoundError, match="v2"):
        client.datasets.download("set", 2, tmp_path / "back")


def test_a_failed_baseline_is_raised(client: Client, tmp_path: Path) -> None:
    broken = write_model(tmp_path / "model")
    (broken / "model.onnx").write_bytes(UNSERVABLE)
    pl.DataFrame({"file": ["1.png"]}).write_parquet(broken / "reference.parquet")
    client.models.create("broken")
    client.models.add_version("broken", broken)
    client.deployments.create("broken", "broken", 1)
    client.deployments.update("broken", wanted="stopped")
    client.datasets.create("two", folder=write_images(tmp_path / "images", 1))
    client.datasets.add_version("two")
    monitor = client.monitors.create(
        "broken",
        {
            "drift": {
                "enabled": True,
                "image": {"height": 32, "width": 32},
                "train_data": {"dataset": "two", "version": 1},
            }
        },
    )
    with pytest.raises(TidegaugeError, match=r"in error: reference\.parquet .* no column 'output'"):
        client.monitors.wait(monitor.id)


def test_waiting_has_an_end() -> None:
    seen: list[int] = []

    def look() -> int:
        seen.append(len(seen))
        return len(seen)

    assert wait_for(look, lambda n: n == 3, "The thing", 10) == 3
    with pytest.raises(UnavailableError, match="The thing was not done after 0 s"):
        wait_for(look, lambda _: False, "The thing", 0)
