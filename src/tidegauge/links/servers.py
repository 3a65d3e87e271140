"""Model servers that are not ours: what they say of their models at their metadata endpoints.

KServe, Triton, MLServer and OpenVINO speak v2 (the Open Inference Protocol), TensorFlow Serving v1, KServe
and our own model server both. Nothing but metadata is asked for, and no answer is read past a megabyte.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

import httpx
import orjson

from tidegauge.domain.served import ServedModel, ServedState, Tensor, kserve_names
from tidegauge.errors import FieldError, InvalidInputError, UnavailableError
from tidegauge.links import calling
from tidegauge.links.addresses import Gate, split

_TIMEOUT_SECONDS = 5.0  # of one answer
_WHOLE_SECONDS = 15.0  # of all of them
_MOST_BYTES = 1 << 20
_MOST_TENSORS, _MOST_LENGTHS, _MOST_VERSIONS, _MOST_NAMES = 256, 32, 100, 20
_LONGEST = 200  # characters of a text of a server
_V1 = re.compile(
    r"(?P<base>.*?)/v1/models/(?P<model>[^/:]+)(?P<version>/versions/[^/:]+)?(:predict|/metadata)?"
)
_V2 = re.compile(r"(?P<base>.*?)/v2/models/(?P<model>[^/]+)(?P<version>/versions/[^/]+)?(/infer|/ready)?")
_BASE = re.compile(r"(?P<base>.*?)(/v[12](/models|/health/(live|ready))?)?")
_KNOWN = "KServe, Triton, MLServer or TensorFlow Serving"


def look(gate: Gate, url: str, now: datetime, model: str = "") -> ServedModel:
    """Find out what is served at a URL: the base of a server, or where a model of it is asked.

    Args:
        gate: of the person who gave the URL.
        url: such as http://triton:8000, https://host/v1/models/x:predict or https://host/v2/models/x/infer.
        now: when.
        model: which one, of a server that has several; else that in the URL, or the only one.

    Raises InvalidInputError for a URL that is none, leads where this server must not be sent or to no model
    server, and for a model that is not there or not chosen; UnavailableError where nothing answers.
    """
    gate.check(url)
    place = _place(url, model)
    with calling.client(gate, timeout=_TIMEOUT_SECONDS, follow_redirects=True) as client:
        found = _Server(client, place).describe()
    host = str(split(url, "url").hostname)
    service, namespace = kserve_names(host, is_kserve=found.server.lower().startswith("kserve"))
    return replace(found, service=service, namespace=namespace, since=now, at=now)


@dataclass(frozen=True)
class _Place:
    base: str
    model: str
    version: str  # /versions/n, or empty
    protocols: tuple[str, ...]  # to be tried, in this order


def _place(url: str, model: str) -> _Place:
    """Take a URL apart: below what /v1 and /v2 lie, and what it names."""
    parts = split(url, "url")
    if parts.query or parts.fragment:
        raise InvalidInputError.of("url", "url has a query or a fragment; give it without them.")
    path = parts.path.rstrip("/")
    as_v1 = _V1.fullmatch(path)
    found = as_v1 or _V2.fullmatch(path) or _BASE.fullmatch(path)
    if found is None:
        raise InvalidInputError.of("url", "url cannot be read; give the address of a model server.")
    named = unquote(found.groupdict().get("model") or "")
    if named and model and named != model:
        raise InvalidInputError.of(
            "model",
            f"model is {model!r}, but url names {named!r}; leave out either, or give the server's URL.",
        )
    base = f"{parts.scheme}://{parts.netloc}{found['base']}"
    return _Place(
        base, named or model, found.groupdict().get("version") or "", ("v1", "v2") if as_v1 else ("v2", "v1")
    )


class _Server:
    """One look at one server."""

    def __init__(self, client: httpx.Client, place: _Place) -> None:
        self._client = client
        self._place = place
        self._deadline = time.monotonic() + _WHOLE_SECONDS
        self._failing = 0  # status of the last answer that says that the server fails

    def describe(self) -> ServedModel:
        about = self._ask("/v2")
        name = _text(about.get("name")) if isinstance(about, Mapping) else ""
        server = f"{name} {_text(about.get('version'))}".strip() if name else ""
        model = self._place.model or self._only_model(is_server=bool(name))
        for protocol in self._place.protocols:
            found = self._v1(model) if protocol == "v1" else self._v2(model)
            if found:
                return replace(found, server=server or found.server, message=_unready(found))
        return self._not_found(model, server)

    def _only_model(self, *, is_server: bool) -> str:
        names = self._models()
        if len(names) == 1:
            return names[0]
        if names:
            raise InvalidInputError.of(
                "model", f"model is missing; the server at url has {_listed(names)}: name one of them."
            )
        if is_server:
            raise InvalidInputError.of(
                "model", "model is missing, and the server at url does not say which it has; name one."
            )
        if self._failing:
            raise _unavailable(f"leads to a server that fails ({self._failing})")
        raise _no_server()

    def _models(self) -> list[str]:
        """Return the names of all models, where the server tells."""
        for path, method in (("/v2/models", "GET"), ("/v2/repository/index", "POST"), ("/v1/models", "GET")):
            answer = self._ask(path, method)
            listed = answer.get("models") if isinstance(answer, Mapping) else answer
            if isinstance(listed, list):
                names = (item.get("name") if isinstance(item, Mapping) else item for item in listed)
                if found := list(dict.fromkeys(filter(None, map(_text, names)))):
                    return found
        return []

    def _v2(self, model: str) -> ServedModel | None:
        path = f"/v2/models/{quote(model, safe='')}"
        about = self._ask(path + self._place.version)
        is_about = isinstance(about, Mapping) and isinstance(about.get("name"), str)
        ready = self._ask(f"{path}{self._place.version}/ready", empty_is={})
        is_ready = isinstance(ready, Mapping) and _is_true(ready.get("ready", True))
        if not is_about and not (is_ready and "name" in ready):
            return None  # what is empty says little: other servers answer so, too
        known: Mapping[str, Any] = about if is_about else {}
        return self._found(
            model,
            "v2",
            f"{path}{self._place.version}/infer",
            is_ready=is_ready,
            platform=_text(known.get("platform")),
            versions=tuple(filter(None, map(_text, _list(known.get("versions"))[:_MOST_VERSIONS]))),
            inputs=tuple(_v2_tensors(known.get("inputs"))),
            outputs=tuple(_v2_tensors(known.get("outputs"))),
        )

    def _v1(self, model: str) -> ServedModel | None:
        path = f"/v1/models/{quote(model, safe='')}"
        about = self._ask(path + self._place.version)
        if not isinstance(about, Mapping):
            return None
        predict = f"{path}{self._place.version}:predict"
        if isinstance(about.get("model_version_status"), list):
            rows = [row for row in about["model_version_status"] if isinstance(row, Mapping)]
            signature = _signature(self._ask(f"{path}{self._place.version}/metadata"))
            return self._found(
                model,
                "v1",
                predict,
                server="TensorFlow Serving",
                is_ready=any(row.get("state") == "AVAILABLE" for row in rows),
                versions=tuple(_text(row.get("version")) for row in rows[:_MOST_VERSIONS]),
                inputs=tuple(_v1_tensors(signature.get("inputs"))),
                outputs=tuple(_v1_tensors(signature.get("outputs"))),
            )
        if "ready" in about and "name" in about:
            return self._found(model, "v1", predict, server="KServe", is_ready=_is_true(about["ready"]))
        return None

    def _found(self, model: str, protocol: str, path: str, *, is_ready: bool, **known: Any) -> ServedModel:
        never = datetime.min  # noqa: DTZ901 - ``look`` says when
        state = ServedState.READY if is_ready else ServedState.NOT_READY
        return ServedModel(
            self._place.base + path, state, never, never, protocol=protocol, model=model, **known
        )

    def _not_found(self, model: str, server: str) -> ServedModel:
        """Return a model that the server lists and does not describe yet; else say what is wrong."""
        names = self._models()
        if model in names:
            path = f"/v2/models/{quote(model, safe='')}{self._place.version}/infer"
            found = self._found(model, "v2", path, server=server, is_ready=False)
            return replace(found, message=_unready(found))
        if self._failing:
            raise _unavailable(f"leads to a server that fails ({self._failing})")
        if not names and not server:
            raise _no_server(f", nor does it know a model {model[:_LONGEST]!r}")
        has = f"the server at url has {_listed(names)}" if names else "the server at url does not know it"
        raise InvalidInputError.of("model", f"model is {model[:_LONGEST]!r}; {has}. Name one that it has.")

    def _ask(self, path: str, method: str = "GET", empty_is: Any = None) -> Any:
        """Return the JSON value of an answer; None where it is an error, or not JSON."""
        if time.monotonic() > self._deadline:
            raise _unavailable(f"answers too slowly: {_WHOLE_SECONDS:g} s were not enough")
        content = b"{}" if method == "POST" else None
        headers = {"accept": "application/json", "content-type": "application/json"}
        try:
            with self._client.stream(
                method, self._place.base + path, content=content, headers=headers
            ) as answer:
                body = self._read(answer)
        except httpx.TimeoutException as error:
            raise _unavailable(f"does not answer within {_TIMEOUT_SECONDS:g} s") from error
        except httpx.TooManyRedirects as error:
            raise _unavailable("leads from one address to the next without end") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _unavailable(_why(error)) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise _unavailable("leads on to what is no address") from error
        if answer.status_code in (401, 403):
            raise _unavailable(f"is refused by its server ({answer.status_code}): it wants to know who asks")
        if answer.status_code >= 500:
            self._failing = answer.status_code  # KServe says so of a model that is not ready
        if answer.status_code != httpx.codes.OK:
            return None
        if not body.strip():
            return empty_is
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            return None

    def _read(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise InvalidInputError.of(
                    "url", "url answers with more than a megabyte where a model is described; is it one?"
                )
            if time.monotonic() > self._deadline:
                raise _unavailable(f"answers too slowly: {_WHOLE_SECONDS:g} s were not enough")
        return bytes(body)


def _unavailable(what: str) -> UnavailableError:
    message = f"url {what}; look whether the server runs and can be reached from here."
    return UnavailableError(message, (FieldError("url", message),))


def _no_server(more: str = "") -> InvalidInputError:
    return InvalidInputError.of(
        "url",
        f"url is that of no model server that is known: it answers neither /v2 nor /v1/models as {_KNOWN} "
        f"do{more}; give the server's base URL, or a predict URL.",
    )


def _unready(found: ServedModel) -> str:
    if found.state is ServedState.READY:
        return ""
    return f"The server answers, but its model {found.model!r} is not ready."


def _why(error: Exception) -> str:
    """Say why no answer came, without what only programmers read."""
    fault = calling.tls_fault(error)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted ({fault.verify_message})"
    if fault is not None:
        return "does not speak TLS as it should"
    if isinstance(error, httpx.ConnectError):
        return "cannot be reached"
    return "breaks the connection off, or answers with something else than HTTP"


def _signature(answer: Any) -> Mapping[str, Any]:
    """Return the signature that is asked by default, of TensorFlow Serving's metadata."""
    signatures: Any = answer
    for key in ("metadata", "signature_def", "signature_def"):
        signatures = signatures.get(key) if isinstance(signatures, Mapping) else None
    if not isinstance(signatures, Mapping) or not signatures:
        return {}
    chosen = signatures.get("serving_default", next(iter(signatures.values())))
    return chosen if isinstance(chosen, Mapping) else {}


