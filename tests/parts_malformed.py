"""Requests that are wrong in every way that we could think of, and a collector's door to send them to."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import zlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import orjson
import pyarrow.parquet as pq
from hypothesis import strategies as st

from parts_collector import deployment
from tidegauge.collecting import build_collector, create_app
from tidegauge.domain.cloudevents import STRUCTURED_CONTENT_TYPE
from tidegauge.domain.events import BATCH_CONTENT_TYPE, REQUEST_TYPE, RESPONSE_TYPE
from tidegauge.services.people import People
from tidegauge.services.senders import Senders
from tidegauge.settings import Settings
from tidegauge.storage.database import Database
from tidegauge.storage.objects import ObjectStore

EVENTS = "/v1/events"
BOMB = gzip.compress(bytes(40 << 20))
_EVENT = {"specversion": "1.0", "source": "/deployments/d1", "type": RESPONSE_TYPE}


@dataclass(frozen=True)
class Sent:
    """A request. ``is_wrong``: surely, so that it must not be taken."""

    kind: str
    headers: dict[str, str]
    body: bytes
    is_wrong: bool
    path: str = EVENTS
    method: str = "POST"
    is_cut_off: bool = False  # the sender goes away before the end


@dataclass(frozen=True)
class Answer:
    status: int
    content: Any


class Door:
    """A collector with the deployments d1 and d2 over a folder, called in this process."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        settings = Settings(folder, database_url=database_url)
        self.store = ObjectStore(settings.store)
        self._database = Database(settings.database)
        self._database.migrate()
        people = People(self._database, _now)
        self.token = people.first_start()
        for name in ("d1", "d2"):
            self._database.deployments.add(deployment(name))
        senders = Senders(self._database, people)
        self.collector = build_collector(settings, self._database, self.store, senders, _now)
        self.app = create_app(self.collector, senders)
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.collector.close()
        self._database.close()
        self._loop.close()

    def send(self, sent: Sent) -> Answer:
        """Return the answer; whatever the app raises is raised."""
        headers = {"authorization": f"Bearer {self.token}", **sent.headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": sent.method,
            "scheme": "http",
            "path": unquote(sent.path),
            "raw_path": sent.path.encode("latin-1"),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 1),
        }
        coming = [{"type": "http.request", "body": sent.body, "more_body": sent.is_cut_off}]
        answered: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return coming.pop() if coming else {"type": "http.disconnect"}

        async def answer(message: dict[str, Any]) -> None:
            answered.append(message)

        self._loop.run_until_complete(self.app(scope, receive, answer))
        body = b"".join(message.get("body", b"") for message in answered)
        return Answer(answered[0]["status"], orjson.loads(body or b"null"))

    def check(self, sent: Sent) -> int:
        """Send a request, and complain unless it has its due; return the status of the answer."""
        before = self.collector.counts().received
        answer = self.send(sent)
        stored = self.collector.counts().received - before
        assert answer.status < 500, f"{answer} to {sent}"
        if answer.status == 202:
            assert not sent.is_wrong, f"{answer} to {sent}"
            assert stored == answer.content["accepted"], f"{stored} stored, {answer} to {sent}"
        else:
            assert not stored, f"{stored} stored, {answer} to {sent}"
        return answer.status

    def stored(self) -> int:
        """Have all that was taken written to the log; return how many rows its files have."""
        self.collector.flush()
        paths = [info.path for info in self.store.list("") if info.path.endswith(".parquet")]
        total = 0
        for path in paths:
            with closing(self.store.open(path)) as opened:
                total += pq.read_metadata(opened).num_rows
        return total


def _now() -> datetime:
    return datetime.now(UTC)


def bodies() -> st.SearchStrategy[Sent]:
    """Draw requests of all kinds."""
    return st.one_of(
        cut_off(),
        mutated(),
        wrong_types(),
        literals(),
        nested(),
        text(),
        packed(),
        media(),
        binary(),
        images(),
    ) | st.one_of(batches(), owners(), noise(), lengths(), went_away(), twice())


_ids = st.integers(0, 2**62).map(str)
_names = st.sampled_from(["id", "source", "type", "specversion"])
_modes = st.sampled_from(["structured", "batch"])


