"""Another cluster, as this one reads it over a link: every request through a gate, every error in words."""

from __future__ import annotations

import contextlib
import io
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.cluster_link import PROTOCOL, ClusterLink, Exported, Greeting, LabelFileInfo
from tidegauge.domain.content import Manifest
from tidegauge.domain.observation import HealthSample
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from tidegauge.links.addresses import Gate, RefusedAddressError
from tidegauge.links.calling import client, tls_fault
from tidegauge.storage.log_stream import StreamedFile, decode
from tidegauge.typed import adapter

T = TypeVar("T")
_TIMEOUT_SECONDS = 20.0
_MOST_BYTES = 16 << 20  # of an answer that is read at once
_MOST_BLOB = 2 << 30


class RefusedTokenError(ForbiddenError):
    """The other cluster does not take the token, or not for this."""


class LogSetBackError(ConflictError):
    """The log over there does not go on from the file that came last."""


class RemoteCluster:
    """Reads a serving cluster.

    Raises UnavailableError where it does not answer, RefusedTokenError where it does not take the token,
    NotFoundError, and InvalidInputError for an answer that is of no Tidegauge.
    """

    def __init__(self, link: ClusterLink, gate: Gate) -> None:
        self._link = link
        self._base = f"{link.url}/api/v1/link"
        self._http = client(
            gate,
            ca=link.ca,
            fingerprint=link.fingerprint,
            timeout=_TIMEOUT_SECONDS,
            # Most of what comes is images, which no packing makes smaller.
            headers={"Authorization": f"Bearer {link.token}", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def greet(self) -> Greeting:
        """Ask which version it is; InvalidInputError where it speaks another protocol, or is no Tidegauge."""
        found = self._read(Greeting, "")
        if found.protocol != PROTOCOL:
            raise InvalidInputError.of(
                "url",
                f"url leads to Tidegauge {found.version}, whose links are of protocol {found.protocol}, "
                f"not {PROTOCOL}; bring both clusters to the same version.",
            )
        return found

    def find(self, namespace: str = "", name: str = "") -> tuple[Exported, ...]:
        return self._read(tuple[Exported, ...], "/deployments", namespace=namespace, name=name)

    def deployment(self, id_: str) -> Exported:
        return self._read(Exported, _at(id_))

    def manifest(self, id_: str, kind: RepositoryKind) -> Manifest:
        return Manifest.from_json(self._get(f"{_at(id_)}/{kind.value}/manifest"))

    def blob(self, id_: str, kind: RepositoryKind, digest: str) -> bytes:
        return self._get(f"{_at(id_)}/{kind.value}/blobs/{digest}", most=_MOST_BLOB)

    def erased(self, id_: str) -> tuple[str, ...]:
        return self._read(tuple[str, ...], f"{_at(id_)}/erased")

    def samples(self, id_: str, after: str) -> tuple[HealthSample, ...]:
        return self._read(tuple[HealthSample, ...], f"{_at(id_)}/health", after=after)

    def livedata(self, id_: str) -> tuple[LabelFileInfo, ...]:
        return self._read(tuple[LabelFileInfo, ...], f"{_at(id_)}/livedata")

    def label_file(self, id_: str, name: str) -> bytes:
        return self._get(f"{_at(id_)}/livedata/{quote(name)}", most=_MOST_BLOB)

    def log(self, id_: str, after: int, file: str = "") -> Iterator[StreamedFile]:
        """Yield files of the log after a number; a stream that breaks off ends in UnavailableError.

        Raises LogSetBackError where there is no such number, or ``file`` is not the path that has it.
        """
        with self._stream(f"{_at(id_)}/log", after=after, file=file) as response:
            source = _Readable(response.iter_bytes())
            with self._worded():
                yield from decode(id_, io.BufferedReader(source, 1 << 20))

    def _read(self, kind: type[T], path: str, **params: Any) -> T:
        data = self._get(path, **params)
        try:
            found: T = adapter(kind).validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise self._odd(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}") from error
        return found

    def _get(self, path: str, *, most: int = _MOST_BYTES, **params: Any) -> bytes:
        with self._stream(path, **params) as response, self._worded():
            parts, size = [], 0
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise self._odd(f"it is larger than {most} bytes")
            return b"".join(parts)

    @contextlib.contextmanager
    def _stream(self, path: str, **params: Any) -> Iterator[httpx.Response]:
        given = {name: value for name, value in params.items() if value != ""}
        request = self._http.build_request("GET", self._base + path, params=given)
        with self._worded():
            response = self._http.send(request, stream=True)
        try:
            with self._worded():
                self._check(response)
            yield response
        finally:
            response.close()

    def _check(self, response: httpx.Response) -> None:
        """Raise what a status means."""
        status = response.status_code
        if status == httpx.codes.OK:
            return
        said = _said(response)
        name = self._link.name
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise RefusedTokenError(f"The cluster {name!r} refuses the token: {said}")
        if status == httpx.codes.NOT_FOUND and said:
            raise NotFoundError(f"The cluster {name!r} says: {said}")
        if status == httpx.codes.CONFLICT and said:
            raise LogSetBackError(
                f"The log on the cluster {name!r} was set back to an earlier state; it is read again from "
                "its beginning."
            )
        if status in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED) or response.is_redirect:
            raise self._odd(f"it answers {status}")
        raise UnavailableError(f"The cluster {name!r} answers {status}{f': {said}' if said else ''}.")

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        """Word what goes wrong on the way."""
        url = self._link.url
        try:
            yield
        except RefusedAddressError:
            raise
        except httpx.TimeoutException as error:
            raise UnavailableError(f"{url} does not answer within {_TIMEOUT_SECONDS:.0f} s.") from error
        except httpx.TransportError as error:
            raise UnavailableError(f"{url} does not answer: {_reason(error)}.") from error

    def _odd(self, what: str) -> InvalidInputError:
        return InvalidInputError.of(
            "url", f"url is {self._link.url!r}, which does not answer as a Tidegauge cluster does ({what})."
        )


class _Readable(io.RawIOBase):
    """Chunks as a file that can be read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _at(id_: str) -> str:
    return f"/deployments/{quote(id_, safe='')}"


def _said(response: httpx.Response) -> str:
    """Return the sentence of an error of ours; empty where it is of something else."""
    try:
        response.read()
        detail = response.json()["detail"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""
    return detail if isinstance(detail, str) and detail != "Not Found" else ""


def _reason(error: httpx.TransportError) -> str:
    """Return why there is no connection; of certificates what of them is wrong."""
    fault = tls_fault(error)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({fault.verify_message}); give the authority that signed it "
            "(ca), or pin the certificate (fingerprint)"
        )
    if fault is not None:
        return f"TLS fails ({fault.reason or fault}); is it https on this port?"
    return str(error).rstrip(".") or type(error).__name__
