from __future__ import annotations

import base64
import contextlib
import gzip
import json
import zlib
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
import simdjson
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tidegauge.domain import inference
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE, Event
from tidegauge.domain.inference import (
    UNNAMED,
    Form,
    WantedOutput,
    decode_event,
    decode_request,
    decode_response,
    decode_v1_request,
    decode_v2_request,
)
from tidegauge.domain.nested import FastDocument
from tidegauge.domain.tensors import DTYPES, cast, encode_binary
from tidegauge.errors import InvalidInputError

NUMBERS = st.one_of(
    st.integers(-(2**64), 2**65), st.integers(-3, 300), st.floats(allow_nan=False, allow_infinity=False)
)
LEAVES = st.one_of(NUMBERS, st.booleans(), st.none(), st.sampled_from(["", "[", "]", "a[[1,2]]", "1"]))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "b64"]), inner, max_size=2)
    ),
    max_leaves=12,
)
REGULAR = hnp.arrays(
    np.float64, hnp.array_shapes(max_dims=4, max_side=3, min_side=0), elements=st.floats(-1e9, 1e9)
).map(np.ndarray.tolist)
KEYS = st.sampled_from(["inputs", "instances", "signature_name", "x"])
V1_BODIES = st.dictionaries(KEYS, st.one_of(VALUES, REGULAR, st.dictionaries(KEYS, REGULAR)), max_size=2)
V2_TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.sampled_from(["a", "b", ""]), LEAVES),
        "shape": st.one_of(st.lists(st.integers(-1, 4), max_size=3), VALUES),
        "datatype": st.one_of(st.sampled_from(sorted(DTYPES)), LEAVES),
        "data": st.one_of(st.lists(NUMBERS, max_size=4), REGULAR, VALUES),
        "parameters": st.one_of(
            VALUES, st.fixed_dictionaries({"binary_data_size": st.one_of(st.integers(-1, 9), LEAVES)})
        ),
    },
)
V2_BODIES = st.fixed_dictionaries(
    {"inputs": st.one_of(st.lists(V2_TENSORS, max_size=2), VALUES)},
    optional={
        "outputs": st.one_of(st.lists(V2_TENSORS, max_size=2), VALUES),
        "id": LEAVES,
        "parameters": VALUES,
    },
)


def dump(value: object) -> bytes:
    """JSON by the standard library's rules, which know integers past 64 bits."""
    return json.dumps(value).encode()


def fast(decode, body):
    """What the fast way makes of a body, however short it is; None where it leaves it to the exact way."""
    try:
        document = FastDocument(body)
    except (ValueError, RuntimeError):
        return None
    return decode(document) if isinstance(document.root, simdjson.Object) else None


def same(left: inference.InferenceRequest, right: inference.InferenceRequest) -> None:
    assert (left.form, left.id, left.wanted, left.binary_output) == (
        right.form,
        right.id,
        right.wanted,
        right.binary_output,
    )
    assert list(left.inputs) == list(right.inputs)
    for name, array in left.inputs.items():
        assert array.dtype == right.inputs[name].dtype
        np.testing.assert_array_equal(array, right.inputs[name], strict=True)


@settings(max_examples=150, deadline=None)
@given(V1_BODIES)
@example({"instances": [[1, 2], [3], [4, 5, 6]]})
@example({"instances": [[[1, 2], 3], [4, [5, 6]]]})
@example({"inputs": {"a": [[1, 2], [3, 4]], "b": [1, [2, 3], 4]}})
@example({"inputs": {"[[,],[,]]": [[1, 2], [3]]}})
@example({"inputs": [2**53 + 1, 1]})
@example({"instances": [{"a": [1, 2], "b": [[3]]}, {"b": [[4]], "a": [5, 6]}]})
@example({"instances": [{"a": [1, 2], "b": 3}, {"b": 0.5, "a": [5, 6]}]})
@example({"inputs": {"a": 2**53, "b": 3, "c": True}})
@example({"instances": [[1, 2]], "signature_name": "serving_default"})
@example({"instances": [[1, 2]], "signature_name": ["other"]})
def test_the_fast_way_of_v1_agrees_with_the_exact_way(document):
    body = dump(document)
    try:
        found = fast(inference.fast_v1, body)
    except InvalidInputError:
        with pytest.raises(InvalidInputError):
            decode_v1_request(body)
        return
    if found is not None:
        same(found, decode_v1_request(body))


