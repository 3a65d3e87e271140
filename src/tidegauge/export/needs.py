"""Libraries that only some exports need, and what they refuse."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from tidegauge.errors import InvalidInputError, UnavailableError

_EXTRA = "'tidegauge[export]'"
_PACKAGES = {"mlflow": "mlflow-skinny", "tensorflow": "tensorflow-cpu"}  # where the name is another


def need(name: str, why: str, package: str = "") -> Any:
    """Import a module; UnavailableError says which package to install where it is absent."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = (error.name or name).partition(".")[0]
        if top in ("onnx", "skl2onnx", "onnxmltools", "onnxscript"):
            package = _EXTRA
        wanted = package or _PACKAGES.get(top, top)
        raise UnavailableError(f"{why} needs the package {top}: pip install {wanted}") from error


@contextlib.contextmanager
def converting(model: str) -> Iterator[None]:
    """Word what a converter raises, which may be anything, as InvalidInputError of ``model``."""
    try:
        yield
    except Exception as error:
        raise InvalidInputError.of("model", f"{model} cannot be exported: {in_a_line(error)}") from error


def in_a_line(error: Exception) -> str:
    """Return what an error says in one line that is not too long."""
    return " ".join(str(error).split())[:300]
