"""``tidegauge demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of labelled image folders, or GIT_URL[#branch:subpath]; default: phantoms."
        ),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Where to keep everything; default: a temporary folder.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the server; default: 32222, or a free one.")] = 0,
    wait: Annotated[bool, typer.Option(help="Keep serving at the end, until Ctrl-C.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 1,
) -> None:
    """Train, deploy, log, monitor and catch a drift, from start to end."""
    from tidegauge.cli.demo_play import play

    play(data, home, port, wait=wait, as_json=as_json, seed=seed)