@settings(max_examples=150, deadline=None)
@given(V2_BODIES)
@example({"inputs": [{"name": "a", "shape": [4], "datatype": "FP32", "data": [[1, 2], [3, 4]]}]})
@example({"inputs": [{"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1, [2, 3], 4]}]})
@example({"inputs": [{"data": [[1, 2], [3, 4]], "name": "[[,],[,]]", "shape": [4], "datatype": "FP32"}]})
@example(
    {"outputs": [{"name": "y"}], "inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [1]}]}
)
def test_the_fast_way_of_v2_agrees_with_the_exact_way(document):
    body = dump(document)
    try:
        found = fast(inference._fast_v2, body)
    except InvalidInputError:
        with pytest.raises(InvalidInputError):
            decode_v2_request(body)
        return
    if found is not None:
        same(found, decode_v2_request(body))


PIXELS = np.arange(2 * 30 * 30).reshape(2, 30, 30, 1) % 256


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": {"input_1": PIXELS.tolist()}},
        {"instances": PIXELS.tolist()},
        {"instances": [{"image": pixels, "age": 63} for pixels in PIXELS.tolist()]},
        {"signature_name": "serving_default", "instances": PIXELS.tolist()},
        {"inputs": [{"name": "a", "shape": [1800], "datatype": "UINT8", "data": PIXELS.ravel().tolist()}]},
        {
            "outputs": [{"name": "y"}],
            "inputs": [
                {"name": "a", "shape": [2, 30, 30, 1], "datatype": "UINT8", "data": PIXELS.tolist()},
                {"data": [1, 2], "shape": [2], "name": "b", "datatype": "FP32", "parameters": {"t": [[1]]}},
            ],
        },
    ],
)
def test_large_requests_are_parsed_once(document, monkeypatch):
    monkeypatch.setattr(inference, "load_object", lambda body: pytest.fail("The body was parsed again."))
    request = decode_request(orjson.dumps(document))
    np.testing.assert_array_equal(next(iter(request.inputs.values())).ravel(), PIXELS.ravel())


def test_what_the_fast_way_cannot_read_is_parsed_exactly_once_more(monkeypatch):
    parsed = []
    monkeypatch.setattr(inference, "load_object", lambda body: parsed.append(1) or orjson.loads(body))
    monkeypatch.setattr(inference, "FastDocument", lambda body: parsed.append(2) or FastDocument(body))
    decode_request(orjson.dumps({"instances": [{"b64": base64.b64encode(bytes(4096)).decode()}]}))
    assert parsed == [2, 1]


@pytest.mark.parametrize("body", [b'{"inputs":[1],"inputs":[2]}', b'{"inputs":{"a":[1],"a":[2]}}'])
def test_of_a_key_that_stands_twice_the_last_counts(body):
    padded = body + b" " * 4096
    (array,) = decode_v1_request(padded).inputs.values()
    assert array.tolist() == [2]


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=60), V1_BODIES.map(dump), V2_BODIES.map(dump)), st.integers(-5, 80))
@example(b'{"inputs":' + b"[" * 2000 + b"]" * 2000 + b"}", 5)
@example(b'{"inputs":[1e999]}', 1)
@example(b'{"inputs":[NaN]}', 1)
def test_decoding_never_raises_anything_but_invalid_input(body, length):
    for decode in (
        decode_v1_request,
        decode_v2_request,
        decode_request,
        decode_response,
        lambda data: decode_v2_request(data, length),
        lambda data: decode_response(data, length),
        lambda data: decode_v2_request(data + b"\0" * 4, len(data)),
        lambda data: fast(inference.fast_v1, data),
        lambda data: fast(inference._fast_v2, data),
    ):
        with contextlib.suppress(InvalidInputError):
            decode(body)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=3), st.integers(0, 300), st.binary(max_size=6))
