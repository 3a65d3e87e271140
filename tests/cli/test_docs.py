from __future__ import annotations

from pathlib import Path

from typer.main import get_command

from tidegauge.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_command_is_documented() -> None:
    page = (DOCS / "cli.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    missing = []
    for name, command in get_command(main.app).commands.items():
        row = next((row for row in rows if f"`{name}`" in row or f"`{name} " in row), "")
        inner = getattr(command, "commands", {})
        missing += [name] * (not row) + [f"{name} {verb}" for verb in inner if f"`{verb}`" not in row]
    assert missing == []


def test_every_exit_code_is_documented() -> None:
    page = (DOCS / "cli.md").read_text()
    codes = {0, 1, 130, *main._EXIT_CODES.values()}
    assert [code for code in sorted(codes) if f"| {code} |" not in page] == []


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = []

    def look(path: str, command: object) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            look(f"{path} {name}", inner)
        silent.extend(f"{path} {option.name}" for option in command.params if not getattr(option, "help", ""))
        if not command.help:
            silent.append(path)

    look("tidegauge", get_command(main.app))
    assert silent == []
