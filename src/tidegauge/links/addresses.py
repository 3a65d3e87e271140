"""Addresses that people type: which of them this server may be sent to, and connections to those alone.

A URL is refused by every address that its host has. What is checked is what is connected to: the name is
resolved once, by whoever connects, so an answer that changes between the two (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from tidegauge.errors import InvalidInputError

Address = IPv4Address | IPv6Address
#: Returns the addresses of a host; OSError where it has none.
Resolve = Callable[[str, int], list[str]]

WEB = ("http", "https")
_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}


class Reach(StrEnum):
    """From where an address can be reached."""

    PUBLIC = "public"
    PRIVATE = "private"  # this machine, a network of an organisation
    NEVER = "never"  # answers with a machine's own credentials, or is no host at all


# What tells a machine in a cloud its credentials, beside all that is link-local.
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # Amazon
        "fd00:ec2::23",  # Amazon's credentials of pods
        "fd20:ce::254",  # Google
    )
)
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_COMPATIBLE = ip_network("::/96")
_TRANSLATED = ip_network("::ffff:0:0:0/96")
_THIS_NETWORK = ip_network("0.0.0.0/8")


class RefusedAddressError(InvalidInputError):
    """The URL leads where this server may not be sent."""


def reach(address: Address) -> Reach:
    """Tell from where an address can be reached; one that carries another is as bad as the worse of both.

    >>> [reach(ip_address(text)).value for text in ("8.8.8.8", "10.1.2.3", "169.254.169.254", "0.0.0.0")]
    ['public', 'private', 'never', 'never']
    >>> reach(ip_address("::ffff:169.254.169.254")).value
    'never'
    """
    found = {_reach(each) for each in (address, *_carried(address))}
    return next(kind for kind in (Reach.NEVER, Reach.PRIVATE, Reach.PUBLIC) if kind in found)


def _reach(address: Address) -> Reach:
    if isinstance(address, IPv6Address) and address.scope_id:
        address = IPv6Address(int(address))  # the name of a network card must not hide it in a set
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return Reach.NEVER
    if isinstance(address, IPv4Address):
        if address in _THIS_NETWORK or address.is_reserved:
            return Reach.NEVER
    elif address.is_site_local:
        return Reach.PRIVATE
    elif address.ipv4_mapped or address in _NAT64[0] or address in _TRANSLATED:
        return Reach.PUBLIC  # what it carries decides
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def _carried(address: Address) -> Iterator[Address]:
    """Yield the IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return
    last = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped or address in _TRANSLATED or any(address in network for network in _NAT64):
        yield last
    if address in _COMPATIBLE and int(address) > 1:  # :: and ::1 carry none
        yield last
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo


def resolve(host: str, port: int) -> list[str]:
    """Return every address of a host, in the order to try them; OSError where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 characters
        raise OSError(f"{host[:80]!r} is no name of a host") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Gate:
    """What one person may send this server to: public addresses, and ``private`` ones where it is set."""

    private: bool
    resolve: Resolve = resolve

    def check(self, url: str, field: str = "url", schemes: Iterable[str] = WEB) -> None:
        """Raise RefusedAddressError where ``url`` must not be asked, InvalidInputError where it is none.

        A host that has no address now passes: it is checked again by whoever connects.
        """
        parts = split(url, field, schemes)
        self.check_host(str(parts.hostname), parts.port or _PORTS[parts.scheme], field)

    def check_host(self, host: str, port: int, field: str = "host") -> None:
        """Raise RefusedAddressError for a host that must not be connected to."""
        try:
            self.addresses(host, port, field)
        except OSError:
            return

    def addresses(self, host: str, port: int, field: str = "host") -> list[str]:
        """Return the addresses of a host, all of which were checked; OSError where it has none now."""
        name = host.rstrip(".").lower()
        if name in _METADATA_NAMES:
            raise self._refused(field, host, Reach.NEVER)
        check_spelling(host, field)
        found = [name] if _literal(name) else self.resolve(name, port)
        for text in found:
            kind = reach(ip_address(text))
            if kind is Reach.NEVER or (kind is Reach.PRIVATE and not self.private):
                raise self._refused(field, host, kind)
        return found

    def connect(self, host: str, port: int, timeout: float, field: str = "host") -> socket.socket:
        """Connect to a host by the addresses that were checked; OSError where none answers."""
        failure: OSError | None = None
        for address in self.addresses(host, port, field):
            try:
                return socket.create_connection((address, port), timeout)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{host} has no address")

    @staticmethod
    def _refused(field: str, host: str, kind: Reach) -> RefusedAddressError:
        # The address itself is not told: names of a network within are nobody's business.
        if kind is Reach.NEVER:
            return RefusedAddressError.of(
                field,
                f"{field} leads to {host!r}, which is a link-local, metadata or unusable address that this "
                "server never asks; give another host.",
            )
        return RefusedAddressError.of(
            field,
            f"{field} leads to {host!r}, which is on this machine or a private network; only operators may "
            "use these, unless the setting allow_private_urls is true.",
        )


def split(url: str, field: str, schemes: Iterable[str] = WEB) -> SplitResult:
    """Take a URL apart that means one host to everybody who reads it; InvalidInputError says what is wrong.

    The URL is not repeated, since it may be a secret.
    """
    known = tuple(schemes)
    example = f"{known[-1]}://host/path"
    if not url.isprintable() or not url.isascii() or " " in url or "\\" in url:
        raise InvalidInputError.of(
            field,
            f"{field} holds spaces, backslashes or characters that are not ASCII; give a plain URL such as "
            f"{example} (other letters as %XX, other names as xn--...).",
        )
    try:
        parts = urlsplit(url)
        whole = parts.scheme in known and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise InvalidInputError.of(
            field, f"{field} is no {' or '.join(known)} URL; give one such as {example}."
        )
    if "@" in parts.netloc:
        raise InvalidInputError.of(
            field, f"{field} holds a user name or password, which would be shown; leave them out."
        )
    check_spelling(str(parts.hostname), field)
    return parts


def check_spelling(host: str, field: str) -> None:
    """Refuse a host that is an address in disguise, such as 2130706433, 0x7f.1 or 127.1.

    Programs read these as different addresses, or as names.
    """
    name = host.rstrip(".")
    if _literal(name):
        return
    last = name.rpartition(".")[2]
    is_number = last.isdigit() or last[:2].lower() == "0x"
    plain = name.isascii() and name.replace("-", "").replace(".", "").replace("_", "").isalnum()
    if is_number or not plain or name.startswith("-") or ".." in name:
        raise RefusedAddressError.of(
            field, f"{field} has the host {host[:80]!r}; give a name, or an address such as 192.0.2.1 or ::1."
        )


def _literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