def test_a_damaged_binary_body_is_invalid_input_or_decodes(damage, at, tail):
    whole, length = encode_binary({"a": np.arange(4, dtype=np.float32), "b": np.array(["x", "yz"])}, "inputs")
    at %= len(whole)
    damaged = whole[:at] + damage + whole[at + len(damage) :] + tail
    with contextlib.suppress(InvalidInputError):
        decode_v2_request(damaged, length)


NUMERIC = [dtype for name, dtype in DTYPES.items() if name != "BYTES"]


@pytest.mark.parametrize("compact", [False, True])
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_binary_bodies_restore_every_bit(compact, data):
    arrays = {
        str(index): data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=3)))
        for index, dtype in enumerate(data.draw(st.lists(st.sampled_from(NUMERIC), max_size=3)))
    }
    body, length = encode_binary(arrays, "inputs", compact=compact)
    decoded = decode_v2_request(body, length).inputs
    assert list(decoded) == list(arrays)
    for name, array in arrays.items():
        assert decoded[name].dtype == array.dtype
        assert decoded[name].shape == array.shape
        assert decoded[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pixels_as_floats_are_logged_in_a_byte_each(dtype):
    pixels = np.arange(256, dtype=dtype).reshape(16, 16)
    body, length = encode_binary({"x": pixels}, "inputs", compact=True)
    assert len(body) == length + 256
    np.testing.assert_array_equal(decode_v2_request(body, length).inputs["x"], pixels, strict=True)


@pytest.mark.parametrize("odd", [0.5, -1.0, 256.0, -0.0, np.nan, np.inf])
def test_one_odd_value_keeps_the_floats_as_they_are(odd):
    pixels = np.array([*range(31), odd], np.float32)
    body, length = encode_binary({"x": pixels}, "inputs", compact=True)
    assert len(body) == length + 128
    assert decode_v2_request(body, length).inputs["x"].tobytes() == pixels.tobytes()


def test_strings_and_bytes_travel_in_binary_bodies():
    body, length = encode_binary({"x": np.array([["å", b"\xff\x00"]], dtype=object)}, "outputs")
    array = decode_response(body, length)["x"]
    assert array.tolist() == [["å".encode(), b"\xff\x00"]]


def test_named_inputs_of_rows_become_columns():
    request = decode_v1_request(orjson.dumps({"instances": [{"a": 1, "b": [1, 2]}, {"a": 3, "b": [4, 5]}]}))
    assert request.form is Form.ROW
    assert {name: array.tolist() for name, array in request.inputs.items()} == {
        "a": [1, 3],
        "b": [[1, 2], [4, 5]],
    }


def test_a_bare_list_is_the_only_input():
    request = decode_v1_request(b'{"inputs": [[1, 2]]}')
    assert request.form is Form.COLUMN
    assert request.inputs[UNNAMED].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "wording",
    [
        '{"instances": [{"b64": "%s"}]}',
        '{"instances": [{"x": {"b64": "%s"}}]}',
        '{"inputs": {"x": [{"b64": "%s"}]}}',
        '{"inputs": [{"b64": "%s"}]}',
    ],
)
def test_b64_values_become_bytes(wording):
    body = (wording % base64.b64encode(b"picture").decode()).encode()
    (array,) = decode_v1_request(body).inputs.values()
    assert array.tolist() == [b"picture"]


def test_whole_numbers_past_float_precision_stay_exact():
    assert decode_v1_request(b'{"inputs": [9007199254740993, 1]}').inputs[UNNAMED].tolist() == [2**53 + 1, 1]
    assert decode_v1_request(b'{"inputs": [18446744073709551615]}').inputs[UNNAMED].dtype == np.uint64


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "needs 'instances'"),
        (b'{"instances": [1], "inputs": [1]}', "both"),
        (b'{"instances": 3}', "list with one value per row"),
        (b'{"inputs": {"x": [[1, 2], [3]]}}', "'x' is ragged"),
        (b'{"inputs": {"x": [1, "a"]}}', "'x' must hold values of one kind"),
        (b'{"inputs": {"x": [true, 1]}}', "one kind"),
        (b'{"inputs": {"x": [null]}}', "one kind"),
        (b'{"inputs": {"x": [{"b64": 3}]}}', "b64"),
        (b'{"inputs": {"x": [{"b64": "###"}]}}', "'x' holds text that is not valid base64"),
        (b'{"inputs": [NaN]}', "not valid JSON"),
        (b'{"instances": [{"a": 1}, {"b": 1}]}', "Every row"),
        (b'{"inputs": [1], "signature_name": "other"}', "serving_default"),
        (b'{"inputs": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper"),
    ],
)
def test_v1_refusals_say_what_was_expected(body, says):
    with pytest.raises(InvalidInputError, match=says):
        decode_v1_request(body)


