"""The script that draws charts in the browser: where it comes from, and that it is what it says."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tidegauge import ui

STATIC = Path(ui.__file__).parent / "static"


def test_the_script_is_what_vl_convert_makes(tmp_path: Path) -> None:
    committed = (STATIC / "vega.min.js").read_text(encoding="utf-8")
    if f"vl-convert {version('vl-convert-python')}:" not in committed[:400]:
        pytest.skip("another version of vl-convert made it")
    made = tmp_path / "vega.min.js"
    subprocess.run([sys.executable, "-m", "tidegauge.charts.bundle", str(made)], check=True)
    assert made.read_text(encoding="utf-8") == committed


def test_the_script_comes_with_its_licences() -> None:
    licences = (STATIC / "vega.LICENSE").read_text(encoding="utf-8")
    for holder in (
        "University of Washington Interactive Data Lab",
        "Mike Bostock",
        "Joachim Wester",
        "Mapbox",
    ):
        assert holder in licences
