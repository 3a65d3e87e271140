"""HTTP clients behind a gate, on real servers."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest

from parts_receivers import Receiver, certificate, http_receiver
from tidegauge.errors import InvalidInputError
from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.links.calling import async_client, client

HERE = Gate(private=True, resolve=lambda _host, _port: ["127.0.0.1"])
METADATA = "http://169.254.169.254/latest/meta-data/"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def ask(gate: Gate, url: str, **options: object) -> httpx.Response:
    with client(gate, **options) as made:  # type: ignore[arg-type]
        return made.post(url, content=b"x")


def ask_async(gate: Gate, url: str, **options: object) -> httpx.Response:
    async def run() -> httpx.Response:
        async with async_client(gate, **options) as made:  # type: ignore[arg-type]
            return await made.post(url, content=b"x")

    return anyio.run(run)


both = pytest.mark.parametrize("asking", [ask, ask_async])
Asking = Callable[..., httpx.Response]


@both
def test_the_checked_address_is_connected_to_under_the_name_that_was_given(
    receiver: Receiver, asking: Asking
) -> None:
    url = f"http://models.example:{receiver.port}/hook"
    assert asking(HERE, url).status_code == 200
    assert receiver.requests[0].headers["host"] == f"models.example:{receiver.port}"


@both
def test_a_name_that_changes_after_its_check_gains_nothing(receiver: Receiver, asking: Asking) -> None:
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]])
    gate = Gate(private=False, resolve=lambda _host, _port: next(answers))
    url = f"http://rebinding.example:{receiver.port}/"
    gate.check(url)
    with pytest.raises(RefusedAddressError):
        asking(gate, url)
    assert receiver.requests == []


@both
@pytest.mark.parametrize("to", [METADATA, "http://[::ffff:a9fe:a9fe]/", "http://2852039166/"])
def test_redirects_pass_the_same_gate(receiver: Receiver, asking: Asking, to: str) -> None:
    receiver.answer(307, {"location": to})
    with pytest.raises(InvalidInputError):
        asking(Gate(private=True), receiver.url, follow_redirects=True)


@both
def test_a_redirect_is_followed_where_it_may_lead(receiver: Receiver, asking: Asking) -> None:
    receiver.answer(307, {"location": "/there"})
    assert asking(Gate(private=True), receiver.url, follow_redirects=True).status_code == 200
    assert [request.path for request in receiver.requests] == ["/", "/there"]


@both
def test_redirects_are_not_followed_unless_they_are_asked_for(receiver: Receiver, asking: Asking) -> None:
    receiver.answer(302, {"location": METADATA})
    assert asking(Gate(private=True), receiver.url).status_code == 302


@both
def test_private_addresses_are_not_for_everybody(receiver: Receiver, asking: Asking) -> None:
    with pytest.raises(RefusedAddressError):
        asking(Gate(private=False), receiver.url)
    assert receiver.requests == []


@both
def test_a_name_without_an_address_is_an_error_of_the_connection(asking: Asking) -> None:
    with pytest.raises(httpx.ConnectError):
        asking(Gate(private=True), "http://no-such-host.invalid/")


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Receiver, str]]:
    file, context = certificate(tmp_path)
    with http_receiver(context) as made:
        yield made, file.read_text()


def fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


@both
def test_an_authority_of_ones_own_is_trusted_where_it_is_given(
    secure: tuple[Receiver, str], asking: Asking
) -> None:
    receiver, pem = secure
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        asking(Gate(private=True), receiver.url)
    assert asking(Gate(private=True), receiver.url, ca=pem).status_code == 200
    with pytest.raises(httpx.ConnectError, match=r"(?i)mismatch"):  # the name is still compared
        asking(HERE, f"https://other.example:{receiver.port}/", ca=pem)


@both
def test_a_pinned_certificate_is_the_only_one(secure: tuple[Receiver, str], asking: Asking) -> None:
    receiver, pem = secure
    right = fingerprint(pem)
    colons = ":".join(right[at : at + 2].upper() for at in range(0, 64, 2))
    for written in (right, colons):
        assert asking(Gate(private=True), receiver.url, fingerprint=written).status_code == 200
    heard = len(receiver.requests)
    with pytest.raises(httpx.ConnectError, match="another certificate"):
        asking(Gate(private=True), receiver.url, fingerprint="0" * 64)
    assert len(receiver.requests) == heard


@both
def test_what_is_to_be_encrypted_is_never_asked_in_the_clear(
    receiver: Receiver, secure: tuple[Receiver, str], asking: Asking
) -> None:
    safe, pem = secure
    for trust in ({"ca": pem}, {"fingerprint": fingerprint(pem)}):
        with pytest.raises(RefusedAddressError, match="https"):
            asking(Gate(private=True), receiver.url, **trust)
        safe.answer(307, {"location": receiver.url})
        with pytest.raises(RefusedAddressError, match="https"):
            asking(Gate(private=True), safe.url, follow_redirects=True, **trust)
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("given", "field"), [({"ca": "no"}, "ca"), ({"fingerprint": "ab:cd"}, "fingerprint")]
)
def test_trust_that_cannot_be_read_is_named(given: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        client(Gate(private=True), **given)  # type: ignore[arg-type]
    assert caught.value.errors[0].field == field


def test_a_proxy_is_asked_only_for_what_the_gate_lets_through(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", receiver.url)
    monkeypatch.delenv("no_proxy", raising=False)
    open_gate = Gate(private=False, resolve=lambda _host, _port: ["8.8.8.8"])
    assert ask(open_gate, "http://models.example/x").status_code == 200
    assert receiver.requests[0].path == "http://models.example/x"
    with pytest.raises(RefusedAddressError):
        ask(Gate(private=False), METADATA)
    assert len(receiver.requests) == 1
