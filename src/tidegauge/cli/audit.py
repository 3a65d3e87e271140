"""``tidegauge audit``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tidegauge.cli.output import Json, connect, read_time, show_list
from tidegauge.domain.audit import ExportFormat, Outcome


def audit(
    context: typer.Context,
    q: Annotated[str, typer.Option("--search", "-q", help="Text of the action, subject or address.")] = "",
    who: Annotated[str, typer.Option(help="Only what this user did.")] = "",
    outcome: Annotated[Outcome | None, typer.Option(help="Only what came out so.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Not before this time.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Before this time.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 100,
    export: Annotated[
        ExportFormat | None, typer.Option(help="Write all that fits to standard output, as a file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show who did what, newest first, for operators."""
    log = connect(context).audit
    chosen = outcome.value if outcome else ""
    begin = read_time(start, "from") if start else None
    until = read_time(end, "to") if end else None
    if export is not None:
        for part in log.export(export.value, q=q, who=who, outcome=chosen, start=begin, end=until):
            sys.stdout.buffer.write(part)
        return
    show_list(
        log.list(q=q, who=who, outcome=chosen, start=begin, end=until, limit=limit),
        [
            ("when", lambda e: e.at),
            ("who", lambda e: e.who),
            ("what", lambda e: f"{e.method} {e.action}".strip()),
            ("to what", lambda e: e.subject),
            ("outcome", lambda e: e.outcome.value),
            ("from where", lambda e: e.address),
            ("with", lambda e: f"{e.means} {e.credential}".strip()),
        ],
        as_json=as_json,
        empty="No entry is like that.",
    )
