from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from tidegauge.steps import MARK, step


def told(output: str) -> list[dict[str, str]]:
    return [json.loads(line.removeprefix(MARK)) for line in output.splitlines() if line.startswith(MARK)]


def test_a_step_tells_its_begin_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with step("train"):
        pass
    first, last = told(capsys.readouterr().out)
    assert (first["name"], first["state"]) == ("train", "running")
    assert (last["name"], last["state"]) == ("train", "succeeded")
    assert datetime.fromisoformat(first["time"]).utcoffset() == timedelta(0)


def test_a_step_that_fails_tells_the_error_and_lets_it_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), step("train"):
        raise ValueError("no\nimages")
    last = told(capsys.readouterr().out)[-1]
    assert (last["state"], last["message"]) == ("failed", "no images")
