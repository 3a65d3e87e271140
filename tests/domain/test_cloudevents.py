from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from tidegauge.domain.cloudevents import (
    STRUCTURED_CONTENT_TYPE,
    Decoded,
    decode_http,
    decode_json,
    encode_batch,
)
from tidegauge.domain.events import BATCH_CONTENT_TYPE, REQUEST_TYPE, RESPONSE_TYPE, Event
from tidegauge.domain.inference import decode_event
from tidegauge.errors import InvalidInputError, UnsupportedMediaError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KNOWN = {"status", "latencyus", "headerlength"}  # always integers
REQUIRED = {"specversion": "1.0", "id": "1", "source": "/deployments/d", "type": "request"}

text = st.text(  # CloudEvents strings: no control characters, no code points that are no characters
    st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=20
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abé", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
extension_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in {*REQUIRED, "time", "datacontenttype", "data", "subject", "dataschema", *KNOWN}
)
times = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=NOW.replace(tzinfo=None),
    timezones=st.sampled_from([UTC, datetime.strptime("+0530", "%z").tzinfo]),
)


def one(**attributes: Any) -> Event:
    (event,) = decode_json(json.dumps({**REQUIRED, **attributes}).encode(), batch=False, now=NOW).events
    return event


def batch_of(*items: Any) -> Decoded:
    return decode_json(json.dumps(items).encode(), batch=True, now=NOW)


def refused(body: Any, *, batch: bool = False) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        decode_json(body if isinstance(body, bytes) else json.dumps(body).encode(), batch=batch, now=NOW)
    return caught.value


@given(
    text,
    text,
    text,
    times,
    st.dictionaries(extension_names, text, max_size=4),
    st.binary() | st.dictionaries(st.text("abé", min_size=1), json_values),
)
def test_what_the_cloudevents_package_sends_is_read_back_equal(
    event_id: str, source: str, kind: str, time: datetime, extensions: dict[str, str], data: Any
) -> None:
    media = "application/octet-stream" if isinstance(data, bytes) else "application/json"
    attributes = {
        "id": event_id,
        "source": source,
        "type": kind,
        "time": time,
        "datacontenttype": media,
        "subject": "s",
        **extensions,
    }
    sent = CloudEvent(dict(attributes), data)
    structured, binary = http.to_structured(sent, JSONFormat()), http.to_binary(sent, JSONFormat())
    batch = b"[" + structured.body + b"," + structured.body + b"]"
    read = [
        *decode_http(structured.headers, structured.body, NOW).events,
        *decode_http(binary.headers, binary.body, NOW).events,
        *decode_http({"content-type": BATCH_CONTENT_TYPE}, batch, NOW).events,
    ]
    assert len(read) == 4
    for event in read:
        assert (event.id, event.source, event.type, event.time) == (event_id, source, kind, time)
        assert event.time.tzinfo is UTC
        assert (event.content_type, event.extensions) == (media, {"subject": "s", **extensions})
        assert (event.data if isinstance(data, bytes) else json.loads(event.data)) == data


@given(text, times, st.binary(), st.dictionaries(extension_names, text | st.booleans() | st.integers(-5, 5)))
def test_a_batch_that_we_encode_is_read_back_equal_and_by_the_package_too(
    event_id: str, time: datetime, data: bytes, extensions: dict[str, str | int | bool]
) -> None:
    event = Event(event_id, "/d", "request", time.astimezone(UTC), "a/b", data, extensions)
    body = encode_batch([event, event])
    assert decode_json(body, batch=True, now=NOW).events == [event, event]
    foreign = JSONFormat().read(None, json.dumps(json.loads(body)[0]))
    assert (foreign.get_data(), foreign.get_id(), foreign.get_time()) == (data, event_id, event.time)
    assert {name: foreign.get_extension(name) for name in extensions} == extensions


@given(json_values)
def test_json_data_of_any_type_keeps_its_value(data: Any) -> None:
    assert json.loads(one(data=data).data) == data


def test_data_and_content_type() -> None:
    assert one(data={"a": [1, 2.5, "é"]}).data == '{"a":[1,2.5,"é"]}'.encode()  # compact
    assert one(data="text").data == b'"text"'  # JSON by default: a string is a JSON string
    assert one(data="<a/>", datacontenttype="text/xml").data == b"<a/>"
    assert one(data="x", datacontenttype="application/vnd.x+json; charset=utf-8").data == b'"x"'
    assert one(data_base64=base64.b64encode(b"\0\xff").decode()).data == b"\0\xff"
    assert one(data={"big": 2**64}).data == b'{"big":%d}' % 2**64  # past what simdjson reads
    assert one(data={"big": 2**80}).data == b'{"big":%d}' % 2**80
    assert (one().data, one().content_type) == (b"", "application/json")
    assert one(data=None).data == b"null"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("1970-01-01T01:00:00+01:00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-01-31t12:00:00.123456789z", datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)),
        ("2026-01-31T00:30:00.5+01:00", datetime(2026, 1, 30, 23, 30, 0, 500000, UTC)),
    ],
)
def test_times_are_utc(sent: str, read: datetime) -> None:
    assert one(time=sent).time == read
    assert one(time=sent).time.utcoffset() == timedelta(0)


