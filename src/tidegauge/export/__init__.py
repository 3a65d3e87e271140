"""From a trained model to a folder that ``client.models.add_version`` takes: one call for each library.

Each call exports the model as ONNX, asks both the model and its export about the rows that were held out,
refuses an export that answers otherwise, and writes ``model.onnx``, ``model.json`` and ``reference.parquet``.
It runs in the process of its caller, never on a server: a server takes ONNX files and unpickles nothing.
Libraries are imported by the call that needs them (``pip install 'tidegauge[export]'``, and the library of
the model).
"""

from __future__ import annotations

from tidegauge.export.from_keras import from_keras
from tidegauge.export.from_mlflow import from_mlflow
from tidegauge.export.from_onnx import from_onnx
from tidegauge.export.from_sklearn import from_sklearn
from tidegauge.export.from_torch import from_torch
from tidegauge.export.from_xgboost import from_xgboost

__all__ = ["from_keras", "from_mlflow", "from_onnx", "from_sklearn", "from_torch", "from_xgboost"]
