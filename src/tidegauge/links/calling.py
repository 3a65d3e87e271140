"""HTTP clients that connect only to addresses that a gate has checked, redirects included.

``client(gate, ...)`` is an ``httpx.Client`` as any other; its connections raise RefusedAddressError.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable
from typing import Any
from urllib.request import getproxies, proxy_bypass

import anyio.to_thread
import httpcore
import httpx

from tidegauge.errors import InvalidInputError
from tidegauge.links.addresses import Gate, RefusedAddressError

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def client(
    gate: Gate,
    *,
    ca: str = "",
    fingerprint: str = "",
    timeout: float = 10.0,
    follow_redirects: bool = False,
    base_url: str = "",
    headers: dict[str, str] | None = None,
) -> httpx.Client:
    """Return a client whose every connection, of redirects too, is one that ``gate`` lets through.

    Args:
        gate: of the person who gave the URL.
        ca: certificates (PEM text) that are trusted in place of the system's.
        fingerprint: SHA-256 of the server's own certificate (hex, colons or none); only it is trusted then.
        timeout: seconds for each of connecting, writing and reading.
        follow_redirects: whether redirects are followed, each through the gate.
        base_url: what relative URLs are relative to.
        headers: of every request.
    """
    return httpx.Client(
        transport=transport(gate, ca=ca, fingerprint=fingerprint),
        timeout=timeout,
        follow_redirects=follow_redirects,
        base_url=base_url,
        headers=headers,
        trust_env=False,
    )


def async_client(
    gate: Gate,
    *,
    ca: str = "",
    fingerprint: str = "",
    timeout: float = 10.0,
    follow_redirects: bool = False,
    base_url: str = "",
    headers: dict[str, str] | None = None,
) -> httpx.AsyncClient:
    """Return an asynchronous client; otherwise as ``client``. It knows no proxies."""
    return httpx.AsyncClient(
        transport=_AsyncTransport(
            gate, _context(ca, fingerprint), _bare(fingerprint), only_tls=bool(ca or fingerprint)
        ),
        timeout=timeout,
        follow_redirects=follow_redirects,
        base_url=base_url,
        headers=headers,
        trust_env=False,
    )


def tls_fault(error: BaseException) -> ssl.SSLError | None:
    """Return what is wrong with TLS where that is why there is no connection; None where it is not."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return cause


def transport(gate: Gate, *, ca: str = "", fingerprint: str = "", is_tls: bool = True) -> httpx.BaseTransport:
    """Return what ``client`` sends by; ``is_tls``: whether it is asked for https at all."""
    # To read all authorities takes 20 ms, which plain http has no use for.
    context = _context(ca, fingerprint) if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _Transport(gate, context, _bare(fingerprint), only_tls=bool(ca or fingerprint))


def _context(ca: str, fingerprint: str) -> ssl.SSLContext:
    if fingerprint:
        # The one certificate is known, whoever signed it and whatever name it has; the stream compares it.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if not ca:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInputError.of(
            "ca", "ca holds no certificate that can be read; give PEM text (-----BEGIN CERTIFICATE-----)."
        ) from error


def _bare(fingerprint: str) -> str:
    bare = fingerprint.replace(":", "").strip().lower().removeprefix("sha256")
    if bare and not _FINGERPRINT.fullmatch(bare):
        raise InvalidInputError.of(
            "fingerprint",
            f"fingerprint is {fingerprint[:100]!r}; give the 64 hexadecimal digits of "
            "openssl x509 -noout -fingerprint -sha256.",
        )
    return bare


class _Transport(httpx.HTTPTransport):
    def __init__(self, gate: Gate, context: ssl.SSLContext, fingerprint: str, *, only_tls: bool) -> None:
        super().__init__(verify=context, trust_env=False)
        self._only_tls = only_tls
        self._gate = gate
        self._context = context
        self._fingerprint = fingerprint
        self._proxies: dict[str, httpx.HTTPTransport] = {}
        # httpx has no parameter for it; without it nothing here would be checked, so a test looks.
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, network_backend=_Network(gate, fingerprint), max_connections=100
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        _check_tls(request.url, only_tls=self._only_tls)
        proxy = _proxy(request.url)
        if proxy is None:
            return super().handle_request(request)
        if self._fingerprint:
            raise RefusedAddressError(
                "A pinned certificate cannot be compared through a proxy; name the host in NO_PROXY."
            )
        self._gate.check(str(request.url))  # the proxy connects, and what it may reach its owner says
        if proxy not in self._proxies:
            self._proxies[proxy] = httpx.HTTPTransport(verify=self._context, proxy=proxy, trust_env=False)
        return self._proxies[proxy].handle_request(request)

    def close(self) -> None:
        for each in self._proxies.values():
            each.close()
        super().close()


class _AsyncTransport(httpx.AsyncHTTPTransport):
    def __init__(self, gate: Gate, context: ssl.SSLContext, fingerprint: str, *, only_tls: bool) -> None:
        super().__init__(verify=context, trust_env=False)
        self._only_tls = only_tls
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, network_backend=_AsyncNetwork(gate, fingerprint), max_connections=100
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _check_tls(request.url, only_tls=self._only_tls)
        return await super().handle_async_request(request)


def _check_tls(url: httpx.URL, *, only_tls: bool) -> None:
    """Refuse what a redirect may lead to: no encryption where a certificate was asked for."""
    if only_tls and url.scheme != "https":
        raise RefusedAddressError.of(
            "url", "url is not https, so its certificate cannot be checked; give an https URL."
        )


def _proxy(url: httpx.URL) -> str | None:
    if url.host in {"localhost", "::1"} or url.host.startswith("127.") or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)


class _Network(httpcore.NetworkBackend):
    """Connects to the addresses that were checked; the certificate is still asked for by the name."""

    def __init__(self, gate: Gate, fingerprint: str) -> None:
        self._gate = gate
        self._fingerprint = fingerprint
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in _addresses(self._gate, host, port):
            try:
                stream = self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._fingerprint) if self._fingerprint else stream
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _AsyncNetwork(httpcore.AsyncNetworkBackend):
    def __init__(self, gate: Gate, fingerprint: str) -> None:
        self._gate = gate
        self._fingerprint = fingerprint
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception | None = None
        for address in await anyio.to_thread.run_sync(_addresses, self._gate, host, port):
            try:
                stream = await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _AsyncStream(stream, self._fingerprint) if self._fingerprint else stream
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)


def _addresses(gate: Gate, host: str, port: int) -> list[str]:
    try:
        return gate.addresses(host, port, "url")
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


class _Stream(httpcore.NetworkStream):
    """A connection whose certificate has to be the pinned one before a byte goes over it."""

    def __init__(self, stream: httpcore.NetworkStream, fingerprint: str) -> None:
        self._stream = stream
        self._fingerprint = fingerprint

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        if not _is_pinned(stream.get_extra_info("ssl_object"), self._fingerprint):
            stream.close()
            raise httpcore.ConnectError(_WRONG)
        return stream

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, fingerprint: str) -> None:
        self._stream = stream
        self._fingerprint = fingerprint

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        if not _is_pinned(stream.get_extra_info("ssl_object"), self._fingerprint):
            await stream.aclose()
            raise httpcore.ConnectError(_WRONG)
        return stream

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


_WRONG = "the server shows another certificate than the pinned one"


def _is_pinned(tls: Any, fingerprint: str) -> bool:
    shown = tls.getpeercert(True) if tls is not None else None
    return shown is not None and hashlib.sha256(shown).hexdigest() == fingerprint
