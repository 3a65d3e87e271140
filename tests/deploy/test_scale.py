"""docs/scale.md says what the rates of docs/benchmarks.md come to."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scale() -> Any:
    spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks" / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scale"]


def test_the_page_has_what_the_script_prints(scale: Any) -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    shown = page.partition(scale.BEGIN)[2].partition(scale.END)[0].strip()
    rates = scale.read_rates((ROOT / "docs" / "benchmarks.md").read_text())
    assert shown == scale.tables(rates), "run: python benchmarks/scale.py --write"


def test_the_arithmetic_is_that_of_the_page(scale: Any) -> None:
    rate = scale.Rate("x", 100.0, "x")
    assert [scale.cores(demand, rate) for demand in (1, 70, 71, 700)] == [1, 1, 2, 10]
    with pytest.raises(ValueError, match="binary v2"):
        scale.read_rates("nothing")