def test_an_event_without_a_time_happened_now() -> None:
    assert one().time == one(time=None).time == NOW


@pytest.mark.parametrize(
    ("change", "attribute", "says"),
    [
        ({"specversion": None}, "specversion", "missing"),
        ({"specversion": "0.3"}, "specversion", "'0.3'"),
        ({"id": ""}, "id", "missing or empty"),
        ({"id": 7}, "id", "is 7"),
        ({"source": None}, "source", "missing or empty"),
        ({"type": "a\nb"}, "type", "control character"),
        ({"id": "\ufffe"}, "id", "no character"),
        ({"time": "2026-01-31 12:00:00Z"}, "time", "RFC 3339"),
        ({"time": "2026-01-31T12:00:00"}, "time", "RFC 3339"),
        ({"time": "2026-02-30T12:00:00Z"}, "time", "RFC 3339"),
        ({"time": "0001-01-01T00:00:00+23:00"}, "time", "RFC 3339"),
        ({"time": "0001-01-01T00:00:00Z"}, "time", "is '0001-01-01T00:00:00Z'; send a time from 1970 on"),
        ({"time": "1970-01-01T00:00:00+00:01"}, "time", "from 1970 on"),
        ({"time": 1700000000}, "time", "send a string"),
        ({"datacontenttype": ""}, "datacontenttype", "is empty"),
        ({"Upper": "x"}, "Upper", "a-z and 0-9"),
        ({"with_dash": "x"}, "with_dash", "a-z and 0-9"),
        ({"nul\0": "x"}, "nul\0", "a-z and 0-9"),
        ({"ext": 1.5}, "ext", "is 1.5"),
        ({"ext": {"a": 1}}, "ext", "an object"),
        ({"ext": [1]}, "ext", "an array"),
        ({"ext": 2**31}, "ext", "32 bits"),
        ({"status": "ok"}, "status", "an integer"),
        ({"status": True}, "status", "an integer"),
        ({"data_base64": "a"}, "data_base64", "not base64"),
        ({"data_base64": "YQ==\n"}, "data_base64", "not base64"),
        ({"data": "\ud800", "datacontenttype": "text/plain"}, "data", "as text"),
        ({"data_base64": 1}, "data_base64", "not a string"),
        ({"data_base64": "YQ==", "data": 1}, "data_base64", "only one"),
    ],
)
def test_a_wrong_attribute_is_named_with_the_index_of_its_event(
    change: dict[str, Any], attribute: str, says: str
) -> None:
    decoded = batch_of(REQUIRED, {**REQUIRED, **change}, REQUIRED)
    assert ([event.id for event in decoded.events], decoded.places) == (["1", "1"], [0, 2])
    (error,) = decoded.errors
    assert error.field == f"events[1].{attribute}"
    assert "event 1" in error.message
    assert says in error.message
    alone = refused({**REQUIRED, **change})
    assert alone.errors[0].field == f"events[0].{attribute}"


def test_every_wrong_event_of_a_batch_is_listed_up_to_a_limit() -> None:
    decoded = batch_of(REQUIRED, 7, {**REQUIRED, "id": ""}, None)
    assert [each.field for each in decoded.errors] == ["events[1]", "events[2].id", "events[3]"]
    assert len(batch_of(*[1] * 1000).errors) == 1000
    assert "More than 1000 events are wrong" in refused([1] * 1001, batch=True).message


@pytest.mark.parametrize(
    ("change", "attribute", "says"),
    [
        ({"id": "x" * 2049}, "id", "2049 characters; send 2048 at most"),
        ({"patient": "x" * 2049}, "patient", "2048 at most"),
        ({"datacontenttype": "x" * 2049}, "datacontenttype", "2048 at most"),
        ({f"a{n}": 1 for n in range(65)}, "", "65 extensions; send 64 at most"),
        ({"time": "9999-12-31T00:00:00Z"}, "time", "more than a day ahead"),
    ],
)
def test_attributes_are_bounded(change: dict[str, Any], attribute: str, says: str) -> None:
    error = refused({**REQUIRED, **change})
    assert error.errors[0].field.removeprefix("events[0]").lstrip(".") == attribute
    assert says in error.message


IMAGE = [[[n % 256] for n in range(60)] for _ in range(50)]


