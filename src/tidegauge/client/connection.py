"""The connection to a server: requests, answers, errors, waiting."""

from __future__ import annotations

import contextlib
import math
import os
import ssl
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from tidegauge.errors import (
    ConflictError,
    FieldError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TidegaugeError,
    TooManyError,
    UnavailableError,
)
from tidegauge.steps import RUN_HEADER, RUN_VARIABLE
from tidegauge.typed import adapter

T = TypeVar("T")
Progress = Callable[[str, int, int], None]

_ERRORS: Mapping[int, type[TidegaugeError]] = {
    400: InvalidInputError,
    401: NotSignedInError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidInputError,
    422: InvalidInputError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
_TOO_MANY = 429
_PAGE = 200


def credentials_file() -> Path:
    """Return where ``tidegauge login`` keeps the address and the token."""
    return (
        Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tidegauge" / "credentials.toml"
    )


def _saved_credentials() -> dict[str, Any]:
    path = credentials_file()
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path} is damaged ({error}); sign in again with: tidegauge login"
        ) from error


def _check_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInputError.of("url", f"url is {url!r}; give an address such as http://127.0.0.1:32222.")
    return parsed


def _check_token(token: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInputError.of("token", "The token has characters that no token has; copy it again.")
    return token


def _run() -> dict[str, str]:
    """Return the header by which a step on Kubeflow tells which pipeline run it is of."""
    run = os.environ.get(RUN_VARIABLE, "")
    return {RUN_HEADER: run} if run.replace("-", "").isalnum() else {}


def _is_loopback(url: str) -> bool:
    """Tell whether an address is this machine's own.

    >>> [_is_loopback(f"http://{host}:80") for host in ("localhost", "127.0.0.1", "[::1]", "example.org")]
    [True, True, True, False]
    """
    host = httpx.URL(url).host
    return host in {"localhost", "::1"} or host.startswith("127.")


def _trusted(ca: str | Path | None) -> ssl.SSLContext | bool:
    """Return what is trusted: the authorities in a file (PEM), or (True) those of the system."""
    if not ca:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError.of(
            "ca", f"ca is {str(ca)!r}, which is no file of certificates (PEM) that can be read."
        ) from error


class Connection:
    """Sends requests to one server and reads its answers; see ``Client`` for the arguments."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout: float = 60.0,
        ca: str | Path | None = None,
    ) -> None:
        saved = {} if url and token else _saved_credentials()
        self.url = (
            url or os.environ.get("TIDEGAUGE_URL") or saved.get("url") or "http://127.0.0.1:32222"
        ).rstrip("/")
        kept = saved.get("token") if saved.get("url") == self.url else None
        self.token = token or os.environ.get("TIDEGAUGE_TOKEN") or kept or ""
        self._http = httpx.Client(
            base_url=_check_url(self.url),
            headers={"Authorization": f"Bearer {_check_token(self.token)}", **_run()},
            timeout=timeout,
            # A proxy of the environment would be asked for this machine, too, and cannot know it.
            trust_env=not _is_loopback(self.url),
            verify=_trusted(ca or os.environ.get("TIDEGAUGE_CA")),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @contextlib.contextmanager
    def stream(
        self, path: str, timeout: float, params: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Get a large answer in pieces; one that is an error is raised as one."""
        try:
            with self._http.stream("GET", path, timeout=timeout, params=params) as response:
                if response.is_error:
                    raise _error(response)
                yield response
        except httpx.TransportError as error:
            raise self.unreachable(error) from error

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; an answer that is an error is raised as one, and so is a number that JSON lacks."""
        errors = tuple(_not_finite(options.get("json")))
        if errors:
            raise InvalidInputError(" ".join(error.message for error in errors), errors)
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        if response.is_error:
            raise _error(response)
        return response

    def unreachable(self, error: httpx.TransportError) -> UnavailableError:
        """Word a failed connection for a person."""
        return UnavailableError(
            f"{self.url} does not answer ({type(error).__name__}); start the server with: tidegauge up"
        )

    def read(self, kind: type[T], method: str, path: str, body: Any = None, **options: Any) -> T:
        """Send ``body`` as JSON and read the answer as ``kind``."""
        if body is not None:
            options["json"] = to_jsonable_python(body)
        return decode(kind, self.json(method, path, **options))

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the JSON value of the answer."""
        response = self.request(method, path, **options)
        try:
            return response.json()
        except ValueError as error:
            raise TidegaugeError(
                f"{response.url} did not answer with JSON; is there a Tidegauge server at {self.url}?"
            ) from error

    def pages(self, kind: type[T], path: str, q: str = "", sort: str = "-id") -> Iterator[T]:
        """Yield every item of a listing, page by page."""
        cursor = ""
        while True:
            answer = self.json("GET", path, params={"limit": _PAGE, "cursor": cursor, "q": q, "sort": sort})
            yield from (decode(kind, item) for item in answer["items"])
            cursor = answer["cursor"]
            if not cursor:
                return


def _not_finite(value: Any, field: str = "") -> Iterator[FieldError]:
    """Name the numbers of a body that are not finite, which JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        yield FieldError(field, f"{field or 'The value'} is {value}; give a finite number.")
    parts = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, part in parts:
        yield from _not_finite(part, f"{field}.{name}" if field else str(name))


def decode(kind: type[T], value: Any) -> T:
    """Build a noun from its JSON value; TidegaugeError when the server speaks of something else."""
    try:
        result: T = adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise TidegaugeError(
            f"The server's answer is not understood ({where}: {first['msg']}); is its version another one?"
        ) from error
    return result


def _error(response: httpx.Response) -> TidegaugeError:
    response.read()
    try:
        answer = response.json()
        message = answer.get("detail") or answer.get("error") or response.text
        fields = tuple(FieldError(item["field"], item["message"]) for item in answer.get("errors", []))
    except (ValueError, AttributeError, KeyError, TypeError):
        message, fields = f"{response.url} answered {response.status_code}: {response.text[:200]}", ()
    if response.status_code == _TOO_MANY:
        return TooManyError(str(message), float(response.headers.get("retry-after", 1)))
    return _ERRORS.get(response.status_code, TidegaugeError)(str(message), fields)


def wait_for(look: Callable[[], T], done: Callable[[T], bool], what: str, timeout: float) -> T:
    """Look again and again until ``done``; UnavailableError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.05
    while True:
        found = look()
        if done(found):
            return found
        if time.monotonic() > deadline:
            raise UnavailableError(f"{what} was not done after {timeout:g} s; it goes on, look again later.")
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
