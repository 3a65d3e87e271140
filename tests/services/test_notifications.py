"""Posting and sending of notifications: real receivers, both databases, and a clock that tests move."""

from __future__ import annotations

import contextlib
import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from parts_receivers import EVENT, MESSAGE, NOW, Clock, Receiver, add_channel, http_receiver, mail_server
from tidegauge.domain.channel import Channel, ChannelKind, Delivery, DeliveryState
from tidegauge.errors import NotFoundError, UnavailableError
from tidegauge.links.channels.kinds import TRANSPORTS
from tidegauge.links.channels.transport import Outgoing, SendError, Transport
from tidegauge.links.processes import free_port
from tidegauge.services.gates import Gates
from tidegauge.services.notifications import Notifications, Pace
from tidegauge.storage.database import Database

DAY = 86_400.0
Make = Callable[..., Notifications]


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Database]:
    """For what has nothing to do with the database."""
    made = Database(f"sqlite:///{tmp_path / 'lite.sqlite'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def sender(database: Database, clock: Clock, **options: object) -> Notifications:
    gates = Gates(database, allow_private=True)  # the receivers are on this machine
    given = {"gates": gates, "pace": Pace(timeout=5), "rng": random.Random(0), **options}
    return Notifications(database, "http://gauge:1/", clock, **given)  # type: ignore[arg-type]


def post(notifications: Notifications, clock: Clock, *names: str, text: str = "first") -> None:
    notifications.post(EVENT, replace(MESSAGE, summary=text), names, "ward", clock.now)


def deliveries(database: Database, channel: Channel) -> list[Delivery]:
    return list(database.deliveries.where(channel_id=channel.id))


def only(database: Database, channel: Channel) -> Delivery:
    (delivery,) = deliveries(database, channel)
    return delivery


def ids(receiver: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


def until(done: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


# Posting


def test_posting_makes_a_row_for_each_channel_and_sends_nothing(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channels = [add_channel(database, name, {"url": receiver.url}) for name in ("a", "b")]
    post(sender(database, clock), clock, "a", "b", "a")
    for channel in channels:
        found = only(database, channel)
        assert (found.state, found.alert_event_id, found.monitor_id) == (DeliveryState.WAITING, "e1", "m1")
        assert found.message == replace(MESSAGE, summary="first")
    assert receiver.requests == []


def test_what_is_posted_in_a_transaction_that_fails_is_not_there(database: Database, clock: Clock) -> None:
    channel = add_channel(database, "a", {"url": "http://x"})
    with contextlib.suppress(RuntimeError), database.transaction():
        post(sender(database, clock), clock, "a")
        raise RuntimeError
    assert deliveries(database, channel) == []


def test_a_channel_that_is_not_there_is_told_and_the_others_get_it(
    lite: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    channel = add_channel(lite, "a", {"url": "http://x"})
    post(sender(lite, clock), clock, "gone", "a")
    assert len(deliveries(lite, channel)) == 1
    assert "there is no channel 'gone'" in caplog.text


# Sending


def test_what_is_due_is_sent_once_and_marked(database: Database, clock: Clock, receiver: Receiver) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    made = sender(database, clock)
    post(made, clock, "a")
    assert made.send_due() == 1
    assert made.send_due() == 0
    found = only(database, channel)
    assert (found.state, found.sent_at, found.tries) == (DeliveryState.SENT, NOW, 1)
    assert ids(receiver) == [found.id]
    assert b"http://gauge:1/monitors/m1/runs/r1" in receiver.requests[0].body


def test_a_failure_is_tried_again_later_under_the_same_id(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    made = sender(database, clock)
    post(made, clock, "a")
    receiver.answer(500)
    made.send_due()
    failed = only(database, channel)
    assert (failed.state, failed.error) == (
        DeliveryState.WAITING,
        "It answered 500 Internal Server Error.",
    )
    assert made.send_due() == 0
    clock.forward(5)
    made.send_due()
    assert only(database, channel).state is DeliveryState.SENT
    assert ids(receiver) == [failed.id, failed.id]


def test_pauses_double_up_to_an_hour_with_at_most_half_taken_off(
    lite: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock)
    post(made, clock, "a")
    pauses = []
    for _ in range(13):
        receiver.answer(500)
        made.send_due()
        due = only(lite, channel).due_at
        pauses.append((due - clock.now).total_seconds())
        clock.now = due
    full = [min(3600.0, 5.0 * 2**tries) for tries in range(13)]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, full, strict=True))
    assert len({pause / limit for pause, limit in zip(pauses, full, strict=True)}) == 13


def test_a_receiver_that_asks_to_wait_is_left_alone_so_long(
    lite: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock)
    post(made, clock, "a")
    receiver.answer(429, {"retry-after": "600"})
    made.send_due()
    assert (only(lite, channel).due_at - NOW).total_seconds() == 600


def test_a_channel_shows_since_when_it_fails_and_why_until_it_works(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    made = sender(database, clock)
    post(made, clock, "a")
    for status in (500, 503):
        receiver.answer(status)
        made.send_due()
        clock.forward(10)
    failing = database.channels.get(channel.id)
    assert (failing.failing_since, failing.message) == (NOW, "It answered 503 Service Unavailable.")
    made.send_due()
    works = database.channels.get(channel.id)
    assert (works.failing_since, works.message) == (None, "")


def test_a_message_is_given_up_after_a_day_and_not_silently(
    database: Database, clock: Clock, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    made = sender(database, clock)
    post(made, clock, "a")
    for seconds in (DAY - 1, 1):
        clock.forward(seconds)
        receiver.answer(500)
        made.send_due()
        made.hurry(channel.id)
    found = only(database, channel)
    assert (found.state, found.error) == (DeliveryState.DROPPED, "It answered 500 Internal Server Error.")
    assert "was given up" in database.channels.get(channel.id).message
    assert f"{found.id} to channel a is given up after 2 tries" in caplog.text


def test_what_waited_while_no_server_ran_is_tried_however_old_it_is(
    lite: Database, clock: Clock, receiver: Receiver
) -> None:
    add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock)
    post(made, clock, "a")
    clock.forward(3 * DAY)
    made.send_due()
    assert len(receiver.requests) == 1


def test_a_message_that_its_receiver_refuses_holds_the_others_up_for_an_hour_at_most(
    lite: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock)
    post(made, clock, "a", text="refused")
    post(made, clock, "a", text="second")
    clock.forward(3599)
    receiver.answer(413)
    assert made.send_due() == 1
    clock.forward(5)
    receiver.answer(413)
    assert made.send_due() == 2
    assert [item.state for item in deliveries(lite, channel)] == [DeliveryState.DROPPED, DeliveryState.SENT]


def test_the_order_is_kept_though_the_first_fails(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    made = sender(database, clock)
    for text in ("first", "second", "third"):
        post(made, clock, "a", text=text)
    receiver.answer(500)
    assert made.send_due() == 1
    clock.forward(5)
    assert made.send_due() == 3
    first, second, third = (delivery.id for delivery in deliveries(database, channel))
    assert ids(receiver) == [first, first, second, third]


def test_a_mistake_of_ours_is_a_failure_of_the_message_alone(lite: Database, clock: Clock) -> None:
    def stumble(outgoing: Outgoing, timeout: float) -> dict[str, str]:
        raise ZeroDivisionError("secret-key")

    channel = add_channel(lite, "a", {}, secret="secret-key")
    transports = {ChannelKind.WEBHOOK: Transport(lambda settings, _: dict(settings), stumble)}
    made = sender(lite, clock, transports=transports)
    post(made, clock, "a")
    made.send_due()
    assert only(lite, channel).error == "It could not be sent: ZeroDivisionError: ***"


def test_a_secret_that_a_receiver_repeats_is_not_shown(
    lite: Database, clock: Clock, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = "/services/secret-part"
    channel = add_channel(lite, "a", {}, ChannelKind.SLACK, f"{receiver.url}{path}")
    made = sender(lite, clock)
    post(made, clock, "a")
    receiver.answer(404, body=f"no {receiver.url}{path}".encode())
    made.send_due()
    shown = [only(lite, channel).error, lite.channels.get(channel.id).message, caplog.text, repr(channel)]
    assert [text for text in shown if "secret-part" in text] == []


# Charts


def test_a_mail_has_the_chart_that_is_drawn_for_it(lite: Database, clock: Clock) -> None:
    drawn: list[str] = []

    def draw(delivery: Delivery) -> bytes:
        drawn.append(delivery.message.run_id)
        return b"\x89PNG"

    with mail_server() as box:
        add_mail(lite, box.port)
        made = sender(lite, clock, draw=draw)
        post(made, clock, "mail")
        made.send_due()
    assert drawn == ["r1"]
    assert b"\x89PNG" in [part.get_content() for part in box.letters[0].walk() if not part.is_multipart()]


def test_a_chart_that_cannot_be_drawn_does_not_keep_the_mail(lite: Database, clock: Clock) -> None:
    def draw(delivery: Delivery) -> bytes:
        raise ValueError

    with mail_server() as box:
        channel = add_mail(lite, box.port)
        made = sender(lite, clock, draw=draw)
        post(made, clock, "mail")
        made.send_due()
    assert only(lite, channel).state is DeliveryState.SENT
    assert len(box.letters) == 1


def add_mail(database: Database, port: int) -> Channel:
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "user": "",
        "from": "g@x.org",
        "to": "a@x.org",
    }
    return add_channel(database, "mail", settings, ChannelKind.MAIL)


# Several senders, and senders that die


def test_a_claim_keeps_other_senders_away_from_the_channel(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    other = sender(database, clock)
    seen = []

    def peek(outgoing: Outgoing, timeout: float) -> dict[str, str]:
        seen.append(other.send_due())
        return TRANSPORTS[ChannelKind.WEBHOOK].send(outgoing, timeout)

    busy = sender(database, clock, transports=sending(peek))
    for text in ("first", "second"):
        post(busy, clock, "a", text=text)
    assert busy.send_due() == 2
    assert seen == [0, 0]
    assert ids(receiver) == [delivery.id for delivery in deliveries(database, channel)]


def sending(send: Callable[[Outgoing, float], dict[str, str]]) -> dict[ChannelKind, Transport]:
    return {ChannelKind.WEBHOOK: replace(TRANSPORTS[ChannelKind.WEBHOOK], send=send)}


def test_many_senders_at_once_send_everything_once_and_in_order(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channels = [add_channel(database, f"c{number}", {"url": receiver.url}) for number in range(3)]
    senders = [sender(database, clock, pace=Pace(look=0.02)) for _ in range(4)]
    for number in range(15):
        for channel in channels:
            post(senders[0], clock, channel.name, text=str(number))
    for one in senders:
        one.start()
    until(lambda: database.deliveries.count(state=DeliveryState.SENT) == 45, 60)
    for one in senders:
        one.close()
    got = ids(receiver)
    for channel in channels:
        expected = [delivery.id for delivery in deliveries(database, channel)]
        assert [id_ for id_ in got if id_ in expected] == expected
    assert len(got) == 45


_DIES = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from datetime import datetime, UTC
from tidegauge.domain.channel import ChannelKind
from tidegauge.links.channels.kinds import TRANSPORTS
from tidegauge.services.gates import Gates
from tidegauge.services.notifications import Notifications
from tidegauge.storage.database import Database
url, key, now, moment = sys.argv[1:]
send = TRANSPORTS[ChannelKind.WEBHOOK].send
def die(outgoing, timeout):
    if moment == "after":
        send(outgoing, timeout)
    os.kill(os.getpid(), signal.SIGKILL)
transports = {ChannelKind.WEBHOOK: replace(TRANSPORTS[ChannelKind.WEBHOOK], send=die)}
clock = lambda: datetime.fromisoformat(now)
database = Database(url, Path(key))
gates = Gates(database, allow_private=True)
Notifications(database, "http://x", clock, gates=gates, transports=transports).send_due()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_a_killed_sender_had_claimed_is_sent_under_the_same_id_once_its_lease_is_over(
    database: Database, clock: Clock, receiver: Receiver, moment: str
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    made = sender(database, clock)
    post(made, clock, "a")
    url = database.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    given = [url, str(database.keys.path), NOW.isoformat(), moment]
    killed = subprocess.run([sys.executable, "-c", _DIES, *given], check=False)
    assert killed.returncode == -9
    claimed = only(database, channel)
    assert claimed.state is DeliveryState.SENDING
    clock.forward(Pace().lease)
    assert made.send_due() == 0
    clock.forward(1)
    assert made.send_due() == 1
    assert only(database, channel).state is DeliveryState.SENT
    assert ids(receiver) == [claimed.id] * (2 if moment == "after" else 1)


def test_a_sender_that_comes_late_cannot_undo_what_another_has_done_since(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    other = sender(database, clock)

    def oversleep(outgoing: Outgoing, timeout: float) -> dict[str, str]:
        clock.forward(Pace().lease + 1)
        assert other.send_due() == 1
        raise SendError("too late")

    late = sender(database, clock, transports=sending(oversleep))
    post(late, clock, "a")
    assert late.send_due() == 1
    found = only(database, channel)
    assert (found.state, found.tries, found.error) == (DeliveryState.SENT, 2, "")


# Threads


def test_a_channel_that_hangs_and_one_that_is_dead_block_no_other(
    lite: Database, clock: Clock, receiver: Receiver
) -> None:
    with http_receiver() as hanging:
        for number in range(6):
            hanging.answer(200, after=3)
            add_channel(lite, f"hangs-{number}", {"url": hanging.url})
        add_channel(lite, "dead", {"url": f"http://127.0.0.1:{free_port()}"})
        add_channel(lite, "works", {"url": receiver.url})
        made = sender(lite, clock, pace=Pace(timeout=2))
        post(made, clock, *(f"hangs-{number}" for number in range(6)), "dead")
        made.start()
        until(lambda: len(hanging.requests) == 6)
        began = time.monotonic()
        for text in ("first", "second"):
            post(made, clock, "works", text=text)
            made.kick()
        until(lambda: len(receiver.requests) == 2)
        assert time.monotonic() - began < 1.5
        made.close()


def test_a_kick_sends_at_once(lite: Database, clock: Clock, receiver: Receiver) -> None:
    add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock, pace=Pace(look=3600))
    made.start()
    for number in range(3):
        post(made, clock, "a")
        made.kick()
        until(lambda number=number: len(receiver.requests) == number + 1)  # type: ignore[misc]
    made.close()


def test_what_others_post_is_found_without_a_kick(lite: Database, clock: Clock, receiver: Receiver) -> None:
    add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock, pace=Pace(look=0.02))
    made.start()
    post(sender(lite, clock), clock, "a")
    until(lambda: receiver.requests)
    made.close()


def test_a_database_that_is_away_for_a_moment_ends_nothing(
    lite: Database, clock: Clock, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock, pace=Pace(look=0.02))
    tally, away = lite.deliveries.tally, threading.Event()

    def fail(*columns: str, **where: object) -> dict[tuple[object, ...], int]:
        if not away.is_set():
            away.set()
            raise OSError("away")
        return tally(*columns, **where)

    monkeypatch.setattr(lite.deliveries, "tally", fail)
    post(made, clock, "a")
    made.start()
    until(lambda: receiver.requests)
    made.close()
    assert away.is_set()


def test_what_is_sent_is_not_sent_again_because_it_could_not_be_written_down_at_once(
    lite: Database, clock: Clock, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock)
    post(made, clock, "a")
    update, failures = lite.deliveries.update, [OSError("away")]

    def fail(id_: str, expect: dict[str, object] | None = None, **changes: object) -> bool:
        if changes.get("state") is DeliveryState.SENT and failures:
            raise failures.pop()
        return update(id_, expect, **changes)

    monkeypatch.setattr(lite.deliveries, "update", fail)
    made.send_due()
    assert only(lite, channel).state is DeliveryState.SENT
    assert len(receiver.requests) == 1


def test_closing_does_not_wait_for_a_receiver_that_hangs(
    lite: Database, clock: Clock, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegauge.services.notifications._CLOSE_SECONDS", 0.1)
    channel = add_channel(lite, "a", {"url": receiver.url})
    made = sender(lite, clock)
    post(made, clock, "a")
    receiver.answer(200, after=1)
    made.start()
    until(lambda: receiver.requests)
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 0.6
    assert only(lite, channel).state is DeliveryState.SENDING
    until(lambda: only(lite, channel).state is DeliveryState.SENT)


# Send test


def test_a_test_goes_past_what_waits_and_wakes_it(
    database: Database, clock: Clock, receiver: Receiver
) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    made = sender(database, clock)
    post(made, clock, "a")
    receiver.answer(500)
    made.send_due()
    tested = made.test(channel.id)
    assert (tested.state, tested.message.told, tested.alert_event_id) == (DeliveryState.SENT, "test", "")
    assert b"This is a test of the channel 'a'" in receiver.requests[1].body
    assert database.channels.get(channel.id).failing_since is None
    assert made.send_due() == 1


def test_a_test_that_fails_says_why_and_is_kept(database: Database, clock: Clock, receiver: Receiver) -> None:
    channel = add_channel(database, "a", {"url": receiver.url})
    receiver.answer(403, body=b"who are you")
    made = sender(database, clock)
    with pytest.raises(
        UnavailableError, match=r"The channel 'a' does not work: It answered 403 Forbidden: who"
    ):
        made.test(channel.id)
    found = only(database, channel)
    assert (found.state, found.error) == (
        DeliveryState.DROPPED,
        "It answered 403 Forbidden: who are you.",
    )
    assert made.send_due() == 0


def test_a_test_of_a_channel_that_is_gone_says_so(lite: Database, clock: Clock) -> None:
    with pytest.raises(NotFoundError):
        sender(lite, clock).test("none")
