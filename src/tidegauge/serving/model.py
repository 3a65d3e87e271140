"""A model from a folder: ``model.onnx`` and, if there is one, ``model.json`` with name, version, classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson

from tidegauge.domain.onnx_file import check_onnx
from tidegauge.domain.tensors import DTYPES, Array
from tidegauge.errors import InvalidInputError, NotFoundError

MODEL_FILE = "model.onnx"
DESCRIPTION_FILE = "model.json"

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: its Open Inference datatype and shape, where None stands for any size.

    ``symbols`` names the free sizes, so that inputs that share one (the batch) can be held to it.
    """

    name: str
    datatype: str
    shape: tuple[int | None, ...]
    symbols: tuple[str | None, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.datatype]

    @property
    def open_shape(self) -> list[int]:
        """The shape as the protocols write it: -1 for any size."""
        return [-1 if size is None else size for size in self.shape]


@dataclass(frozen=True)
class Description:
    """What model.json says; every field may be missing."""

    name: str | None = None
    version: str | None = None
    classes: tuple[str, ...] = ()


class Model:
    """A loaded model: named inputs to named outputs."""

    def __init__(
        self, session: ort.InferenceSession, name: str, version: str, classes: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.version = version
        self.classes = classes
        self.inputs = tuple(_spec(node, "input") for node in session.get_inputs())
        self.outputs = tuple(_spec(node, "output") for node in session.get_outputs())
        self._session = session
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return all outputs for inputs that fit the specs.

        Raises InvalidInputError when the model cannot process them, such as an index past its table or
        a batch for a model whose layers are fixed to one row.
        """
        try:
            values = self._session.run(self._output_names, dict(inputs))
        except Exception as error:
            # onnxruntime has a class per status code and no common one; its text begins with the code.
            reason = (
                str(error).split(" : ")[-1].strip().splitlines()[0] if str(error) else type(error).__name__
            )
            names = ", ".join(inputs)
            raise InvalidInputError.of(
                names, f"The model cannot process this value of {names}: {reason.rstrip('.')}."
            ) from error
        return dict(zip(self._output_names, map(np.asarray, values), strict=True))

    def warm_up(self) -> None:
        """Run one row of zeros, so that the first request is as fast as the second."""
        sample = {
            spec.name: np.full(
                [size or 1 for size in spec.shape], "" if spec.datatype == "BYTES" else 0, spec.dtype
            )
            for spec in self.inputs
        }
        try:
            self.run(sample)
        except InvalidInputError:
            # Free sizes other than the batch may not be 1; real requests will say.
            return


def load_model(model_dir: Path, name: str | None, version: str | None, threads: int = 1) -> Model:
    """Load and warm up the model of a folder; ``name`` and ``version`` win over model.json.

    Raises NotFoundError without model.onnx, InvalidInputError for a file that cannot be used.
    """
    path = model_dir / MODEL_FILE
    if not path.is_file():
        raise NotFoundError(f"There is no {MODEL_FILE} in {model_dir}; export the model as ONNX into it.")
    if threads < 1:
        raise InvalidInputError.of("threads", f"threads is {threads}; it must be at least 1.")
    check_onnx(path)
    described = _describe(model_dir / DESCRIPTION_FILE)
    model = Model(
        _session(path, threads),
        name or described.name or model_dir.resolve().name,
        version or described.version or "1",
        described.classes,
    )
    model.warm_up()
    return model


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Threads that spin while they wait would take the core from the other processes of this machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised; the library need not print them too
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InvalidInputError.of(
            MODEL_FILE, f"{path} cannot be loaded: {' '.join(str(error).split())}."
        ) from error


def _describe(path: Path) -> Description:
    if not path.is_file():
        return Description()
    try:
        values = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InvalidInputError.of(DESCRIPTION_FILE, f"{path} is not valid JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidInputError.of(DESCRIPTION_FILE, f"{path} must hold a JSON object.")
    name, version, classes = values.get("name"), values.get("version"), values.get("classes") or []
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidInputError.of("name", f"'name' in {path} must be text.")
    if version is not None and (isinstance(version, bool) or not isinstance(version, str | int)):
        raise InvalidInputError.of("version", f"'version' in {path} must be text or a whole number.")
    if not isinstance(classes, list) or not all(isinstance(item, str) for item in classes):
        raise InvalidInputError.of("classes", f"'classes' in {path} must be a list of text.")
    return Description(name, None if version is None else str(version), tuple(classes))


def _spec(node: Any, role: str) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise InvalidInputError.of(
            node.name, f"The model's {role} {node.name!r} is a {node.type}; only plain tensors can be served."
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
    return TensorSpec(
        node.name, datatype, shape, tuple(s if isinstance(s, str) else None for s in node.shape)
    )
