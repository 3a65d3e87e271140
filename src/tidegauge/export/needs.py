"""Libraries that only some exports need."""

from __future__ import annotations

import importlib
from typing import Any

from tidegauge.errors import UnavailableError

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
