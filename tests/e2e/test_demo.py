"""The main job, as a user starts it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parts import absent


def play(*arguments: str) -> dict[str, Any]:
    if importlib.util.find_spec("tensorflow") is None:
        absent("tensorflow (the extra 'train')")
    command = [sys.executable, "-m", "tidegauge", "demo", "--no-wait", "--json", *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # the only thing on standard output


def check(result: dict[str, Any]) -> None:
    cycles = result["cycles"]
    assert [cycle["kind"] for cycle in cycles] == ["normal", "transposed", "blurred"] * 2
    for cycle in cycles:
        assert 10 <= cycle["images"] <= 15
        if cycle["kind"] == "normal":
            assert cycle["image"]["status"] in ("healthy", "warning")
        else:
            assert cycle["image"]["status"] == "critical"
        accuracy = cycle["accuracy"]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert bool(cycle["alerts"]) is (accuracy["value"] < 0.85)


def test_the_demo_on_phantoms_catches_every_drift() -> None:
    result = play()
    check(result)
    assert set(result) == {"deployment_id", "model", "cycles"}
    assert result["model"]["version"] == 1
    assert result["model"]["metrics"]["held_out"] is True
    assert result["model"]["metrics"]["accuracy"] > 0.8


def test_the_demo_on_twenty_real_images_replays_them_without_drift(shared_data: Path) -> None:
    result = play("--data", str(shared_data / "chest-xray-mini"))
    check(result)
    assert result["model"]["metrics"]["held_out"] is False


def test_two_clusters_come_to_what_one_does() -> None:
    """One serves, the other monitors: over a link by https, and through where the log is stored."""
    result = play("--two-clusters")
    check(result)
    assert result["same"] is True


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("/nowhere/at/all", "--data is '/nowhere/at/all'; give a folder that exists or a git URL."),
        (".", "no images in two or more labelled folders"),
    ],
)
def test_data_that_cannot_be_used_is_one_sentence(tmp_path: Path, data: str, sentence: str) -> None:
    source = str(tmp_path) if data == "." else data
    command = [sys.executable, "-m", "tidegauge", "demo", "--no-wait", "--data", source]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