@pytest.mark.parametrize(
    "data",
    [
        {"instances": [IMAGE, IMAGE]},
        {"instances": [{"a": IMAGE, "b": IMAGE}]},
        {"inputs": {"a": [IMAGE], "b": [IMAGE]}},
        {"inputs": [IMAGE]},
        {"signature_name": "serving_default", "instances": [IMAGE]},
    ],
)
@pytest.mark.parametrize("mode", ["structured", "batch", "binary"])
def test_images_in_json_become_bytes_and_decode_to_the_same_tensors(data: Any, mode: str) -> None:
    event = {**REQUIRED, "type": REQUEST_TYPE, "note": "é"}
    body = json.dumps(data).encode()
    if mode == "binary":
        headers = {f"ce-{name}": value for name, value in event.items() if name != "note"}
        (small,) = decode_http({**headers, "content-type": "application/json"}, body, NOW).events
    else:
        text = json.dumps([{**event, "data": data}] if mode == "batch" else {**event, "data": data}).encode()
        (small,) = decode_json(text, batch=mode == "batch", now=NOW).events
    plain = Event("1", "/d", REQUEST_TYPE, NOW, "application/json", body)
    assert len(small.data) < len(body) / 3
    assert small.content_type == "application/octet-stream"
    found, wanted = decode_event(small), decode_event(plain)
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert np.array_equal(found[name], tensor)


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        ({"type": RESPONSE_TYPE}, {"instances": [IMAGE]}),
        ({"headerlength": 5}, {"instances": [IMAGE]}),
        ({}, {"instances": [[[[0.5]] * 60] * 50]}),
        ({}, {"instances": [[[[256]] * 60] * 50]}),
        ({}, {"instances": [[1] * 3000]}),
        ({}, {"instances": [IMAGE, IMAGE[:-1]]}),
        ({}, {"instances": [IMAGE], "more": 1}),
        ({}, {"instances": [IMAGE], "signature_name": "other"}),
        ({}, {"inputs": {"(unnamed)": [IMAGE]}}),
        ({"note": "["}, {"instances": [IMAGE]}),
    ],
)
def test_what_is_not_images_of_bytes_is_kept_as_it_came(attributes: dict[str, Any], data: Any) -> None:
    event = one(**{"type": REQUEST_TYPE, **attributes}, data=data)
    assert json.loads(event.data) == data
    assert event.content_type == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a":NaN}',
        b'[{"a":1}] x',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":%d, "b":NaN}' % 2**80,
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert "JSON" in refused(body).message


def test_the_shape_must_match_the_mode() -> None:
    assert "array" in refused(REQUIRED, batch=True).message
    assert "not a JSON object" in refused([REQUIRED]).message
    assert decode_json(b"[]", batch=True, now=NOW).events == []


def test_binary_headers_are_unquoted_and_percent_decoded() -> None:
    headers = {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "caf%C3%A9 %25",
        "ce-source": '"a \\"quoted\\" one"',
        "ce-type": "t",
        "ce-latencyus": "1500",
        "ce-other": "7",
        "ce-endpoint": "",
        "x-unrelated": "y",
    }
    (event,) = decode_http(headers, b'{ "kept": "as it came" }', NOW).events
    assert (event.id, event.source, event.data) == ("café %", 'a "quoted" one', b'{ "kept": "as it came" }')
    assert event.extensions == {"latencyus": 1500, "other": "7", "endpoint": ""}


@pytest.mark.parametrize(
    ("header", "value", "field"),
    [
        ("ce-id", "%FF", "events[0].id"),
        ("ce-id", "a%0Ab", "events[0].id"),
        ("ce-specversion", "2.0", "events[0].specversion"),
        ("ce-status", "1.5", "events[0].status"),
        ("ce-data", "x", "events[0].data"),
        ("ce-a-b", "x", "events[0].a-b"),
    ],
)
def test_wrong_binary_headers_are_named(header: str, value: str, field: str) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", header: value}
    with pytest.raises(InvalidInputError) as caught:
        decode_http(headers, b"", NOW)
    assert caught.value.errors[0].field == field


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "application/cloudevents+xml", "ce-specversion": "1.0"},
        {"content-type": f"{STRUCTURED_CONTENT_TYPE}; charset=latin-1"},
    ],
)
def test_what_is_no_cloudevent_is_an_unsupported_medium(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaError):
        decode_http(headers, json.dumps(REQUIRED).encode(), NOW)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()), st.booleans())
def test_a_malformed_body_is_refused_and_never_breaks(body: bytes, batch: bool) -> None:
    try:
        fields = [json.dumps(event.id) for event in decode_json(body, batch=batch, now=NOW).events]
        assert fields == []  # only an empty batch is right
    except InvalidInputError as error:
        fields = [each.field for each in error.errors]
        assert fields
        error.message.encode()
