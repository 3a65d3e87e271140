"""Where a URL that somebody types may lead."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from tidegauge.errors import InvalidInputError
from tidegauge.links.addresses import Gate, Reach, RefusedAddressError, reach, resolve

PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")
PRIVATE = (
    "127.0.0.1",
    "127.8.9.1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",  # carrier's
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "::127.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "2001:0:a00:1::f5ff:fffe",  # Teredo with a private server
)
NEVER = (
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::254%1",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::ffff:0.0.0.0",
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, Reach.PUBLIC) for text in PUBLIC),
        *((text, Reach.PRIVATE) for text in PRIVATE),
        *((text, Reach.NEVER) for text in NEVER),
    ],
)
def test_an_address_is_as_near_as_what_it_stands_for(text: str, kind: Reach) -> None:
    assert reach(ip_address(text)) is kind


def named(*addresses: str) -> Gate:
    """Return the gate of a person who is no operator, in a world where every host has these addresses."""
    return Gate(private=False, resolve=lambda _host, _port: list(addresses))


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("text", NEVER)
def test_what_answers_with_credentials_is_asked_for_nobody(text: str, private: bool) -> None:
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(RefusedAddressError, match="never asks") as caught:
        Gate(private=private).check(f"http://{host.replace('%', '%25')}/", "settings.url")
    assert caught.value.errors[0].field == "settings.url"


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_are_for_operators(text: str) -> None:
    url = f"https://[{text}]:8443/x" if ":" in text else f"https://{text}:8443/x"
    Gate(private=True).check(url)
    with pytest.raises(RefusedAddressError, match=r"only operators may.*allow_private_urls"):
        Gate(private=False).check(url)


def test_every_address_of_a_name_counts() -> None:
    named("8.8.8.8", "1.1.1.1").check("https://example.org/")
    for last in ("127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"):
        with pytest.raises(RefusedAddressError):
            named("8.8.8.8", last).check("https://example.org/")


def test_the_address_of_a_name_is_not_told() -> None:
    with pytest.raises(RefusedAddressError) as caught:
        named("10.7.7.7").check("https://registry.within.example/")
    assert "10.7.7.7" not in caught.value.message


@pytest.mark.parametrize(
    "host", ["metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data"]
)
def test_names_of_metadata_are_refused_whatever_they_resolve_to(host: str) -> None:
    with pytest.raises(RefusedAddressError, match="never asks"):
        Gate(private=True, resolve=lambda _host, _port: ["8.8.8.8"]).check(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "1.2.3.4.5",
        "0xA9FEA9FE",
        "2852039166",
        "127.0.0.1.5",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "l\u043ecalhost",  # a Cyrillic letter
        "a..b",
        "-oProxyCommand=x",
        "a\tb",
        "a\\b",
        "a b",
    ],
)
def test_addresses_in_disguise_are_no_hosts(host: str) -> None:
    with pytest.raises(InvalidInputError):
        Gate(private=True).check(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "words",
        "//example.org/x",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "ftp://example.org/",
        "dict://example.org:11211/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "http://",
        "http:///x",
        "http://[::1",
        "http://a:b/",
        "http://a:0/",
        "http://a:99999/",
        "http://example.org@169.254.169.254/",
        "http://user:word@example.org/",
        "http://a@b@c/",
        "http://example.org\\@169.254.169.254/",
        "http://exa\nmple.org/",
        " http://example.org/",
    ],
)
def test_what_means_two_hosts_or_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        named("8.8.8.8").check(url, "predict_url")
    assert caught.value.errors[0].field == "predict_url"
    assert "word@" not in caught.value.message


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]"])
def test_this_machine_is_private_under_each_of_its_names(host: str) -> None:
    with pytest.raises(RefusedAddressError):
        Gate(private=False).check(f"http://{host}/")


@pytest.mark.parametrize("url", ["https://no-such-host.invalid/x", f"https://{'a' * 64}.example/"])
def test_a_name_without_an_address_passes_now_and_is_not_connected_to(url: str) -> None:
    gate = Gate(private=False)
    gate.check(url)
    with pytest.raises(OSError, match=r"."):
        gate.connect(url.split("/")[2], 443, 1.0)


def test_a_connection_goes_to_an_address_that_was_checked() -> None:
    asked: list[str] = []

    def answers(host: str, _port: int) -> list[str]:
        """Give another answer each time, as who rebinds a name does."""
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with Gate(private=True, resolve=answers).connect("smtp.example", port, 5.0) as made:
            assert made.getpeername()[:2] == ("127.0.0.1", port)
    assert asked == ["smtp.example"]


def test_localhost_resolves() -> None:
    assert "127.0.0.1" in resolve("localhost", 80)
