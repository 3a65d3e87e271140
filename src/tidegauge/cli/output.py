"""How commands print: tables for people, JSON for programs, one sentence for errors."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tidegauge.client import Client
from tidegauge.errors import InvalidInputError

_COLOURS = {
    "healthy": "green",
    "running": "green",
    "ready": "green",
    "active": "green",
    "succeeded": "green",
    "warning": "yellow",
    "critical": "bold red",
    "failed": "red",
    "error": "red",
    "unknown": "dim",
}

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Search = Annotated[str, typer.Option("--search", "-q", help="Only what has this text in its name.")]


def connect(context: typer.Context) -> Client:
    """Return a client for the address and token of the global options."""
    options = context.find_root().params
    return context.with_resource(Client(options.get("url"), options.get("token")))


def show(value: Any, *, as_json: bool) -> None:
    """Print one noun: its fields one below the other, or as JSON."""
    if as_json:
        print_json(value)
        return
    table = Table(show_header=False, box=None)
    for name, field in to_jsonable_python(value).items():
        text = field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)
        table.add_row(f"[b]{name}[/b]", colour(text))
    Console().print(table)


def show_list(
    items: Sequence[Any], columns: Sequence[tuple[str, Callable[[Any], Any]]], *, as_json: bool, empty: str
) -> None:
    """Print a listing: a table, JSON, or for an empty one what to do first."""
    if as_json:
        print_json(items)
    elif not items:
        Console(stderr=True).print(empty)
    else:
        table = Table(*(name for name, _ in columns))
        for item in items:
            table.add_row(*(colour(cell(read(item))) for _, read in columns))
        Console().print(table)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(to_jsonable_python(value), ensure_ascii=False, indent=2) + "\n")


def cell(value: Any) -> str:
    """Word a value for a table."""
    if value is None:
        return "-"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def colour(text: str) -> str:
    """Colour a state or status; any other text stays as it is."""
    shade = _COLOURS.get(text)
    return f"[{shade}]{text}[/{shade}]" if shade else escape(text)


def confirm(what: str, *, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInputError(f"{what} There is no terminal to ask on; add --yes to go ahead.")
    typer.confirm(f"{what} Go ahead?", abort=True)


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a progress callback (step, done, total) that draws a bar on a terminal's standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)

        def report(step: str, done: int, total: int) -> None:
            bar.update(task, description=f"{title}: {step}", completed=done, total=total or None)

        yield report


def read_time(text: str, name: str) -> datetime:
    """Read an ISO 8601 time; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError.of(
            name, f"--{name} is {text!r}; give a time such as 2026-03-01T12:00:00Z."
        ) from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def read_pairs(pairs: Iterable[str], option: str) -> dict[str, str]:
    """Read ``name=value`` options."""
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise InvalidInputError.of(option, f"--{option} is {pair!r}; give name=value.")
        found[name] = value
    return found
