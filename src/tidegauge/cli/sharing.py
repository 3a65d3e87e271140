"""``share`` and ``unshare`` of every noun that can be shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from tidegauge.cli.output import Json, connect, show

Key = Annotated[str, typer.Argument(help="Name or id.")]
#: Columns of a listing that holds what others share, too.
WHOSE: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("owner", lambda item: item.owner),
    ("shared", lambda item: item.shared),
)


def add(app: typer.Typer, noun: str, of: Callable[[Any], Any]) -> None:
    """Add the two commands; ``of`` returns the client's part for the noun."""

    def share(context: typer.Context, name: Key, as_json: Json = False) -> None:
        show(of(connect(context)).share(name), as_json=as_json)

    def unshare(context: typer.Context, name: Key, as_json: Json = False) -> None:
        show(of(connect(context)).unshare(name), as_json=as_json)

    app.command(help=f"Let everybody read the {noun}; only its owner changes it.")(share)
    app.command(help=f"Let nobody but its owner see the {noun}.")(unshare)
