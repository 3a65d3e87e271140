"""What the site of the documentation generates; that its links lead somewhere is checked by `make check`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tidegauge import export
from tidegauge.client import Client
from tidegauge.domain.monitor_config.published import monitor_schema

HOOKS = Path(__file__).parents[1] / ".ci" / "site.py"


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", HOOKS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_the_api_has_every_operation(site: ModuleType) -> None:
    page = site._api()
    paths = site._openapi()["paths"]
    assert len(paths) > 80
    for path, operations in paths.items():
        for method in operations:
            assert page.count(f"| `{method.upper()} {path}` |") == 1


def test_the_reference_of_the_sdk_has_every_part_and_every_export(site: ModuleType) -> None:
    page = site._sdk()
    with Client("http://127.0.0.1:1", "none") as client:
        parts = [type(part) for part in vars(client).values() if "tidegauge.client" in type(part).__module__]
    assert len(parts) > 10
    assert all(f"{part.__module__}.{part.__qualname__}" in page for part in parts)
    assert all(f".{name}.{name}" in site._exports() for name in export.__all__)


def test_the_reference_of_a_monitors_file_has_every_field(site: ModuleType) -> None:
    page = site._monitor_file()
    for name, place in monitor_schema()["$defs"].items():
        for field in place.get("properties", ()):
            assert f"| `{field}` |" in page, name


def test_what_the_dialects_write_otherwise_is_brought_over(site: ModuleType) -> None:
    lines = ["text", "- a", "  - b", "    more", "text", "| `x \\| y` |", "```", "  - c", "```"]
    assert list(site._indented(lines)) == [
        "text", "", "- a", "    - b", "        more", "text", "", "| `x | y` |", "```", "  - c", "```",
    ]  # fmt: skip
