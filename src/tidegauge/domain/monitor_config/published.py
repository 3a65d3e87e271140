"""The JSON Schema of a monitor's file, for editors and for who writes such files by program."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from tidegauge.domain.monitor_config.checks import RANGES
from tidegauge.domain.monitor_config.file import MonitorFile

PATH = "/api/v1/schemas/monitor.json"


@cache
def monitor_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12), with the range of every number."""
    schema = TypeAdapter(MonitorFile).json_schema()
    for name, (low, high) in RANGES.items():
        place = schema["$defs"]["MonitorConfig"]
        for part in name.split("."):
            place = _resolve(schema, place)["properties"][part]
        number = next((kind for kind in place.get("anyOf", ()) if kind["type"] != "null"), place)
        number.update(minimum=low, maximum=high)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": PATH,
        **schema,
        "title": "Tidegauge monitor",
    }


def _resolve(schema: dict[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, also one beside null."""
    kinds = [place, *place.get("anyOf", ())]
    reference = next((kind["$ref"] for kind in kinds if "$ref" in kind), None)
    found: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]] if reference else place
    return found
