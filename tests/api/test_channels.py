"""``/api/v1/channels``, over HTTP and through the SDK, on a whole server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from parts import running_server
from parts_receivers import EVENT, MESSAGE, NOW, Clock, Receiver, http_receiver
from tidegauge.client import Client
from tidegauge.domain.channel import HIDDEN, ChannelKind, DeliveryState
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tidegauge.services.notifications import Notifications
from tidegauge.storage.database import Database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("channels") / "home") as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


@pytest.fixture
def client(server: Client) -> Iterator[Client]:
    yield server
    for channel in server.channels.list():
        server.channels.delete(channel.id)


def http(client: Client) -> httpx.Client:
    headers = {"Authorization": f"Bearer {client.token}"}
    return httpx.Client(base_url=f"{client.url}/api/v1", headers=headers, trust_env=False)


def test_a_channel_is_made_listed_changed_and_deleted(client: Client) -> None:
    made = client.channels.create("ops", "webhook", {"url": "https://a.org/hook"}, "key")
    assert (made.kind, made.settings, made.secret) == (
        ChannelKind.WEBHOOK,
        {"url": "https://a.org/hook"},
        HIDDEN,
    )
    assert client.channels.list() == [made]
    assert client.channels.get("ops") == client.channels.get(made.id) == made
    assert client.channels.change("ops", {"url": "https://b.org"}).settings == {"url": "https://b.org"}
    client.channels.delete("ops")
    with pytest.raises(NotFoundError, match="There is no channel 'ops'"):
        client.channels.get("ops")


def test_no_answer_holds_a_secret(client: Client, receiver: Receiver) -> None:
    with http(client) as api:
        secret = f"{receiver.url}/secret-part"
        body = {"name": "ops", "kind": "slack", "secret": secret}
        answers = [api.post("/channels", json=body)]
        channel_id = answers[0].json()["id"]
        answers += [api.post(f"/channels/{channel_id}/test"), api.post("/channels", json=body)]
        receiver.answer(500, body=secret.encode())
        answers += [api.post(f"/channels/{channel_id}/test")]
        answers += [api.get(path) for path in ("/channels", "/channels/ops", "/channels/ops/deliveries")]
        answers += [
            api.patch("/channels/ops", json={"secret": "secret-part, but no URL"}),
            api.patch("/channels/ops", json={"secret": secret, "settings": {"url": "x"}}),
        ]
    assert [answer.status_code for answer in answers] == [201, 200, 409, 503, 200, 200, 200, 422, 422]
    assert [answer.text for answer in answers if "secret-part" in answer.text] == []


def test_a_test_is_sent_at_once_and_listed(client: Client, receiver: Receiver) -> None:
    client.channels.create("ops", "webhook", {"url": receiver.url})
    sent = client.channels.test("ops")
    assert sent.state is DeliveryState.SENT
    assert [request.headers["webhook-id"] for request in receiver.requests] == [sent.id]
    assert client.channels.deliveries("ops") == [sent]
    assert client.channels.detail("ops")["deliveries"]["sent"] == 1


def test_a_test_that_fails_is_503_with_the_reason(client: Client, receiver: Receiver) -> None:
    client.channels.create("ops", "webhook", {"url": receiver.url})
    receiver.answer(410, body=b"moved")
    with pytest.raises(UnavailableError, match=r"'ops' does not work: It answered 410 Gone: moved"):
        client.channels.test("ops")
    assert [delivery.state for delivery in client.channels.deliveries("ops")] == [DeliveryState.DROPPED]


def test_deliveries_are_filtered_by_state(client: Client, receiver: Receiver) -> None:
    client.channels.create("ops", "webhook", {"url": receiver.url})
    client.channels.test("ops")
    with http(client) as api:
        found = [
            len(api.get("/channels/ops/deliveries", params={"state": state}).json()["items"])
            for state in ("sent", "waiting")
        ]
        assert found == [1, 0]
        assert api.get("/channels/ops/deliveries", params={"state": "lost"}).status_code == 422


def test_every_mistake_is_named_with_its_field(client: Client) -> None:
    with pytest.raises(InvalidInputError) as caught:
        client.channels.create("ops", "mail", {"host": "smtp.a.org", "from": "nobody", "colour": "red"})
    assert [error.field for error in caught.value.errors] == [
        "settings.colour",
        "settings.to",
        "settings.from",
    ]
    assert client.channels.list() == []


def test_an_unknown_kind_is_refused(client: Client) -> None:
    with pytest.raises(InvalidInputError) as caught:
        client.channels.create("ops", "pigeon")
    assert [error.field for error in caught.value.errors] == ["kind"]


def test_a_name_is_taken_once(client: Client) -> None:
    client.channels.create("ops", "webhook", {"url": "https://a.org"})
    with pytest.raises(ConflictError):
        client.channels.create("ops", "webhook", {"url": "https://a.org"})


def test_a_server_sends_what_waited_before_it_was_started(tmp_path: Path, receiver: Receiver) -> None:
    home = tmp_path / "home"
    with running_server(home) as client:
        client.channels.create("ops", "webhook", {"url": receiver.url})
    database = Database(f"sqlite:///{home / 'tidegauge.sqlite'}")
    Notifications(database, "http://x", Clock()).post(EVENT, MESSAGE, ["ops"], "operator", NOW)
    database.close()
    with running_server(home) as client:
        deadline = time.monotonic() + 10
        while client.channels.detail("ops")["deliveries"]["sent"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    (request,) = receiver.requests
    assert f"{client.url}/monitors/m1/runs/r1".encode() in request.body
