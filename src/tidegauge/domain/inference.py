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
from typing import Any

import numpy as np
import simdjson

from tidegauge.domain.events import HEADER_LENGTH, REQUEST_TYPE, Event
from tidegauge.domain.nested import FastDocument, flat_numbers, load_object, to_array
from tidegauge.domain.tensors import (
    DTYPES,
    Array,
    BinaryReader,
    cast,
    check_datatype,
    check_shape,
    is_binary,
    shown,
)
from tidegauge.errors import InvalidInputError

UNNAMED = ""  # the key of a tensor that came without a name: the only one of its model

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


def decode_event(event: Event) -> dict[str, Array]:
    """Return the tensors of a logged request or response by name; raise InvalidInputError if it has none."""
    length = event.extensions.get(HEADER_LENGTH)
    header_length = length if type(length) is int else None
    if event.type == REQUEST_TYPE:
        return dict(decode_request(event.data, header_length).inputs)
    return decode_response(event.data, header_length)


def decode_request(body: bytes, header_length: int | None = None) -> InferenceRequest:
    """Decode a request body of any form, telling v2 from column form by its content.

    For readers of a log; a server knows the protocol from the path. Raises InvalidInputError.
    """
    if header_length is None:
        request = _fast_v1(body) if len(body) >= _FAST_FROM_BYTES else None
        if request is not None:
            return request
        document = load_object(body)
        if not _looks_v2(document.get("inputs")):
            return decode_v1_request(body)
    return decode_v2_request(body, header_length)


def decode_response(body: bytes, header_length: int | None = None) -> dict[str, Array]:
    """Decode a response body of any form into arrays by name (UNNAMED where it has none).

    Raises InvalidInputError, also for the body of an error.
    """
    document, reader = _split(body, header_length)
    outputs = document.get("outputs")
    if _looks_v2(outputs):
        return _read_v2(outputs, reader, "outputs")
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
    request = _fast_v1(body) if len(body) >= _FAST_FROM_BYTES else None
    if request is not None:
        return request
    document = load_object(body)
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


def decode_v2_request(body: bytes, header_length: int | None = None) -> InferenceRequest:
    """Decode an Open Inference Protocol body; ``header_length`` (bytes of JSON) marks a binary one.

    Raises InvalidInputError with a sentence that names the tensor and what was expected.
    """
    request = _fast_v2(body) if header_length is None and len(body) >= _FAST_FROM_BYTES else None
    if request is not None:
        return request
    document, reader = _split(body, header_length)
    return _v2_request(document, _read_v2(document.get("inputs"), reader, "inputs"))


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


def _split(body: bytes, header_length: int | None) -> tuple[dict[str, Any], BinaryReader]:
    """Return the JSON part and a reader of the raw tensors after it."""
    if header_length is None:
        return load_object(body), BinaryReader(memoryview(b""))
    if not 0 < header_length <= len(body):
        raise InvalidInputError.of(
            "body",
            f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes.",
        )
    return load_object(body[:header_length]), BinaryReader(memoryview(body)[header_length:])


def _read_v2(entries: Any, reader: BinaryReader, field_name: str) -> dict[str, Array]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInputError.of(
            field_name, f"'{field_name}' must be a list of tensors with name, shape, datatype and data."
        )
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
    try:
        document = FastDocument(body)
    except (ValueError, RuntimeError):
        # The exact way finds the words for what is wrong.
        return None
    return document if isinstance(document.root, simdjson.Object) else None


def _fast_v1(body: bytes) -> InferenceRequest | None:
    """Decode lists of numbers, alone or by name; None if anything else is in the body."""
    document = _fast(body)
    if document is None:
        return None
    root = document.root
    keys = list(root)
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


def _fast_v2(body: bytes) -> InferenceRequest | None:
    """Decode tensors whose data are flat lists of numbers; None if anything else is in the body."""
    document = _fast(body)
    if document is None or "inputs" not in document.root or _repeats(document.root):
        return None
    entries = document.root["inputs"]
    if not isinstance(entries, simdjson.Array):
        return None
    inputs: dict[str, Array] = {}
    lists = 1
    for item in entries:
        if not isinstance(item, simdjson.Object) or "data" not in item or _repeats(item):
            return None
        entry = {key: _plain(item[key]) for key in item if key != "data"}
        flat = flat_numbers(item["data"])
        if flat is None or is_binary(entry):
            return None
        name = _name(entry, inputs, "inputs")
        inputs[name] = _shaped(name, flat, entry)
        lists += 1 + _count_lists(entry)
    rest = {key: _plain(document.root[key]) for key in document.root if key != "inputs"}
    # One bracket more than the lists we know of, and some 'data' may be nested: the exact way tells.
    return _v2_request(rest, inputs) if document.count_lists() == lists + _count_lists(rest) else None


def _repeats(item: Any) -> bool:
    """Return whether a key stands twice; parsers differ in which value they take."""
    keys = list(item)
    return len(set(keys)) < len(keys)


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def _count_lists(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(_count_lists(item) for item in value)
    if isinstance(value, dict):
        return sum(_count_lists(item) for item in value.values())
    return 0
