"""Bodies of inference requests and responses, in the protocols that Tidegauge speaks.

TensorFlow Serving REST in row form (``instances`` / ``predictions``) and column form (``inputs`` /
``outputs``), and the Open Inference Protocol v2 with JSON or binary tensors. The model server and the
readers of the inference log share these functions.
Sources: https://www.tensorflow.org/tfx/serving/api_rest, https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from json import JSONDecoder
from typing import Any

import numpy as np
import simdjson

from tidegauge.domain.events import HEADER_LENGTH, REQUEST_TYPE, Event
from tidegauge.domain.nested import FastDocument, load_object, plain, to_array
from tidegauge.domain.packing import unpacked
from tidegauge.domain.tensors import (
    DTYPES,
    Array,
    BinaryReader,
    binary_size,
    cast,
    check_datatype,
    check_shape,
    is_binary,
    shown,
)
from tidegauge.errors import InvalidInputError

UNNAMED = ""  # the key of a tensor that came without a name: the only one of its model
UNNAMED_SENT = "(unnamed)"  # what such a tensor is called in the log, where its protocol asks for a name

_FAST_FROM_BYTES = 2048  # below this, the exact way is as fast


class Form(StrEnum):
    """How a request words its tensors."""

    ROW = "row"
    COLUMN = "column"
    V2 = "v2"


@dataclass(frozen=True)
class WantedOutput:
    """An output that a v2 request names; ``binary`` is None where it leaves the form to the default."""

    name: str
    binary: bool | None


@dataclass(frozen=True)
class InferenceRequest:
    """A decoded request.

    ``inputs`` maps names to arrays; encoded images and strings are object arrays of ``bytes`` (binary
    tensors, ``b64`` values) or ``str``. The other fields are those of v2: the request's id, the outputs
    it asks for (none: all), and whether outputs go out as binary tensors by default.
    """

    form: Form
    inputs: Mapping[str, Array]
    id: str | None = None
    wanted: tuple[WantedOutput, ...] = field(default=())
    binary_output: bool = False


@dataclass(frozen=True)
class Body:
    """The JSON of a body, and the raw tensors that follow it; ``raw`` is None where all of it is JSON."""

    document: Mapping[str, Any]
    raw: memoryview | None = None


def decode_event(event: Event) -> dict[str, Array]:
    """Return the tensors of a logged request or response by name; raise InvalidInputError if it has none.

    The content decides on the form: loggers label a response with the content type of its request.
    """
    data, length = unpacked(event.data), _header_length(event)
    if event.type == REQUEST_TYPE:
        inputs = decode_request(data, length).inputs
        return {UNNAMED if name == UNNAMED_SENT else name: array for name, array in inputs.items()}
    return decode_response(data, length)


def read_event(event: Event) -> Body:
    """Return the body of a logged event, for readers of more than tensors; raise InvalidInputError."""
    return _read(unpacked(event.data), _header_length(event))


def decode_request(body: bytes, header_length: int | None = None) -> InferenceRequest:
    """Decode a request body of any form, telling v2 from column form by its content.

    For readers of a log; a server knows the protocol from the path. Raises InvalidInputError.
    """
    document = _fast(body) if header_length is None else None
    request = document and (_fast_v2(document) if _is_fast_v2(document.root) else fast_v1(document))
    return request or request_of(_read(body, header_length))


def request_of(body: Body) -> InferenceRequest:
    """Return what a body of any form asks for; raise InvalidInputError."""
    if body.raw is not None or _looks_v2(body.document.get("inputs")):
        return _v2(body)
    return _v1(body.document)


def decode_response(body: bytes, header_length: int | None = None) -> dict[str, Array]:
    """Decode a response body of any form into arrays by name (UNNAMED where it has none).

    Raises InvalidInputError, also for the body of an error.
    """
    read = _read(body, header_length)
    document, outputs = read.document, read.document.get("outputs")
    if _looks_v2(outputs):
        return _read_v2(outputs, read.raw, "outputs")
    if "predictions" in document:
        return _from_rows(document["predictions"], "predictions")
    if isinstance(outputs, dict) and set(outputs) != {"b64"}:
        return {name: to_array(value, name) for name, value in outputs.items()}
    if outputs is not None:
        return {UNNAMED: to_array(outputs, "outputs")}
    raise InvalidInputError.of(
        "body", "The body has neither 'outputs' nor 'predictions', so it is no answer."
    )


def decode_v1_request(body: bytes, only_input: str | None = None) -> InferenceRequest:
    """Decode a TensorFlow Serving body: ``{"instances": [...]}`` or ``{"inputs": ...}``.

    A single unnamed input has the key UNNAMED; errors call it ``only_input`` where the caller knows its
    name. Raises InvalidInputError with a sentence that names the input and what was expected.
    """
    document = _fast(body)
    request = document and fast_v1(document)
    return request or _v1(load_object(body), only_input)


def decode_v2_request(body: bytes, header_length: int | None = None) -> InferenceRequest:
    """Decode an Open Inference Protocol body; ``header_length`` (bytes of JSON) marks a binary one.

    Raises InvalidInputError with a sentence that names the tensor and what was expected.
    """
    document = _fast(body) if header_length is None else None
    request = document and _fast_v2(document)
    return request or _v2(_split(body, header_length))


def _header_length(event: Event) -> int | None:
    length = event.extensions.get(HEADER_LENGTH)
    return length if type(length) is int else None


def _v1(document: Mapping[str, Any], only_input: str | None = None) -> InferenceRequest:
    _check_signature(document)
    if "instances" in document and "inputs" in document:
        raise InvalidInputError.of("body", "The body has both 'instances' and 'inputs'; send one of them.")
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise InvalidInputError.of("instances", "'instances' must be a list with one value per row.")
        return InferenceRequest(Form.ROW, _from_rows(rows, "instances", only_input))
    if "inputs" not in document:
        raise InvalidInputError.of(
            "body", "The body needs 'instances' (a list of rows) or 'inputs' (values by input name)."
        )
    columns = document["inputs"]
    if isinstance(columns, dict) and set(columns) != {"b64"}:
        return InferenceRequest(Form.COLUMN, {name: to_array(value, name) for name, value in columns.items()})
    return InferenceRequest(Form.COLUMN, {UNNAMED: to_array(columns, only_input or "inputs")})


def _v2(body: Body) -> InferenceRequest:
    return _v2_request(body.document, _read_v2(body.document.get("inputs"), body.raw, "inputs"))


def _check_signature(document: Mapping[str, Any]) -> None:
    signature = document.get("signature_name", "serving_default")
    if signature not in ("", "serving_default"):
        raise InvalidInputError.of(
            "signature_name", f"signature_name is {shown(signature)}; this server has only 'serving_default'."
        )


def _looks_v2(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "datatype" in item and "name" in item for item in value)
    )


def _from_rows(rows: Any, field_name: str, only_input: str | None = None) -> dict[str, Array]:
    """Return columns from rows: bare values, or one object per row with a value per name."""
    named = isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict) and set(rows[0]) != {"b64"}
    if not named:
        return {UNNAMED: to_array(rows, only_input or field_name)}
    names = list(rows[0])
    if any(not isinstance(row, dict) or set(row) != set(names) for row in rows):
        raise InvalidInputError.of(
            field_name, f"Every row of '{field_name}' must be an object with the names {', '.join(names)}."
        )
    return {name: to_array([row[name] for row in rows], name) for name in names}


def _read(body: bytes, header_length: int | None) -> Body:
    """Return a body as it came to a log, which may not know that it is binary.

    KServe's logger passes on no length of the JSON header: then it is where the JSON ends, given that the
    tensors say that they follow it. Bytes that are all white space go unnoticed as JSON, hence the last case.
    """
    if header_length is not None:
        return _split(body, header_length)
    try:
        whole = _split(body, None)
    except InvalidInputError:
        found = _header_of(body)
        if found is None:
            raise
        return found
    return _header_of(body) or whole if _binary_size(whole.document) else whole


def _header_of(body: bytes) -> Body | None:
    """Return a binary body by the JSON that it begins with; None where the tensors do not fit exactly."""
    try:
        # Read as Latin-1, each byte is a character: places are those of the bytes.
        _, end = JSONDecoder().raw_decode(body.decode("latin-1"))
        document = load_object(body[:end])
    except (ValueError, RecursionError, InvalidInputError):
        return None
    size = _binary_size(document)
    return Body(document, memoryview(body)[end:]) if 0 < size == len(body) - end else None


def _binary_size(document: Mapping[str, Any]) -> int:
    """Return how many bytes the tensors of a document say that they have after it."""
    entries = [
        entry for key in ("inputs", "outputs") if _looks_v2(document.get(key)) for entry in document[key]
    ]
    return sum(binary_size(entry) for entry in entries)


def _split(body: bytes, header_length: int | None) -> Body:
    """Return the JSON part and the raw tensors after it."""
    if header_length is None:
        return Body(load_object(body))
    if not 0 < header_length <= len(body):
        raise InvalidInputError.of(
            "body",
            f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes.",
        )
    return Body(load_object(body[:header_length]), memoryview(body)[header_length:])


def _read_v2(entries: Any, raw: memoryview | None, field_name: str) -> dict[str, Array]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInputError.of(
            field_name, f"'{field_name}' must be a list of tensors with name, shape, datatype and data."
        )
    reader = BinaryReader(memoryview(b"") if raw is None else raw)
    arrays: dict[str, Array] = {}
    for entry in entries:
        name = _name(entry, arrays, field_name)
        if is_binary(entry):
            arrays[name] = reader.take(name, entry)
        elif "data" in entry:
            arrays[name] = _shaped(name, to_array(entry["data"], name), entry)
        else:
            raise InvalidInputError.of(
                name, f"Tensor {name!r} has no data: give 'data', or parameters.binary_data_size."
            )
    reader.finish()
    return arrays


def _name(entry: Mapping[str, Any], taken: Mapping[str, Array], field_name: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidInputError.of(field_name, f"Every tensor of '{field_name}' needs a name (text).")
    if name in taken:
        raise InvalidInputError.of(name, f"Tensor {name!r} stands twice in '{field_name}'.")
    parameters = entry.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidInputError.of(name, f"'parameters' of tensor {name!r} must be an object.")
    if parameters and "shared_memory_region" in parameters:
        raise InvalidInputError.of(name, f"Tensor {name!r} asks for shared memory, which this server lacks.")
    return name


def _shaped(name: str, data: Array, entry: Mapping[str, Any]) -> Array:
    """Return JSON data, flat or nested, in the type and shape that its entry states."""
    datatype = check_datatype(name, entry.get("datatype"))
    shape = check_shape(name, entry.get("shape"))
    if data.size != np.prod(shape, dtype=object) or (data.ndim > 1 and data.shape != shape):
        raise InvalidInputError.of(
            name, f"Tensor {name!r} has data of shape {list(data.shape)}; its 'shape' says {list(shape)}."
        )
    return cast(name, data.reshape(shape), DTYPES[datatype])


def _v2_request(document: Mapping[str, Any], inputs: Mapping[str, Array]) -> InferenceRequest:
    parameters = _parameters(document, "the request")
    entries = document.get("outputs") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInputError.of("outputs", "'outputs' must be a list of objects with a name.")
    wanted: list[WantedOutput] = []
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str):
            raise InvalidInputError.of("outputs", "Every requested output needs a name (text).")
        options = _parameters(entry, f"output {name!r}")
        unknown = {"classification", "shared_memory_region"} & set(options)
        if unknown:
            raise InvalidInputError.of(
                name, f"Output {name!r} asks for {unknown.pop()}, which this server lacks."
            )
        wanted.append(WantedOutput(name, _flag(options, "binary_data")))
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInputError.of("id", "'id' must be text.")
    binary = _flag(parameters, "binary_data_output") or False
    return InferenceRequest(Form.V2, inputs, request_id, tuple(wanted), binary)


def _parameters(entry: Mapping[str, Any], owner: str) -> Mapping[str, Any]:
    parameters = entry.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidInputError.of("parameters", f"'parameters' of {owner} must be an object.")
    return parameters or {}


def _flag(parameters: Mapping[str, Any], name: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInputError.of(name, f"Parameter {name} must be true or false.")
    return value


def _fast(body: bytes) -> FastDocument | None:
    """Return a body for the fast way; None where the exact one is as fast, or finds the words for a fault."""
    if len(body) < _FAST_FROM_BYTES:
        return None
    try:
        document = FastDocument(body)
    except (ValueError, RuntimeError):
        return None
    return document if isinstance(document.root, simdjson.Object) else None


def fast_v1(document: FastDocument) -> InferenceRequest | None:
    """Decode lists of numbers, alone or by name; None if anything else is in the body."""
    root = document.root
    keys = [key for key in root if key != "signature_name"]
    if keys == ["instances"]:
        inputs = _fast_rows(document, root["instances"])
        form = Form.ROW
    elif keys == ["inputs"]:
        inputs = _fast_columns(document, root["inputs"])
        form = Form.COLUMN
    else:
        return None
    if inputs is None or not document.finished():
        return None
    if len(keys) < len(root):
        _check_signature({"signature_name": plain(root["signature_name"])})
    return InferenceRequest(form, inputs)


def _fast_columns(document: FastDocument, value: Any) -> dict[str, Array] | None:
    if not isinstance(value, simdjson.Object):
        array = document.nested(value)
        return None if array is None else {UNNAMED: array}
    inputs: dict[str, Array] = {}
    for name in value:
        array = None if name in inputs else document.nested(value[name])
        if array is None:
            return None
        inputs[name] = array
    return inputs


def _fast_rows(document: FastDocument, value: Any) -> dict[str, Array] | None:
    if not isinstance(value, simdjson.Array) or not len(value):
        return None
    first: Any = value[0]
    if not isinstance(first, simdjson.Object):
        array = document.nested(value)
        return None if array is None else {UNNAMED: array}
    document.enter()
    columns: dict[str, list[Array]] = {}
    for row in value:
        fields = _fast_columns(document, row) if isinstance(row, simdjson.Object) else None
        if fields is None:
            return None
        for name, array in fields.items():
            columns.setdefault(name, []).append(array)
    if any(len(arrays) != len(value) or len({a.shape for a in arrays}) > 1 for arrays in columns.values()):
        return None
    return {name: np.stack(arrays) for name, arrays in columns.items()}


def _is_fast_v2(root: Any) -> bool:
    """Return ``_looks_v2`` of the inputs, by the first of them: where others are none, both ways refuse."""
    entries = root.get("inputs")
    first: Any = entries[0] if isinstance(entries, simdjson.Array) and len(entries) else None
    return isinstance(first, simdjson.Object) and {"datatype", "name"} <= set(first)


def _fast_v2(document: FastDocument) -> InferenceRequest | None:
    """Decode tensors whose data are lists of numbers, flat or nested; None if anything else is there."""
    root = document.root
    if "inputs" not in root or _repeats(root):
        return None
    inputs: dict[str, Array] | None = None
    rest: dict[str, Any] = {}
    for key in root:
        if key == "inputs":
            inputs = _fast_tensors(document, root[key])
            if inputs is None:
                return None
        else:
            rest[key] = document.skip(root[key])
    return None if inputs is None or not document.finished() else _v2_request(rest, inputs)


def _fast_tensors(document: FastDocument, entries: Any) -> dict[str, Array] | None:
    if not isinstance(entries, simdjson.Array) or not len(entries):
        return None
    document.enter()
    inputs: dict[str, Array] = {}
    for item in entries:
        if not isinstance(item, simdjson.Object) or _repeats(item):
            return None
        data, entry = None, {}
        for key in item:
            if key == "data":
                data = document.nested(item[key])
            else:
                entry[key] = document.skip(item[key])
        if data is None or is_binary(entry):
            return None
        name = _name(entry, inputs, "inputs")
        inputs[name] = _shaped(name, data, entry)
    return inputs


def _repeats(item: Any) -> bool:
    """Return whether a key stands twice; parsers differ in which value they take."""
    keys = list(item)
    return len(set(keys)) < len(keys)