def _structured(kind: str, body: bytes, mode: str, *, is_wrong: bool) -> Sent:
    """Return a request of one event as JSON, by itself or in a batch."""
    media = STRUCTURED_CONTENT_TYPE if mode == "structured" else BATCH_CONTENT_TYPE
    return Sent(
        f"{kind}, {mode}", {"content-type": media}, body if mode == "structured" else b"[%b]" % body, is_wrong
    )


def _event(event_id: str, **more: Any) -> dict[str, Any]:
    return {**_EVENT, "id": event_id, "data": {"a": [1, 2.5, "é"]}, **more}


@st.composite
def cut_off(draw: st.DrawFn) -> Sent:
    events = [_event(draw(_ids)) for _ in range(draw(st.integers(1, 3)))]
    mode = draw(_modes)
    body = orjson.dumps(events[0] if mode == "structured" else events)
    sent = _structured("cut off", b"", mode, is_wrong=True)
    return replace(sent, body=body[: draw(st.integers(0, len(body) - 1))])


@st.composite
def mutated(draw: st.DrawFn) -> Sent:
    body = bytearray(orjson.dumps(_event(draw(_ids), status=200, data_base64="YWJj", data=None)))
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, len(body) - 1))
        end = place + draw(st.integers(0, 3))
        body[place:end] = draw(st.binary(max_size=3))
    return _structured("mutated", bytes(body), draw(_modes), is_wrong=False)


_NEVER = [0, -1, 1.5, True, False, [], {}, ["a"], {"a": 1}, 2**70]


@st.composite
def wrong_types(draw: st.DrawFn) -> Sent:
    name = draw(
        st.sampled_from(["id", "source", "type", "specversion", "time", "datacontenttype", "data_base64"])
    )
    value = draw(st.sampled_from(_NEVER))
    more: dict[str, Any] = {name: value}
    if name == "data_base64":
        more["data"] = None
    if draw(st.booleans()):
        more = {
            draw(st.sampled_from(["status", "headerlength", "extra", "sampledrate"])): draw(
                st.sampled_from([1.5, [], {}, [1], {"a": 1}, 2**31, -(2**31) - 1, 2**64, 1e300])
            )
        }
    return _structured(
        "wrong types", json.dumps(_event(draw(_ids), **more)).encode(), draw(_modes), is_wrong=True
    )


@st.composite
def literals(draw: st.DrawFn) -> Sent:
    """No number of JSON, or one that no computer has."""
    bad = draw(
        st.sampled_from(["NaN", "Infinity", "-Infinity", "nan", "+1", "01", "1.", ".5", "0x1", "tru", "'a'"])
    )
    large = draw(
        st.sampled_from(
            ["1e999", "-1e999", "1" * 400, "9" * 5000, "0." + "3" * 5000, "1e-9999", "-0", "1E+2"]
        )
    )
    is_wrong = draw(st.booleans())
    place = draw(st.sampled_from(["data", "status", "extra", "time"]))
    inner = bad if is_wrong else large
    if place == "data" and draw(st.booleans()):
        inner = f'{{"instances":[[{inner}]]}}'
    event = {k: v for k, v in _event(draw(_ids), type=REQUEST_TYPE).items() if k != "data"}
    body = json.dumps(event)[:-1] + f', "{place}": {inner}}}'
    return _structured("literals", body.encode(), draw(_modes), is_wrong=is_wrong)


@st.composite
def nested(draw: st.DrawFn) -> Sent:
    depth = draw(st.sampled_from([10, 500, 1000, 1023, 1024, 1100, 5000, 100_000]))
    opening, closing_ = draw(st.sampled_from([("[", "]"), ('{"a":', "}")]))
    closed = draw(st.booleans())
    inner = opening * depth + "1" + closing_ * (depth if closed else depth - 1)
    if draw(st.booleans()):
        return _structured("nested", inner.encode(), draw(_modes), is_wrong=True)
    event = {
        k: v
        for k, v in _event(draw(_ids), type=draw(st.sampled_from([REQUEST_TYPE, "a"]))).items()
        if k != "data"
    }
    place = draw(st.sampled_from(["data", "extra"]))
    body = json.dumps(event)[:-1] + f', "{place}": {inner}}}'
    is_wrong = not closed or place == "extra"
    return _structured("nested", body.encode(), draw(_modes), is_wrong=is_wrong)


