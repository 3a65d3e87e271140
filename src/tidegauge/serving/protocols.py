"""What each endpoint answers: request bodies to response bodies, and the documents about the model."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidegauge.domain.inference import Form, InferenceRequest, decode_v1_request, decode_v2_request
from tidegauge.domain.tensors import Array, encode_binary, json_values
from tidegauge.errors import InvalidInputError
from tidegauge.serving.inputs import bind
from tidegauge.serving.model import Model, TensorSpec

JSON = "application/json"
BINARY = "application/octet-stream"

_TF_TYPES = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}


@dataclass(frozen=True)
class Answer:
    """The body of a successful inference, and the tensors behind it for the log."""

    body: bytes
    content_type: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    header_length: int | None = None


def predict(model: Model, body: bytes) -> Answer:
    """Answer a TensorFlow Serving predict request, rows with ``predictions``, columns with ``outputs``.

    Raises InvalidInputError.
    """
    request = decode_v1_request(body, model.inputs[0].name if len(model.inputs) == 1 else None)
    inputs = bind(request.inputs, model.inputs, request.form)
    if request.form is Form.ROW:
        _check_rows(inputs)
    outputs = model.run(inputs)
    reply = {"predictions": _rows(outputs)} if request.form is Form.ROW else {"outputs": _columns(outputs)}
    return Answer(orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY), JSON, inputs, outputs)


def infer(model: Model, body: bytes, header_length: int | None) -> Answer:
    """Answer an Open Inference Protocol v2 request, with binary tensors where it asks for them.

    Raises InvalidInputError.
    """
    request = decode_v2_request(body, header_length)
    inputs = bind(request.inputs, model.inputs, request.form)
    binary = _wanted(request, model)
    outputs = model.run(inputs)
    header: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        header["id"] = request.id
    as_json = frozenset(name for name, is_binary in binary.items() if not is_binary)
    answer, length = encode_binary(
        {name: outputs[name] for name in binary}, "outputs", header=header, as_json=as_json
    )
    if len(as_json) == len(binary):
        return Answer(answer, JSON, inputs, outputs)
    return Answer(answer, BINARY, inputs, outputs, length)


def _wanted(request: InferenceRequest, model: Model) -> dict[str, bool]:
    """Return the outputs to send and whether each goes as a binary tensor."""
    known = [spec.name for spec in model.outputs]
    if not request.wanted:
        return dict.fromkeys(known, request.binary_output)
    for output in request.wanted:
        if output.name not in known:
            raise InvalidInputError.of(
                output.name, f"The model has no output {output.name!r}; it gives {', '.join(known)}."
            )
    return {
        output.name: request.binary_output if output.binary is None else output.binary
        for output in request.wanted
    }


def _check_rows(inputs: Mapping[str, Array]) -> None:
    sizes = {name: array.shape[0] if array.ndim else 0 for name, array in inputs.items()}
    if len(set(sizes.values())) > 1:
        raise InvalidInputError.of(
            "instances", f"The inputs differ in the number of rows: {sizes}; each row needs all of them."
        )


def _rows(outputs: Mapping[str, Array]) -> Any:
    if len(outputs) == 1:
        return _values(next(iter(outputs.values())))
    if len({array.shape[:1] for array in outputs.values()}) > 1 or not all(a.ndim for a in outputs.values()):
        raise InvalidInputError.of(
            "instances", "The model's outputs differ in the number of rows; ask in column form ('inputs')."
        )
    columns = {name: _texts(array.tolist()) for name, array in outputs.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _columns(outputs: Mapping[str, Array]) -> Any:
    if len(outputs) == 1:
        return _values(next(iter(outputs.values())))
    return {name: _values(array) for name, array in outputs.items()}


def _values(array: Array) -> Any:
    """Return what orjson writes for an output; bytes that are no text go as ``{"b64": ...}``."""
    if array.dtype.kind in "OSU":
        return _texts(array.tolist())
    return json_values(array) if array.ndim else array.item()


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value


def v1_status(model: Model) -> dict[str, Any]:
    """Return the model's status as TensorFlow Serving words it."""
    state = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": model.version, "state": "AVAILABLE", "status": state}]}


def v1_metadata(model: Model) -> dict[str, Any]:
    """Return the model's signature as TensorFlow Serving words it."""
    signature = {
        "inputs": {spec.name: _tf_tensor(spec) for spec in model.inputs},
        "outputs": {spec.name: _tf_tensor(spec) for spec in model.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }


def _tf_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "dtype": _TF_TYPES[spec.datatype],
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in spec.open_shape],
            "unknown_rank": False,
        },
        "name": spec.name,
    }


def v2_metadata(model: Model) -> dict[str, Any]:
    """Return the model's metadata of the Open Inference Protocol; classes stand in ``parameters``."""
    metadata: dict[str, Any] = {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnx_onnxruntime",
        "inputs": [_v2_tensor(spec) for spec in model.inputs],
        "outputs": [_v2_tensor(spec) for spec in model.outputs],
    }
    if model.classes:
        metadata["parameters"] = {"classes": list(model.classes)}
    return metadata


def _v2_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.open_shape}
