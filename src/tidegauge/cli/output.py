"""How commands print: tables for people, JSON for programs, one sentence for errors."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from tidegauge.errors import InvalidInputError

if TYPE_CHECKING:
    from tidegauge.client import Client  # its imports would slow down --help

_COLOURS = {
    "ok": "green",
    "healthy": "green",
    "running": "green",
    "ready": "green",
    "active": "green",
    "succeeded": "green",
    "starting": "cyan",
    "queued": "cyan",
    "importing": "cyan",
    "baselining": "cyan",
    "collecting": "cyan",
    "training": "cyan",
    "comparing": "cyan",
    "promoting": "cyan",
    "promoted": "green",
    "waiting": "yellow",
    "refused": "dim",
    "warning": "yellow",
    "pending": "yellow",
    "init": "yellow",
    "critical": "bold red",
    "missing": "red",
    "absent, optional": "yellow",
    "failed": "red",
    "error": "red",
    "cancelled": "dim",
    "stopped": "dim",
    "unknown": "dim",
}
_WIDE = 10_000  # characters; what is piped on must not be wrapped
_ITEMS = 20

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Search = Annotated[str, typer.Option("--search", "-q", help="Only what has this text in its name.")]


def connect(context: typer.Context) -> Client:
    """Return a client for the address and token of the global options."""
    from tidegauge.client import Client

    options = context.find_root().params
    return context.with_resource(Client(options.get("url"), options.get("token")))


def out() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDE)


def say(text: str, style: str = "") -> None:
    """Tell a person something, on standard error."""
    Console(stderr=True).print(escape(text), style=style, soft_wrap=True)


def show(value: Any, *, as_json: bool) -> None:
    """Print one noun: its fields one below the other, or as JSON."""
    if as_json:
        print_json(value)
        return
    from pydantic_core import to_jsonable_python

    table = Table(Column(), Column(overflow="fold"), show_header=False, box=None)
    for name, text in _lines(to_jsonable_python(value)):
        is_state = name.rpartition(".")[2] in ("state", "status", "wanted")
        table.add_row(f"[b]{escape(name)}[/b]", colour(text) if is_state else escape(text))
    out().print(table)


def _lines(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields of a JSON object, those of inner objects with dotted names."""
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _lines(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value[:_ITEMS], 1):
                yield f"{name}[{number}]", ", ".join(f"{k} {v}" for k, v in _lines(item))
            if len(value) > _ITEMS:
                yield name, f"and {len(value) - _ITEMS} more; --json has them all"
        else:
            yield name, ", ".join(map(cell, value)) or "-" if isinstance(value, list | dict) else cell(value)


def show_list(
    items: Sequence[Any], columns: Sequence[tuple[str, Callable[[Any], Any]]], *, as_json: bool, empty: str
) -> None:
    """Print a listing: a table, JSON, or for an empty one what to do first (on standard error)."""
    if as_json:
        print_json(items)
    elif not items:
        say(empty)
    else:
        # Folded, not cut: an id of which the end is missing is of no use.
        table = Table(*(Column(name, overflow="fold") for name, _ in columns))
        for item in items:
            table.add_row(*(_coloured(read(item)) for _, read in columns))
        out().print(table)


def print_json(value: Any) -> None:
    from pydantic_core import to_jsonable_python

    sys.stdout.write(json.dumps(to_jsonable_python(value), ensure_ascii=False, indent=2) + "\n")


def print_log(text: str, *, as_json: bool) -> None:
    """Print the end of a log."""
    if as_json:
        print_json({"log": text})
    else:
        typer.echo(text, nl=False)


def cell(value: Any) -> str:
    """Word a value for a table.

    >>> cell(None), cell(0.98765), cell(True), cell("NORMAL")
    ('-', '0.988', 'yes', 'NORMAL')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _coloured(value: Any) -> str:
    # Only what is a state by its type: a deployment may well be named "error".
    return colour(cell(value)) if isinstance(value, Enum) else escape(cell(value))


def colour(text: str) -> str:
    r"""Colour a state or status; any other text stays as it is.

    >>> colour("critical"), colour("[x]")
    ('[bold red]critical[/bold red]', '\\[x]')
    """
    shade = _COLOURS.get(text)
    return f"[{shade}]{text}[/{shade}]" if shade else escape(text)


def confirm(what: str, *, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInputError(f"{what} There is no terminal to ask on; add --yes to go ahead.")
    typer.confirm(f"{what} Go ahead?", abort=True, err=True)


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback (step, done, total) that draws a bar on a terminal's standard error."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(escape(title), total=None)

        def report(step: str, done: int, total: int) -> None:
            bar.update(task, description=escape(f"{title}: {step}"), completed=done, total=total or None)

        yield report


def read_time(text: str, name: str) -> datetime:
    """Read an ISO 8601 time; without a zone it is UTC.

    >>> read_time("2026-03-01T12:00", "from").isoformat()
    '2026-03-01T12:00:00+00:00'
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError.of(
            name, f"--{name} is {text!r}; give a time such as 2026-03-01T12:00:00Z."
        ) from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def read_secret(name: str) -> str:
    """Read a secret from a pipe, or ask for it where there is a terminal; it shows nowhere."""
    if sys.stdin.isatty():
        return str(typer.prompt(name, hide_input=True, err=True))
    return sys.stdin.read().strip()


def secret_of(file: str, name: str = "Secret") -> str:
    """Read a secret where no list of processes shows it: from a file, or with - as ``read_secret`` does."""
    return read_secret(name) if file == "-" else Path(file).read_text().strip()


def read_pairs(pairs: Iterable[str], option: str) -> dict[str, str]:
    """Read ``name=value`` options.

    >>> read_pairs(["epochs=3", "note=a=b"], "parameter")
    {'epochs': '3', 'note': 'a=b'}
    """
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise InvalidInputError.of(option, f"--{option} is {pair!r}; give name=value.")
        found[name] = value
    return found
