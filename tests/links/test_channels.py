"""What goes out of channels, on real servers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from parts_prometheus import running_alertmanager
from parts_receivers import MESSAGE, NOW, MailBox, Receiver, certificate, http_receiver, mail_server
from tidegauge.domain.channel import Channel, ChannelKind, Message, Setting
from tidegauge.domain.images import encode_png
from tidegauge.errors import InvalidInputError
from tidegauge.links.addresses import Gate
from tidegauge.links.channels.kinds import TRANSPORTS
from tidegauge.links.channels.transport import Outgoing, SendError
from tidegauge.links.processes import free_port

MAIL = {"host": "127.0.0.1", "from": "gauge@example.org", "to": "a@example.org, b@example.org"}
URL = "http://gauge:32222/monitors/m1/runs/r1"
PRIVATE = Gate(private=True)  # the receivers are on this machine
RESOLVED = replace(MESSAGE, told="resolved", start=NOW, end=NOW + timedelta(minutes=5))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def send(
    kind: ChannelKind,
    settings: dict[str, Setting],
    secret: str = "",
    message: Message = MESSAGE,
    delivery_id: str = "d1",
    chart: bytes | None = None,
    timeout: float = 10.0,
    at: datetime | None = None,
) -> dict[str, str]:
    transport = TRANSPORTS[kind]
    checked = transport.check(settings, secret, PRIVATE)
    channel = Channel("c1", "ward", "ops", kind, checked, NOW, secret)
    outgoing = Outgoing(channel, message, delivery_id, URL, at or max(NOW, message.end), PRIVATE, chart)
    return transport.send(outgoing, timeout)


def send_mail(box: MailBox, secret: str = "", **changes: Setting) -> dict[str, str]:
    settings = {**MAIL, "port": box.port, "security": "none", **changes}
    return send(ChannelKind.MAIL, settings, secret)


# Webhooks


def test_a_webhook_carries_the_message_its_delivery_and_a_signature_over_both(receiver: Receiver) -> None:
    send(ChannelKind.WEBHOOK, {"url": f"{receiver.url}/hook?a=1"}, "key")
    (request,) = receiver.requests
    body = json.loads(request.body)
    assert request.path == "/hook?a=1"
    assert request.headers["content-type"] == "application/json"
    assert (body["delivery_id"], body["told"], body["summary"]) == ("d1", "fired", MESSAGE.summary)
    assert (body["start"], body["url"]) == ("2026-03-01T11:55:00Z", URL)
    assert request.headers["webhook-id"] == "d1"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    signed = f"d1.{int(NOW.timestamp())}.".encode() + request.body
    digest = base64.b64encode(hmac.new(b"key", signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{digest}"


def test_a_standard_webhook_key_is_read_as_base64(receiver: Receiver) -> None:
    send(ChannelKind.WEBHOOK, {"url": receiver.url}, "whsec_" + base64.b64encode(b"\0raw").decode())
    (request,) = receiver.requests
    signed = f"d1.{int(NOW.timestamp())}.".encode() + request.body
    digest = base64.b64encode(hmac.new(b"\0raw", signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{digest}"


def test_the_documented_receiver_knows_ours_from_others(receiver: Receiver) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text()
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    send(ChannelKind.WEBHOOK, {"url": receiver.url}, "key", at=datetime.now(UTC))
    send(ChannelKind.WEBHOOK, {"url": receiver.url}, "key")  # an old one, sent again by somebody else
    fresh, old = receiver.requests
    assert names["is_ours"](fresh.headers, fresh.body, b"key")
    assert not names["is_ours"](fresh.headers, fresh.body + b" ", b"key")
    assert not names["is_ours"](fresh.headers, fresh.body, b"other")
    assert not names["is_ours"](old.headers, old.body, b"key")


def test_a_webhook_without_a_key_has_no_signature(receiver: Receiver) -> None:
    send(ChannelKind.WEBHOOK, {"url": receiver.url})
    assert "webhook-signature" not in receiver.requests[0].headers


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answer(302, {"location": f"{receiver.url}/elsewhere"})
    with pytest.raises(SendError, match=r"302 Found, and redirects are not followed; give the final URL\."):
        send(ChannelKind.WEBHOOK, {"url": f"{receiver.url}/hook"})
    assert [request.path for request in receiver.requests] == ["/hook"]


def test_https_needs_a_certificate_that_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate(tmp_path)
    with http_receiver(context) as receiver:
        with pytest.raises(SendError, match="CERTIFICATE_VERIFY_FAILED"):
            send(ChannelKind.WEBHOOK, {"url": receiver.url})
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        send(ChannelKind.WEBHOOK, {"url": receiver.url})
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "refused", "wait"), [(500, False, 0), (429, False, 7), (404, False, 0), (422, True, 0)]
)
def test_a_bad_answer_is_told_with_what_was_said(
    receiver: Receiver, status: int, refused: bool, wait: float
) -> None:
    receiver.answer(status, {"retry-after": "7"} if wait else {}, b"no\n such thing")
    with pytest.raises(SendError, match=rf"It answered {status} .*: no such thing\.") as caught:
        send(ChannelKind.WEBHOOK, {"url": receiver.url})
    assert (caught.value.refused, caught.value.wait) == (refused, wait)


def test_an_answer_without_end_costs_no_more_than_its_begin(receiver: Receiver) -> None:
    receiver.answer(500, body=b"x" * 5_000_000)
    with pytest.raises(SendError) as caught:
        send(ChannelKind.WEBHOOK, {"url": receiver.url})
    assert len(caught.value.message) < 400


def test_a_receiver_that_hangs_is_given_up_after_the_time_out(receiver: Receiver) -> None:
    receiver.answer(200, after=3)
    began = time.monotonic()
    with pytest.raises(SendError, match=r"127\.0\.0\.1 did not answer within 0\.2 s\."):
        send(ChannelKind.WEBHOOK, {"url": receiver.url}, timeout=0.2)
    assert time.monotonic() - began < 2


def test_a_receiver_that_is_not_there_is_told() -> None:
    with pytest.raises(SendError, match=r"127\.0\.0\.1 cannot be reached: .*refused"):
        send(ChannelKind.WEBHOOK, {"url": f"http://127.0.0.1:{free_port()}"})


# Slack


def test_slack_gets_text_and_an_attachment_with_its_own_signs_masked(receiver: Receiver) -> None:
    send(ChannelKind.SLACK, {}, f"{receiver.url}/services/T/B/x")
    (request,) = receiver.requests
    body = json.loads(request.body)
    (attachment,) = body["attachments"]
    assert request.path == "/services/T/B/x"
    assert body["text"] == "*critical: low-accuracy, monitor xray*"
    assert "accuracy &lt; 0.85 &amp; falling" in attachment["text"]
    assert f"<{URL}|" in attachment["text"]
    assert "ward-3, lung" in attachment["text"]


def test_what_is_resolved_has_another_colour_on_slack(receiver: Receiver) -> None:
    for message in (MESSAGE, RESOLVED):
        send(ChannelKind.SLACK, {}, receiver.url, message)
    fired, resolved = (json.loads(request.body)["attachments"][0]["color"] for request in receiver.requests)
    assert fired != resolved


def test_the_url_of_slack_stands_in_no_log(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    send(ChannelKind.SLACK, {}, f"{receiver.url}/services/T/B/secret-part")
    assert caplog.records  # httpcore does log
    assert "secret-part" not in caplog.text


# Alertmanager


def test_a_real_alertmanager_fires_and_resolves(tmp_path: Path) -> None:
    with running_alertmanager(tmp_path, "route: {receiver: none}\nreceivers: [{name: none}]\n") as api:
        settings: dict[str, Setting] = {"url": f"{str(api.base_url).rstrip('/')}/"}
        send(ChannelKind.ALERTMANAGER, settings)
        (alert,) = firing(api)
        assert alert["labels"] == {
            "alertname": "low-accuracy",
            "severity": "critical",
            "monitor": "xray",
            "monitor_id": "m1",
            "alert_id": "a1",
            "tags": "ward-3,lung",
        }
        assert alert["annotations"]["summary"] == MESSAGE.summary
        assert alert["generatorURL"] == URL
        assert alert["startsAt"].startswith("2026-03-01T11:55:00")
        send(ChannelKind.ALERTMANAGER, settings, message=RESOLVED)
        deadline = time.monotonic() + 10
        while firing(api) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert firing(api) == []


def firing(api: httpx.Client) -> list[dict[str, object]]:
    answer: list[dict[str, object]] = api.get("/api/v2/alerts", params={"active": "true"}).json()
    return answer


def test_what_fires_ends_late_and_what_is_resolved_has_ended(receiver: Receiver) -> None:
    for message in (MESSAGE, RESOLVED, replace(MESSAGE, told="test")):
        send(ChannelKind.ALERTMANAGER, {"url": receiver.url}, message=message)
    ends = [json.loads(request.body)[0]["endsAt"] for request in receiver.requests]
    assert ends == [
        "2027-03-01T12:00:00.000+00:00",
        "2026-03-01T12:05:00.000+00:00",
        "2026-03-01T12:05:00.000+00:00",
    ]
    assert {request.path for request in receiver.requests} == {"/api/v2/alerts"}


@pytest.mark.parametrize(
    ("user", "sent"), [("ward", f"Basic {base64.b64encode(b'ward:pass').decode()}"), ("", "Bearer pass")]
)
def test_alertmanager_is_signed_in_to(receiver: Receiver, user: str, sent: str) -> None:
    send(ChannelKind.ALERTMANAGER, {"url": receiver.url, "user": user}, "pass")
    assert receiver.requests[0].headers["authorization"] == sent


# Mail


def test_a_mail_is_text_and_html_with_the_chart_inside() -> None:
    chart = encode_png(np.zeros((4, 4, 1), np.uint8))
    with mail_server() as box:
        settings: dict[str, Setting] = {**MAIL, "port": box.port, "security": "none"}
        send(ChannelKind.MAIL, settings, chart=chart)
    (letter,) = box.letters
    assert letter["subject"] == "critical: low-accuracy, monitor xray"
    assert letter["message-id"] == "<d1@example.org>"
    assert letter["references"] == "<a1@example.org>"
    assert letter["to"] == MAIL["to"]
    assert box.recipients == [["a@example.org", "b@example.org"]]
    text, page = letter.get_body(("plain",)), letter.get_body(("html",))
    assert text is not None
    assert page is not None
    assert MESSAGE.summary in text.get_content()
    assert URL in text.get_content()
    html = page.get_content()
    assert "accuracy &lt; 0.85 &amp; falling" in html
    assert "Drift &lt;healthy&gt;." in html
    (picture,) = [part for part in letter.walk() if part.get_content_type() == "image/png"]
    assert picture.get_content() == chart
    assert picture.get_content_disposition() == "inline"
    assert f"cid:{picture['content-id'].strip('<>')}" in html


def test_a_mail_without_a_chart_has_no_picture() -> None:
    with mail_server() as box:
        send_mail(box)
    (letter,) = box.letters
    assert [part.get_content_type() for part in letter.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


def test_a_name_with_a_line_break_cannot_add_a_header() -> None:
    with mail_server() as box:
        settings: dict[str, Setting] = {**MAIL, "port": box.port, "security": "none"}
        message = replace(MESSAGE, monitor="xray\r\nBcc: all@example.org")
        send(ChannelKind.MAIL, settings, message=message)
    assert "bcc" not in box.letters[0]


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # aiosmtpd does not count TLS from the begin as such
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_goes_through_tls_with_a_login(
    security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, context = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    given = {"starttls": context} if security == "starttls" else {"tls": context}
    with mail_server(password=b"pass word", **given) as box:
        send_mail(box, "pass word", host="localhost", security=security, user="ward")
    assert box.logins == [(b"ward", b"pass word")]
    assert box.encrypted == [True]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_trusts_is_refused(security: str, tmp_path: Path) -> None:
    _, context = certificate(tmp_path)
    given = {"starttls": context} if security == "starttls" else {"tls": context}
    with (
        mail_server(**given) as box,
        pytest.raises(SendError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        send_mail(box, host="localhost", security=security)
    assert box.letters == []


def test_a_server_without_starttls_gets_neither_password_nor_mail() -> None:
    with mail_server() as box, pytest.raises(SendError, match="STARTTLS"):
        send_mail(box, "pass", security="starttls", user="ward")
    assert (box.letters, box.logins) == ([], [])


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_a_wrong_password_is_told_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with (
        mail_server(password=b"right", tls=context) as box,
        pytest.raises(SendError, match=r"localhost refused the login of 'ward': 535") as caught,
    ):
        send_mail(box, "wrong-one", host="localhost", security="tls", user="ward")
    assert "wrong-one" not in caught.value.message


@pytest.mark.parametrize(
    ("answer", "refused"), [("451 later", False), ("552 too large", True), ("421 going down", False)]
)
def test_a_server_that_does_not_take_a_letter_is_told(answer: str, refused: bool) -> None:
    with mail_server() as box:
        box.answers.append(answer)
        with pytest.raises(SendError, match=answer) as caught:
            send_mail(box)
    assert caught.value.refused is refused


def test_one_bad_recipient_does_not_keep_the_mail_from_the_others() -> None:
    with mail_server() as box:
        box.refused = {"b@example.org"}
        assert send_mail(box) == {"refused": "b@example.org: 550 no such user"}
    assert box.recipients == [["a@example.org"]]


def test_nobody_left_to_get_it_is_a_failure() -> None:
    with mail_server() as box:
        box.refused = {"a@example.org", "b@example.org"}
        with pytest.raises(SendError, match=r"refused every recipient: a@example\.org: 550 no such user"):
            send_mail(box)


def test_a_server_that_hangs_is_given_up_after_the_time_out_of_the_whole() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = {**MAIL, "port": listener.getsockname()[1], "security": "none"}
        began = time.monotonic()
        with pytest.raises(SendError, match=r"127\.0\.0\.1 did not answer within 0\.3 s\."):
            send(ChannelKind.MAIL, settings, timeout=0.3)
        assert time.monotonic() - began < 2


def test_a_mail_server_that_is_not_there_is_told() -> None:
    settings: dict[str, Setting] = {**MAIL, "port": free_port(), "security": "none"}
    with pytest.raises(SendError, match=r"127\.0\.0\.1:\d+ does not take mail: .*refused"):
        send(ChannelKind.MAIL, settings)


# Settings


@pytest.mark.parametrize(
    ("kind", "settings", "secret", "fields"),
    [
        ("webhook", {}, "", ["settings.url"]),
        ("webhook", {"url": "file:///etc/passwd"}, "", ["settings.url"]),
        ("webhook", {"url": "https://"}, "", ["settings.url"]),
        ("webhook", {"url": "https://ward:pass@example.org"}, "", ["settings.url"]),
        ("webhook", {"url": "https://a.org/x y", "colour": "red"}, "", ["settings.colour", "settings.url"]),
        ("webhook", {"url": "https://a.org"}, "whsec_***", ["secret"]),
        ("slack", {}, "", ["secret"]),
        ("slack", {"url": "https://a.org"}, "https://a.org", ["settings.url"]),
        ("slack", {}, "hooks.slack.com/services/x", ["secret"]),
        ("alertmanager", {"url": "ftp://a.org", "user": "ward"}, "", ["settings.url", "secret"]),
        ("mail", {}, "", ["settings.host", "settings.from", "settings.to"]),
        ("mail", {**MAIL, "port": "many", "security": "ssl"}, "", ["settings.port", "settings.security"]),
        ("mail", {**MAIL, "port": 70000, "user": "ward"}, "", ["settings.port", "secret"]),
        ("mail", {**MAIL, "user": "ward", "security": "none"}, "pass", ["settings.security"]),
        ("mail", {**MAIL, "from": "ward", "to": "a@b.org,c d@e.org"}, "", ["settings.from", "settings.to"]),
        ("mail", {**MAIL, "host": "a\r\nb"}, "", ["settings.host", "settings.host"]),
    ],
)
def test_every_setting_that_is_wrong_is_named_at_once(
    kind: str, settings: dict[str, Setting], secret: str, fields: list[str]
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TRANSPORTS[ChannelKind(kind)].check(settings, secret, PRIVATE)
    assert [error.field for error in caught.value.errors] == fields
    assert all(error.message in caught.value.message for error in caught.value.errors)


def test_the_secret_url_of_slack_is_not_repeated_by_its_check() -> None:
    with pytest.raises(InvalidInputError) as caught:
        TRANSPORTS[ChannelKind.SLACK].check({}, "hooks.slack.com/services/secret-part", PRIVATE)
    assert "secret-part" not in caught.value.message


def test_settings_from_the_command_line_are_read_by_their_type() -> None:
    checked = TRANSPORTS[ChannelKind.MAIL].check(
        {**MAIL, "port": "2525", "to": "a@b.org ,c@d.org,"}, "", PRIVATE
    )
    assert (checked["port"], checked["to"]) == (2525, "a@b.org, c@d.org")
    assert checked["security"] == "starttls"