_CHARACTERS = ["\x00", "\n", "\x7f", "\x85", "\ud800", "\udfff", "\ufdd0", "\ufffe", "\U0010ffff"]


@st.composite
def text(draw: st.DrawFn) -> Sent:
    """Texts with what is no character, in JSON and as bytes that are no UTF-8."""
    bad = draw(st.sampled_from(_CHARACTERS))
    place = draw(
        st.sampled_from(
            ["id", "source", "type", "extra", "datacontenttype", "name", "data", "bytes", "base64"]
        )
    )
    event = _event(draw(_ids))
    value = draw(st.text(max_size=5)) + bad
    if place == "name":
        event["a" + bad] = "x"
    elif place == "base64":
        event["data_base64"] = draw(
            st.sampled_from(["a", "ab!=", "YQ", "YQ=", "Y=Q=", "YQ==\n", "é", bad, "YQ==YQ=="])
        )
        del event["data"]
    elif place != "bytes":
        event[place] = {"a": value, value: 1} if place == "data" else value
    body = json.dumps(event).encode()
    if place == "bytes":
        broken = draw(
            st.sampled_from(
                [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf", b"\x80"]
            )
        )
        body = body.replace(b'"a"', b'"a%b"' % broken)
    return _structured("text", body, draw(_modes), is_wrong=place != "data")


@st.composite
def packed(draw: st.DrawFn) -> Sent:
    """Bodies that are not what their encoding says."""
    sent = _structured("packed", orjson.dumps(_event(draw(_ids))), draw(_modes), is_wrong=True)
    encoding = draw(st.sampled_from(["gzip", "deflate"]))
    whole = gzip.compress(sent.body) if encoding == "gzip" else zlib.compress(sent.body)
    way = draw(
        st.sampled_from(["cut", "more", "plain", "other", "check", "unknown", "bomb", "twice", "empty"])
    )
    match way:
        case "cut":
            body = whole[: draw(st.integers(0, len(whole) - 1))]
        case "more":
            body = whole + draw(st.binary(min_size=1, max_size=20))
        case "plain":
            body = sent.body
        case "other":
            encoding = "deflate" if encoding == "gzip" else "gzip"
            body = whole
        case "check":
            body = whole[:-4] + bytes(byte ^ 0x55 for byte in whole[-4:])
        case "unknown":
            encoding = draw(st.sampled_from(["br", "zstd", "gzip, gzip", "", "GZIP;q=1", "\xff"]))
            body = whole
        case "bomb" if draw(st.integers(0, 20)) == 0:  # it takes its time
            encoding, body = "gzip", BOMB
        case "twice":
            body = gzip.compress(whole) if encoding == "gzip" else zlib.compress(whole)
        case _:
            body = b""
    return replace(sent, headers={**sent.headers, "content-encoding": encoding}, body=body)


@st.composite
def media(draw: st.DrawFn) -> Sent:
    kinds = [
        "",
        "text/plain",
        "application/json",
        "application/cloudevents",
        "application/cloudevents+xml",
        "application/cloudevents-batch",
        "application/cloudevents+json; charset=utf-16",
        "application/cloudevents-batch+json;charset=latin-1",
        'application/cloudevents+json; charset="utf-7"',
        "application/cloudevents+json, text/plain",
        "\xff/\xfe",
    ]
    headers = {"content-type": draw(st.sampled_from(kinds))}
    if draw(st.booleans()):
        headers = {}
    body = orjson.dumps(_event(draw(_ids)))
    body = b"[%b]" % body if draw(st.booleans()) else body
    return Sent("media", headers, body, is_wrong=True)


@st.composite
def binary(draw: st.DrawFn) -> Sent:
    """Attributes as headers, one of which is wrong."""
    headers = {f"ce-{name}": value for name, value in _EVENT.items()}
    headers |= {
        "ce-id": draw(_ids),
        "content-type": draw(st.sampled_from(["application/json", "image/png", "\xe9"])),
    }
    way = draw(st.sampled_from(["percent", "control", "missing", "value", "name", "many", "odd"]))
    name = draw(_names)
    match way:
        case "percent":
            headers[f"ce-{name}"] = draw(
                st.sampled_from(["%FF", "a%C3", "%ED%A0%80", "%00", "a%0Ab", "%EF%BF%BE", "%c0%af"])
            )
        case "control":
            headers[f"ce-{name}"] = "a" + draw(st.sampled_from("\x00\x01\x1f\x7f\x85")) + "b"
        case "missing":
            del headers[f"ce-{name}"]
        case "value":
            bad = {
                "time": ["now", "2026-01-31", "", "2026-13-31T12:00:00Z", "9999-12-31T23:59:59Z", "0" * 3000],
                "status": ["ok", "1.5", "99999999999", "", "\xb2", "-", "1" * 5000],
                "specversion": ["0.3", "1", "", "1.0 ", "%31.0%"],
                "id": ["", "x" * 2049],
                "data": ["x"],
                "data_base64": ["YQ=="],
                "datacontenttype": ["a/b"],
            }
            name = draw(st.sampled_from(sorted(bad)))
            headers[f"ce-{name}"] = draw(st.sampled_from(bad[name]))
        case "name":
            headers["ce-" + draw(st.sampled_from(["", "a-b", "a_b", "\xe9", "a.b", " ", "a b"]))] = "x"
        case "many":
            headers |= {f"ce-a{number}": "x" for number in range(65)}
        case "odd":  # which may be right
            headers |= draw(
                st.dictionaries(
                    st.text("abc019", min_size=1, max_size=5).map("ce-x{}".format),
                    st.text(st.characters(max_codepoint=255), max_size=12),
                    max_size=4,
                )
            )
    return Sent(f"binary, {way}", headers, draw(st.binary(max_size=40)), is_wrong=way != "odd")


@st.composite
def images(draw: st.DrawFn) -> Sent:
    """Requests of images in nested lists, with something in them that is no image."""
    odd = draw(
        st.sampled_from(
            [
                '"a"',
                "null",
                "true",
                "1.5",
                "256",
                "-1",
                "1e400",
                "9" * 30,
                "[]",
                "{}",
                "[[1]]",
                "NaN",
                "",
                "1",
            ]
        )
    )
    text_ = _pixels(draw(st.sampled_from([8, 40, 200])))
    found = re.compile(r"\d").search(text_, draw(st.integers(0, len(text_) - 10)))
    assert found is not None
    at = found.start()
    place = draw(st.sampled_from(["number", "row", "end", "start"]))
    match place:
        case "number":
            text_ = text_[:at] + odd + text_[at + 1 :]
        case "row":
            at = text_.index("]", at)
            text_ = text_[:at] + f",{odd or 1}" + text_[at:]
        case "end":
            text_ = text_[:-1] + f",{odd or 1}]"
        case "start":
            text_ = f"[{odd or 1}," + text_[1:]
    key = draw(st.sampled_from(["instances", "inputs", "tensors"]))
    payload = f'{{"{key}":{text_}}}'
    if draw(st.booleans()):
        payload = f'{{"signature_name":"serving_default","{key}":[{{"a":{text_}}}]}}'
    mode = draw(st.sampled_from(["structured", "batch", "binary"]))
    event_id = draw(_ids)
    if mode == "binary":
        headers = {
            f"ce-{name}": value for name, value in {**_EVENT, "type": REQUEST_TYPE, "id": event_id}.items()
        }
        return Sent(
            "images, binary",
            {**headers, "content-type": "application/json"},
            payload.encode(),
            is_wrong=False,
        )
    event = {k: v for k, v in _event(event_id, type=REQUEST_TYPE).items() if k != "data"}
    body = json.dumps(event)[:-1] + f', "data": {payload}}}'
    return _structured("images", body.encode(), mode, is_wrong=odd == "NaN")


@cache
def _pixels(side: int) -> str:
    rng = random.Random(side)
    return json.dumps(
        [[[[rng.randrange(256)] for _ in range(side)] for _ in range(side)]], separators=(",", ":")
    )


@st.composite
def batches(draw: st.DrawFn) -> Sent:
    """Events of which some are wrong: the others count."""
    wrong: Iterable[Any] = [
        None,
        7,
        "a",
        [],
        {},
        {**_EVENT, "id": ""},
        {**_EVENT, "id": "1", "source": "/nobody"},
    ]
    items = draw(st.lists(_ids.map(_event) | st.sampled_from(list(wrong)), max_size=8))
    if draw(st.integers(0, 30)) == 0:
        items = items * 500
    is_wrong = bool(items) and not any(isinstance(item, dict) and "data" in item for item in items)
    return Sent("batches", {"content-type": BATCH_CONTENT_TYPE}, orjson.dumps(items), is_wrong)


@st.composite
def owners(draw: st.DrawFn) -> Sent:
    """Events of nobody, paths that lead nowhere, and senders without a token."""
    event = _event(draw(_ids))
    way = draw(st.sampled_from(["source", "path", "method", "token"]))
    sent = _structured(f"owners, {way}", b"", "structured", is_wrong=True)
    match way:
        case "source":
            event["source"] = draw(
                st.sampled_from(
                    [
                        "/deployments/",
                        "/deployments/d3",
                        "/deployments/d1/x",
                        "d1",
                        "/deployments/../d1",
                        "/deployments/D1",
                    ]
                )
            )
            event |= draw(
                st.sampled_from([{}, {"inferenceservicename": "x"}, {"inferenceservicename": "d1"}])
            )
        case "path":
            odd = st.sampled_from(
                ["d3", "", "%00", "d1%00", "%2e%2e", "d1%2Fx", "%ff", "d1'--", "\xe9", "d" * 3000, "."]
            )
            path = draw(
                odd.map("/v1/deployments/{}/events".format)
                | st.sampled_from(["/v1/events/", "/", "//v1/events"])
            )
            sent = replace(sent, path=path)
        case "method":
            sent = replace(
                sent, method=draw(st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]))
            )
        case "token":
            bad = st.sampled_from(
                ["", "Bearer", "Bearer x", "Basic eA==", "Basic \xff", "Basic !", "Bearer \x00", "\xe9"]
            )
            sent = replace(sent, headers={**sent.headers, "authorization": draw(bad)})
    return replace(sent, body=orjson.dumps(event))