def tensor(**changes: object) -> dict[str, object]:
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2], **changes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": 3}, "needs a name"),
        ({"datatype": "FLOAT"}, "datatype 'FLOAT'; expected one of"),
        ({"shape": [3]}, r"shape \[2\]; its 'shape' says \[3\]"),
        ({"shape": [-1]}, "not negative"),
        ({"shape": "2"}, "expected a list"),
        ({"data": ["a", "b"]}, "holds strings or bytes; expected numbers"),
        ({"datatype": "UINT8", "data": [1, 256]}, "whole numbers from 0 to 255"),
        ({"datatype": "INT32", "data": [1, 1.5]}, "whole numbers"),
        ({"datatype": "INT64", "data": [1, 2**63]}, "whole numbers"),
        ({"datatype": "BOOL", "data": [1, 0]}, "expected booleans"),
        ({"parameters": 3}, "'parameters'"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory"),
        ({"parameters": {"binary_data_size": 8}}, "0 bytes are left"),
    ],
)
def test_v2_refusals_name_the_tensor_and_what_was_expected(changes, says):
    with pytest.raises(InvalidInputError, match=says):
        decode_v2_request(orjson.dumps({"inputs": [tensor(**changes)]}))


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ({"outputs": "y"}, "'outputs' must be a list"),
        ({"outputs": [{}]}, "needs a name"),
        ({"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "true or false"),
        ({"id": 3}, "'id' must be text"),
        ({"inputs": [tensor(), tensor()]}, "stands twice"),
        ({"inputs": {}}, "list of tensors"),
        ({"inputs": [{k: v for k, v in tensor().items() if k != "data"}]}, "has no data"),
    ],
)
def test_v2_refusals_of_the_rest(rest, says):
    with pytest.raises(InvalidInputError, match=says):
        decode_v2_request(orjson.dumps({"inputs": [tensor()], **rest}))


@pytest.mark.parametrize(
    ("size", "shape", "data", "says"),
    [
        (8, [3], b"\0" * 8, "needs 12"),
        (8, [2], b"\0" * 4, "4 bytes are left"),
        (8, [2], b"\0" * 9, "1 bytes more"),
        ("8", [2], b"\0" * 8, "binary_data_size '8'"),
    ],
)
def test_wrong_binary_sizes_are_refused(size, shape, data, says):
    head = {"name": "x", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": size}}
    header = orjson.dumps({"inputs": [head]})
    with pytest.raises(InvalidInputError, match=says):
        decode_v2_request(header + data, len(header))


def test_what_a_v2_request_wants_is_read():
    body = orjson.dumps(
        {
            "id": "7",
            "inputs": [tensor()],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "y"}, {"name": "z", "parameters": {"binary_data": False}}],
        }
    )
    request = decode_v2_request(body)
    assert (request.id, request.binary_output) == ("7", True)
    assert request.wanted == (WantedOutput("y", None), WantedOutput("z", False))


def test_readers_tell_the_forms_apart():
    assert decode_request(orjson.dumps({"inputs": [tensor()]})).form is Form.V2
    assert decode_request(b'{"inputs": {"x": [1]}}').form is Form.COLUMN
    assert decode_request(b'{"instances": [1]}').form is Form.ROW


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"predictions": [[0.5, 0.5]]}', {UNNAMED: [[0.5, 0.5]]}),
        (b'{"predictions": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}', {"a": [1, 3], "b": [2, 4]}),
        (b'{"outputs": [[0.5]]}', {UNNAMED: [[0.5]]}),
        (b'{"outputs": {"a": [1], "b": [[2]]}}', {"a": [1], "b": [[2]]}),
        (orjson.dumps({"outputs": [tensor(shape=[1, 2])]}), {"x": [[1, 2]]}),
    ],
)
def test_responses_of_all_forms_are_decoded(body, expected):
    assert {name: array.tolist() for name, array in decode_response(body).items()} == expected


