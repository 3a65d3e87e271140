"""Buckets by URL: what a URL may say, how long a bucket is asked, and parts of large objects."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import obstore
import orjson
from obstore.store import ObjectStore as AnyStore
from obstore.store import from_url

from tidegauge.errors import InvalidInputError, NotFoundError, UnavailableError

if TYPE_CHECKING:  # the library has these for type checkers alone
    from obstore import GetOptions, PutMode
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

# Whoever waits for a bucket must come to know that it is away: an answer or an error after 40 s at most.
_CLIENT: ClientConfig = {
    "connect_timeout": timedelta(seconds=5),
    "timeout": timedelta(seconds=30),
    "allow_http": True,  # to whoever names an http:// endpoint
}
_RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}

_PARAMETERS = {"s3": ("endpoint", "region", "skip_signature", "virtual_hosted")}
_SECRETS = {"access_key_id", "secret_access_key", "session_token", "token"}
_REMEDY = "put it into the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"

_AHEAD = 512 << 10  # bytes that are fetched at once, where fewer are wanted
_MOST_AHEAD = 8 << 20  # where one part follows the other; 30 s are enough on a slow line

_REGION = "us-east-1"
_HOST = re.compile(r"[^\s@?#/]+(/[^\s@?#]+)?")  # with a port and a path, where it has them
_ABSENT = ("NoSuchKey", "BlobNotFound", "performing HEAD")  # an answer to HEAD has no body to say more
_OTHER = (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError)
_SAID = re.compile(r"<Message>([^<]+)</Message>")
_METADATA = "169.254.169.254"  # where machines of AWS are asked for credentials when there are no others


@dataclass(frozen=True)
class Access:
    """How a bucket of somebody else is reached: nothing of this process' own credentials goes there.

    Without keys it is asked without a signature; without ``endpoint`` it is one of AWS. ``proxy`` is the
    URL of what all connections go through.
    """

    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = ""
    proxy: str = ""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Word what the library of the store raises: NotFoundError, else UnavailableError."""
    try:
        yield
    except FileNotFoundError as error:
        # A bucket that is gone and a proxy without a server behind it say 404 too, and are no absent object.
        if "non-2xx" in str(error) and not any(sign in str(error) for sign in _ABSENT):
            raise UnavailableError(f"The object store does not answer: {_reason(error)}.") from error
        raise NotFoundError(f"The store has no such object: {_reason(error)}.") from error
    except (OSError, obstore.exceptions.BaseError) as error:
        raise UnavailableError(f"The object store does not answer: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    text = str(error).strip()
    reason = text.partition("\n")[0].rstrip(".:")  # what follows is for programmers
    if _METADATA in text:
        return f"it has no credentials ({reason}); {_REMEDY}"
    said = _SAID.search(text)
    return f"{reason}: {said[1].rstrip('.')}" if said else reason


def open_bucket(url: str) -> tuple[str, AnyStore]:
    """Open ``s3://bucket/prefix?endpoint=...``, ``gs://...`` or ``az://...``; nothing is asked yet.

    Returns the URL without its parameters, and the store. InvalidInputError names the parameter that is
    unknown, malformed or a secret, and never a secret's value.
    """
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise _invalid("is no URL; parameters are written ?name=value&name=value") from error
    if "@" in parts.netloc:
        raise _invalid(f"has a key or a password before the '@'; {_REMEDY}")
    if parts.fragment:
        raise _invalid("has a '#', which no bucket's URL has; write it as %23")
    config = _config(parts.scheme, parts.netloc, given) or None
    bare = parts._replace(query="").geturl()
    try:
        return bare, from_url(bare, config=config, client_options=_CLIENT, retry_config=_RETRY)
    except (ValueError, obstore.exceptions.BaseError) as error:
        reason = f"{bare!r} cannot be opened: {_reason(error)}"
        raise _invalid(f"{reason}; give a folder or s3://bucket/prefix") from error


def open_foreign(url: str, access: Access) -> AnyStore:
    """Open ``s3://bucket/prefix`` by an endpoint and keys of its own; nothing is asked yet."""
    config: S3Config = {
        "region": access.region or _REGION,
        "virtual_hosted_style_request": False,
        "skip_signature": not access.access_key,
        "endpoint": access.endpoint.rstrip("/") or f"https://s3.{access.region or _REGION}.amazonaws.com",
    }

    def keys() -> S3Credential:
        # Not in the configuration: a session token of this process' environment would be put beside them.
        return {
            "access_key_id": access.access_key,
            "secret_access_key": access.secret_key,
            "token": None,
            "expires_at": None,
        }

    return from_url(
        url,
        config=config,
        client_options={**_CLIENT, "proxy_url": access.proxy} if access.proxy else _CLIENT,
        retry_config=_RETRY,
        credential_provider=keys if access.access_key else None,
    )


def _config(scheme: str, bucket: str, given: list[tuple[str, str]]) -> S3Config:
    config: S3Config = {}
    known = _PARAMETERS.get(scheme, ())
    values: dict[str, str] = {}
    for name, value in given:
        if name.lower().removeprefix("aws_") in _SECRETS:
            raise _invalid(f"has the secret {name!r}, and URLs are shown; {_REMEDY}")
        if name not in known:
            raise _invalid(
                f"has the parameter {name!r}; {scheme}:// knows {', '.join(known) or 'no parameters'}"
            )
        if name in values:
            raise _invalid(f"has the parameter {name!r} twice; give it once")
        values[name] = value
    if "region" in values:
        config["region"] = values["region"]
    if "skip_signature" in values:
        config["skip_signature"] = _boolean("skip_signature", values)
    virtual = "virtual_hosted" in values and _boolean("virtual_hosted", values)
    if "virtual_hosted" in values:
        config["virtual_hosted_style_request"] = virtual
    if "endpoint" in values:
        scheme, _, host = values["endpoint"].rstrip("/").partition("://")
        if scheme not in ("http", "https") or not _HOST.fullmatch(host):
            raise _invalid("has an endpoint that is none; give one like https://s3.example.org")
        # The library takes the endpoint for the bucket's own where buckets are hosts.
        config["endpoint"] = f"{scheme}://{bucket}.{host}" if virtual else f"{scheme}://{host}"
    return config


def _boolean(name: str, values: dict[str, str]) -> bool:
    if values[name] not in ("true", "false"):
        raise _invalid(f"has {name}={values[name]!r}; use true or false")
    return values[name] == "true"


def _invalid(what: str) -> InvalidInputError:
    return InvalidInputError.of("store_url", f"store_url {what}.")


def put_bucket(store: AnyStore, path: str, data: bytes) -> None:
    """Write an object, a large one in parts."""
    with answering():
        # Four at a time: all of them must have come within the time of one request.
        obstore.put(store, path, data, max_concurrency=4)


def put_if(store: AnyStore, path: str, data: bytes, tag: str | None) -> bool:
    """Write an object that is still as it was with ``tag`` (None: absent); tell whether it was."""
    mode: PutMode = "create"
    if tag is not None:
        mode = orjson.loads(tag)
    try:
        with answering():
            obstore.put(store, path, data, mode=mode)
    except UnavailableError as error:
        if isinstance(error.__cause__, _OTHER):
            return False
        raise
    return True


def get_whole(store: AnyStore, path: str) -> tuple[bytes, str]:
    """Return an object and its tag."""
    file = ObjectFile(store, path, _MOST_AHEAD)
    return file.read(file.size), file.tag


class ObjectFile(io.RawIOBase):
    """One object of a bucket as a seekable file whose parts are fetched when they are read.

    An object of at most ``small`` bytes comes with the first request. Of a large one each request fetches
    more than was asked for, the more the longer it is read in order, so that the columns of a table take
    few requests. All parts are of one version of the object: UnavailableError where it was replaced.
    """

    def __init__(self, store: AnyStore, path: str, small: int = _AHEAD) -> None:
        super().__init__()
        self._store = store
        self._path = path
        with answering():
            whole = obstore.get(store, path)
            self.size = whole.meta["size"]
            self._e_tag = whole.meta["e_tag"]
            # S3 and Azure compare the ETag, Google the version.
            known = {name: whole.meta[name] for name in ("e_tag", "version") if whole.meta[name]}
            self.tag = orjson.dumps(known).decode()
            # What is not read here is not fetched.
            self._part = memoryview(whole.bytes() if self.size <= small else b"")
        self._start = 0  # of the part in the object
        self._place = 0
        self._ahead = _AHEAD

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self.size - self._place))
        end = self._start + len(self._part)
        if self._place < self._start or self._place + count > end:
            follows = self._start <= self._place <= end
            self._ahead = min(2 * self._ahead, _MOST_AHEAD) if follows else _AHEAD
            self._fetch(count)
        first = self._place - self._start
        buffer[:count] = self._part[first : first + count]
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def _fetch(self, count: int) -> None:
        """Fetch what begins at the place, at least ``count`` bytes, in requests of a bounded size."""
        end = min(self.size, self._place + max(count, self._ahead))
        parts = []
        for first in range(self._place, end, _MOST_AHEAD):
            span = (first, min(first + _MOST_AHEAD, end))
            try:
                with answering():
                    part = obstore.get(self._store, self._path, options=self._options(span))
                    parts.append(bytes(part.bytes()))
            except UnavailableError as error:
                if isinstance(error.__cause__, obstore.exceptions.PreconditionError):
                    raise UnavailableError(
                        f"The object {self._path!r} was replaced while it was read; read it again."
                    ) from error
                raise
        self._part, self._start = memoryview(parts[0] if len(parts) == 1 else b"".join(parts)), self._place

    def _options(self, span: tuple[int, int]) -> GetOptions:
        return {"range": span, "if_match": self._e_tag} if self._e_tag else {"range": span}