@st.composite
def noise(draw: st.DrawFn) -> Sent:
    headers = draw(
        st.dictionaries(
            st.sampled_from(
                ["content-type", "ce-id", "ce-type", "ce-source", "ce-specversion", "ce-time", "accept"]
            ),
            st.text(st.characters(max_codepoint=255), max_size=10)
            | st.sampled_from([STRUCTURED_CONTENT_TYPE, BATCH_CONTENT_TYPE, "1.0"]),
        )
    )
    return Sent("noise", headers, draw(st.binary(max_size=60)), is_wrong=False)


@st.composite
def lengths(draw: st.DrawFn) -> Sent:
    """Lengths that are not that of the body."""
    sent = _structured("lengths", orjson.dumps(_event(draw(_ids))), draw(_modes), is_wrong=False)
    odd = ["0", "1", "-1", "abc", "", "9" * 40, "9" * 5000, "1e3", "+5", "\xb2", str(33 << 20), " 7 "]
    return replace(sent, headers={**sent.headers, "content-length": draw(st.sampled_from(odd))})


@st.composite
def went_away(draw: st.DrawFn) -> Sent:
    body = orjson.dumps(_event(draw(_ids)))
    sent = _structured("went away", body, draw(_modes), is_wrong=True)
    return replace(sent, is_cut_off=True)


@st.composite
def twice(draw: st.DrawFn) -> Sent:
    """Names that come twice, of which one is right."""
    event = json.dumps(_event(draw(_ids)))
    name = draw(
        st.sampled_from(["id", "source", "type", "specversion", "data", "time", "status", "data_base64"])
    )
    value = draw(st.sampled_from(['"a"', "1", "null", "[]", '"1.0"', '"YQ=="', '"/deployments/d2"']))
    more = f'"{name}": {value}'
    body = f"{{{more}, {event[1:]}" if draw(st.booleans()) else f"{event[:-1]}, {more}}}"
    return _structured("twice", body.encode(), draw(_modes), is_wrong=False)