def test_the_body_of_an_error_is_no_response():
    with pytest.raises(InvalidInputError, match="no answer"):
        decode_response(b'{"error": "x"}')


@pytest.mark.parametrize(("kind", "field"), [(REQUEST_TYPE, "inputs"), (RESPONSE_TYPE, "outputs")])
def test_logged_events_are_decoded(kind, field):
    array = np.array([[1, 2]], np.float32)
    body, length = encode_binary({"x": array}, field, compact=True)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    event = Event(
        "1", "/deployments/d", kind, now, "application/octet-stream", body, {"headerlength": length}
    )
    np.testing.assert_array_equal(decode_event(event)["x"], array, strict=True)


def logged(kind, body, **extensions):
    """An event as KServe's logger sends it: whatever it is, the content type is that of the request."""
    return Event(
        "1",
        "http://localhost:9081/",
        kind,
        datetime(2026, 1, 1, tzinfo=UTC),
        "application/json",
        body,
        extensions,
    )


@pytest.mark.parametrize(
    "tensors",
    [
        {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "å": np.array([b"}", b'{"']), "y": np.zeros(0)},
        {"x": np.full(300, 32, np.uint8)},  # white space: the whole body is JSON
        {"x": np.frombuffer(b'"}]}' * 4, np.uint8)},
    ],
)
@pytest.mark.parametrize(("kind", "field"), [(REQUEST_TYPE, "inputs"), (RESPONSE_TYPE, "outputs")])
def test_binary_bodies_are_read_without_the_length_of_their_header(kind, field, tensors):
    body, length = encode_binary(tensors, field, header={"id": "a } b", "parameters": {"text": '\\"}'}})
    found, known = decode_event(logged(kind, body)), decode_event(logged(kind, body, headerlength=length))
    assert list(found) == list(tensors)
    for name, array in known.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize("tail", [b"", b"\0" * 7, b"\0" * 9, b" " * 9])
def test_bytes_that_do_not_fit_are_no_binary_body(tail):
    entry = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    with pytest.raises(InvalidInputError):
        decode_event(logged(REQUEST_TYPE, orjson.dumps({"inputs": [entry]}) + tail))


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda data: zlib.compress(data, 1)])
@pytest.mark.parametrize("note", [{}, {"contentencoding": "gzip"}])
def test_packed_payloads_are_read_by_their_first_bytes(pack, note):
    binary, length = encode_binary({"x": np.array([[1, 2]], np.float32)}, "inputs")
    for body, extensions in (
        (b'{"instances": [[1, 2]]}', {}),
        (orjson.dumps({"inputs": [tensor(shape=[1, 2])]}), {}),
        (binary, {}),
        (binary, {"headerlength": length}),
    ):
        for sent in (body, pack(body)):
            (array,) = decode_event(logged(REQUEST_TYPE, sent, **extensions, **note)).values()
            assert array.tolist() == [[1, 2]]
    (array,) = decode_event(logged(RESPONSE_TYPE, pack(b'{"predictions": [[1, 2]]}'), **note)).values()
    assert array.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(b" " * (64 << 20) + b"{}"), "larger than 67108864 bytes"),
        (gzip.compress(b'{"instances": [1]}')[:-9], "ends too early"),
        (b"\x1f\x8b\x08\xff" * 8, "not valid gzip"),
        (b"\x78\x9c\xff\xff", "not valid deflate"),
    ],
)
def test_packed_payloads_that_cannot_be_undone_are_told(data, says):
    with pytest.raises(InvalidInputError, match=says):
        decode_event(logged(REQUEST_TYPE, data))


def test_numbers_too_large_for_a_float32_become_infinity_for_the_caller_to_refuse():
    assert cast("x", np.array([1e300]), np.dtype(np.float32)).tolist() == [np.inf]
