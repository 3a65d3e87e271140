"""A model is an ONNX file and nothing else: what could run code, or reach for other files, is refused."""

from __future__ import annotations

import ast
import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from parts import running_server, write_model
from tidegauge.client import Client
from tidegauge.domain.onnx_file import check_onnx
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.serving.model import load_model

SOURCES = Path(__file__).resolve().parents[2] / "src" / "tidegauge"
# What unpickles, or runs what it reads.
_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "torch"}
_CALLS = {"eval", "exec", "load_model_from_pickle", "read_pickle", "unsafe_load", "full_load"}


def _wrong(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] in _MODULES:
                yield f"{path.name}:{node.lineno} imports {name}"  # type: ignore[attr-defined]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        safe = any(
            word.arg == "allow_pickle" and isinstance(word.value, ast.Constant) and word.value.value is False
            for word in node.keywords
        )
        if called in ("np.load", "numpy.load", "np.lib.format.read_array") and not safe:
            yield f"{path.name}:{node.lineno} {called} without allow_pickle=False"
        if called.rpartition(".")[2] in _CALLS or called == "yaml.load":
            yield f"{path.name}:{node.lineno} calls {called}"


def test_nothing_in_the_source_unpickles() -> None:
    # function_child runs the code of users on purpose, in a process without rights.
    files = [path for path in SOURCES.rglob("*.py") if path.name != "function_child.py"]
    assert len(files) > 200
    assert [found for path in files for found in _wrong(path)] == []


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import joblib\nfrom pickle import loads\nnp.load(x)\nnp.load(x, allow_pickle=True)\neval(x)"
    )
    assert len(list(_wrong(path))) == 5


class Mark:
    """Unpickled it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def external(location: str) -> bytes:
    """Return a model whose weights lie in another file, in a branch of a graph within its graph."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    weights.dims.extend([4])
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    shaped = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xyz"]
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])], "inner", [], [shaped[2]], [weights]
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["if"], to=TensorProto.BOOL),
        helper.make_node("If", ["if"], ["y"], then_branch=inner, else_branch=inner),
    ]
    graph = helper.make_graph(nodes, "g", [shaped[0]], [shaped[1]])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(made.SerializeToString())


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def harmful(mark: Path) -> dict[str, bytes]:
    pickled = pickle.dumps(Mark(mark))
    return {
        "a pickle": pickled,
        "an old pickle": pickle.dumps(Mark(mark), protocol=0),
        "a torch file": zipped(**{"archive/data.pkl": pickled}),
        "a Keras file": zipped(**{"config.json": b'{"class_name": "Lambda"}'}),
        "HDF5 with a Lambda layer": b"\x89HDF\r\n\x1a\n" + b"\0" * 200 + b'{"class_name": "Lambda"}',
        "NumPy objects": b"\x93NUMPY\x01\x00",
        "text": b"model",
        "nothing": b"",
        "weights above": external("../secret.bin"),
        "weights of the system": external("/etc/passwd"),
        "weights of Windows": external("C:\\secret.bin"),
        "weights by backslash": external("..\\secret.bin"),
        "weights below and above": external("data/../../secret.bin"),
    }


KINDS = tuple(harmful(Path("x")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_no_safe_model_is_refused_before_anything_opens_it(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(harmful(mark)[kind])
    for refused in (lambda: check_onnx(folder / "model.onnx"), lambda: load_model(folder, None, None)):
        with pytest.raises(InvalidInputError, match=r"model\.onnx cannot be used"):
            refused()
    assert not mark.exists()


def test_a_cut_off_model_is_refused(tmp_path: Path) -> None:
    whole = (write_model(tmp_path / "m") / "model.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    for end in (1, 2, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(InvalidInputError, match="cannot be used"):
            check_onnx(path)


def test_graphs_in_one_another_without_end_are_refused(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        size, length = b"", len(content)
        while True:
            size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
            length >>= 7
            if not length:
                break
        return bytes([number << 3 | 2]) + size + content

    inner = b""
    for _ in range(300):
        inner = field(1, field(5, field(6, inner)))
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a" + field(7, inner))
    with pytest.raises(InvalidInputError, match="too deep"):
        check_onnx(tmp_path / "model.onnx")


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(external("weights.bin"))
    (tmp_path / "weights.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    check_onnx(tmp_path / "model.onnx")
    assert load_model(tmp_path, None, None).outputs[0].name == "y"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("models") / "home") as client:
        yield client


@pytest.mark.parametrize("kind", ["a pickle", "HDF5 with a Lambda layer", "weights above"])
def test_an_upload_is_refused_by_name(server: Client, tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "mark"
    name = kind.lower().replace(" ", "-")
    server.models.create(name)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(harmful(mark)[kind])
    with pytest.raises(TidegaugeError, match=r"model\.onnx cannot be used"):
        server.models.add_version(name, folder)
    assert not mark.exists()
