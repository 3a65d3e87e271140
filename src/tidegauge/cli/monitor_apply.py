"""``tidegauge monitor apply``, ``export``, ``schema`` and ``configs``: monitors as files, and versions."""

from __future__ import annotations

import sys
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegauge.cli.monitor_config import baselined
from tidegauge.cli.output import Json, Yes, cell, confirm, connect, print_json, say, show_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidegauge.domain.report import Change

Name = Annotated[str, typer.Argument(help="Id of the monitor, or name or id of its deployment.")]


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``tidegauge monitor``."""
    for command in (apply, export, schema, configs):
        app.command()(command)


def apply(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Option(
            "--file", "-f", help="Monitor as YAML or JSON; - reads standard input.", allow_dash=True
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would change; change nothing.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a monitor what a file says, field by field; where it is so already, change nothing."""
    from tidegauge.client.apply import carry_out, draft_document, plan

    is_input = str(file) == "-"
    data = sys.stdin.buffer.read() if is_input else file.read_bytes()
    document = draft_document(data, "standard input" if is_input else str(file))
    client = connect(context)
    todo = plan(client, document)
    if not dry_run:
        if todo.losses:
            confirm(f"This {' and '.join(todo.losses)}.", yes=yes)
        carry_out(client, todo, lambda monitor: baselined(client, monitor))
    _show(todo.changes, f"The monitor of {document.wanted.deployment!r} is unchanged.", as_json=as_json)
    if dry_run and todo.changes:
        say(f"Nothing was changed. Without --dry-run this {' and '.join(todo.losses) or 'is carried out'}.")


def export(
    context: typer.Context,
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: print it.", dir_okay=False)
    ] = None,
) -> None:
    """Write a monitor as the file that would make it."""
    from tidegauge.client.apply import export as read
    from tidegauge.client.apply import write_document
    from tidegauge.domain.monitor_config.published import PATH

    client = connect(context)
    text = write_document(read(client, name), f"{client.url}{PATH}")
    if output is None:
        typer.echo(text, nl=False)
        return
    part = output.with_name(f".{output.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    say(f"{output} is written; change it and apply it with: tidegauge monitor apply -f {output}")


def schema() -> None:
    """Print the JSON Schema of the files that apply reads."""
    from tidegauge.domain.monitor_config.published import monitor_schema

    print_json(monitor_schema())


def configs(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the versions of a monitor's configuration, newest first."""
    from tidegauge.domain.report_parts import differences

    found = connect(context).monitors.configs(name)
    rows = [
        (version, differences(earlier.config, version.config) if earlier else ())
        for version, earlier in zip_longest(found, found[1:])
    ]
    if as_json:
        print_json(found)
        return
    show_list(
        rows,
        [
            ("version", lambda row: row[0].number),
            ("at", lambda row: row[0].at),
            ("by", lambda row: row[0].by),
            ("changed", lambda row: _text(row[1])),
        ],
        as_json=False,
        empty=f"There is no version yet; make one with: tidegauge monitor configure {name}",
    )


def _show(changes: Iterable[Change], unchanged: str, *, as_json: bool) -> None:
    show_list(
        list(changes),
        [
            ("field", lambda change: change.field),
            ("before", lambda change: _value(change.before)),
            ("after", lambda change: _value(change.after)),
        ],
        as_json=as_json,
        empty=unchanged,
    )


def _text(changes: Iterable[Change]) -> str:
    return ", ".join(
        f"{change.field} {_value(change.before)} -> {_value(change.after)}" for change in changes
    )


def _value(value: Any) -> str:
    return ", ".join(map(cell, value)) if isinstance(value, list | tuple) else cell(value)