def _v2_tensors(told: Any) -> Iterator[Tensor]:
    for item in _list(told)[:_MOST_TENSORS]:
        if isinstance(item, Mapping) and (name := _text(item.get("name"))):
            yield Tensor(name, _text(item.get("datatype")), _lengths(item.get("shape")))


def _v1_tensors(told: Any) -> Iterator[Tensor]:
    items = list(told.items())[:_MOST_TENSORS] if isinstance(told, Mapping) else []
    for name, item in items:
        if isinstance(item, Mapping) and _text(name):
            shape = item.get("tensor_shape")
            dims = shape.get("dim") if isinstance(shape, Mapping) else None
            sizes = [dim.get("size") for dim in _list(dims) if isinstance(dim, Mapping)]
            datatype = _text(item.get("dtype")).removeprefix("DT_")
            yield Tensor(_text(name), datatype, _lengths(sizes))


def _lengths(told: Any) -> tuple[int, ...]:
    found = []
    for length in _list(told)[:_MOST_LENGTHS]:
        try:
            number = int(length)
        except (TypeError, ValueError, OverflowError):
            number = -1
        found.append(number if 0 <= number < 2**53 else -1)
    return tuple(found)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    """Return what a server calls something, as one may show it: a short line."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    return "".join(letter for letter in str(value)[:_LONGEST] if letter.isprintable()).strip()


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(repr(name) for name in names[:_MOST_NAMES]) + more
