from __future__ import annotations

import json
import re

import pytest

from tidegauge.cli.output import cell, show, show_list
from tidegauge.domain.deployment import DeploymentState


def test_a_piped_table_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    words = "word " * 60
    show_list([words.strip()], [("text", str)], as_json=False, empty="")
    assert words.strip() in capsys.readouterr().out


def test_inner_objects_have_dotted_names(capsys: pytest.CaptureFixture[str]) -> None:
    show({"config": {"drift": {"enabled": True}}, "steps": [{"name": "train"}], "note": ""}, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["config.drift.enabled", "yes"], ["steps[1]", "name", "train"], ["note", "-"]]


def test_long_lists_are_cut_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [{"file": f"{number}.png"} for number in range(25)]
    show({"problems": problems}, as_json=False)
    assert "and 5 more; --json has them all" in capsys.readouterr().out
    show({"problems": problems}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"problems": problems}


def test_text_that_looks_like_markup_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_list(["[red]x[/red]"], [("[b]", str)], as_json=False, empty="")
    assert "[red]x[/red]" in capsys.readouterr().out
    show({"[b]": "[/]"}, as_json=False)
    assert "[/]" in capsys.readouterr().out
    show_list([], [], as_json=False, empty="make one with: [x]")
    assert capsys.readouterr().err == "make one with: [x]\n"


def test_only_states_are_coloured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    show_list([0], [("name", lambda _: "failed")], as_json=False, empty="")
    assert "\x1b[31mfailed" not in capsys.readouterr().out
    show_list([0], [("state", lambda _: DeploymentState.FAILED)], as_json=False, empty="")
    assert "\x1b[31mfailed" in capsys.readouterr().out


def test_numbers_are_short() -> None:
    assert [cell(value) for value in (0.123456, 12, 1234567, False)] == ["0.123", "12", "1234567", "no"]


def test_a_terminal_too_narrow_for_an_id_folds_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tidegauge.cli.output._WIDE", 20)
    show({"id": "0123456789abcdefghij"}, as_json=False)
    show_list(["0123456789abcdefghij"], [("id", str)], as_json=False, empty="")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 20
    assert re.sub(r"[^0-9a-z]", "", "".join(lines)).count("0123456789abcdefghij") == 2
