"""Writes inferenceservice.schema.json: what KServe takes as an InferenceService, as strict JSON Schema.

    python tests/inference_services/schema.py FOLDER    # of an unpacked kserve 0.21.0 of PyPI

KServe's Python models and its CRD are both generated from the same Go types. The CRD is 1.2 MB, and lets
the server drop what it does not know; this is what of it an InferenceService without transformer, explainer
and rarities of pods can have, and refuses every field that KServe has not. Kubernetes' own types come from
the kubernetes client. Enumerations stand in markers of the Go types (``+kubebuilder:validation:Enum``),
which the models do not have; those that are used here are added by hand.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client.models as core

FILE = Path(__file__).with_name("inferenceservice.schema.json")
_PLAIN = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string"},
    "object": {},
    "ResourceQuantity": {"type": ["string", "number"]},
    "IntstrIntOrString": {"type": ["string", "integer"]},
    "KnativeURL": {"type": "string"},
}
_ENUMS = {
    ("V1beta1LoggerSpec", "mode"): ["all", "request", "response"],
    ("V1beta1PredictorSpec", "scaleMetric"): ["cpu", "memory", "concurrency", "rps"],
}
_LEFT_OUT = {
    "transformer",
    "explainer",
    "workerSpec",
    "autoScaling",
    "volumes",
    "ephemeralContainers",
    "status",
}
#: Of the pod, where KServe's own models say no more than Kubernetes does.
_ANY = {
    "affinity",
    "initContainers",
    "topologySpreadConstraints",
    "dnsConfig",
    "resourceClaims",
    "managedFields",
}


def _constants(folder: Path, name: str) -> dict[str, Any]:
    """Return the class-level tables of a model of KServe, and the fields that it requires."""
    file = folder / "kserve" / "models" / f"{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()}.py"
    if not file.is_file():
        wanted = f"class {name}("
        found_in = [one for one in file.parent.glob("*.py") if wanted in one.read_text()]
        if not found_in:  # of a Kubernetes newer than the client: anything
            return {}
        file = found_in[0]
    text = file.read_text()
    cls = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in cls.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found["required"] = re.findall(r"Invalid value for `(\w+)`, must not be `None`", text)
    return found


def _model(folder: Path, name: str) -> dict[str, Any]:
    if hasattr(core, name):
        cls = getattr(core, name)
        text = Path(sys.modules[cls.__module__].__file__ or "").read_text()
        required = re.findall(r"Invalid value for `(\w+)`, must not be `None`", text)
        return {"openapi_types": cls.openapi_types, "attribute_map": cls.attribute_map, "required": required}
    return _constants(folder, name)


def _inner(kind: str) -> Iterator[str]:
    """Yield the names of the models in a type such as ``list[V1Container]``."""
    yield from (word for word in re.findall(r"[A-Za-z0-9]+", kind) if word not in {*_PLAIN, "list", "dict"})


def _schema(kind: str) -> dict[str, Any]:
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        return {"type": "array", "items": _schema(found[1])}
    if found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {"type": "object", "additionalProperties": _schema(found[1])}
    return _PLAIN.get(kind, {"$ref": f"#/definitions/{kind}"})


def build(folder: Path) -> dict[str, Any]:
    """Return the schema, with every model that an InferenceService can reach."""
    definitions: dict[str, Any] = {}
    waiting = ["V1beta1InferenceService"]
    while waiting:
        name = waiting.pop()
        if name in definitions:
            continue
        model = _model(folder, name)
        if not model:
            definitions[name] = {}
            continue
        properties = {}
        for field, kind in model["openapi_types"].items():
            key = model["attribute_map"][field]
            if key in _LEFT_OUT:
                continue
            properties[key] = {} if key in _ANY else dict(_schema(kind))
            if key not in _ANY:
                waiting += _inner(kind)
            if values := _ENUMS.get((name, key)):
                properties[key]["enum"] = values
        required = sorted({model["attribute_map"][field] for field in model["required"]})
        definitions[name] = {"type": "object", "additionalProperties": False, "properties": properties}
        if required:
            definitions[name]["required"] = required
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Of kserve 0.21.0 (PyPI, Apache-2.0) and kubernetes 30.1.0, by schema.py beside it.",
        "$ref": "#/definitions/V1beta1InferenceService",
        "definitions": dict(sorted(definitions.items())),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(build(Path(sys.argv[1])), separators=(",", ":"), sort_keys=True) + "\n")
    print(f"wrote {FILE}, {FILE.stat().st_size:,} bytes")
