"""Code blocks of the documentation, run as its readers would."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from tidegauge.client import Client

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page before its first."""

    language: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page (its path below docs/), in their order."""
    for token in MarkdownIt("commonmark").parse((DOCS / page).read_text(encoding="utf-8")):
        if token.type == "fence" and token.map:
            yield Block(token.info.strip(), token.content, token.map[0] + 1)


def run_python(page: str, **names: Any) -> dict[str, Any]:
    """Run the Python of a page from top to bottom, in one namespace; return it. Tracebacks name its lines."""
    names["__name__"] = "page"
    found = [block for block in blocks(page) if block.language == "python"]
    assert found, f"{page} has no Python to run"
    try:
        for block in found:
            exec(compile("\n" * block.line + block.text, f"{DOCS / page}", "exec"), names)
    finally:
        for value in names.values():
            if isinstance(value, Client):
                value.close()
    return names


def at(folder: Path, url: str, token: str, monkeypatch: Any) -> None:
    """Stand in a folder, signed in to a server, as who reads a page does."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TIDEGAUGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEGAUGE_URL", url)
    monkeypatch.setenv("TIDEGAUGE_TOKEN", token)
