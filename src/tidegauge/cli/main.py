"""The command ``tidegauge``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated

import click
import typer
from rich.console import Console
from rich.markup import escape

from tidegauge import __version__
from tidegauge.cli import catalogue, deployments, local, monitors, pipelines
from tidegauge.cli.demo import demo
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TidegaugeError,
    UnavailableError,
)

#: What an exit code means; 1 is "it failed", 130 "interrupted". docs/cli.md lists them.
_EXIT_CODES: Mapping[type[TidegaugeError], int] = {
    InvalidInputError: 2,
    NotFoundError: 3,
    NotSignedInError: 4,
    ForbiddenError: 4,
    ConflictError: 5,
    UnavailableError: 6,
}

app = typer.Typer(
    help="Trains, serves and above all monitors deployed models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (local.up, demo, local.serve, local.doctor, local.token, local.login, local.logout):
    app.command()(command)
for kind in RepositoryKind:
    app.add_typer(catalogue.build(kind), name=kind.value)
app.add_typer(pipelines.app, name="pipeline")
app.add_typer(deployments.app, name="deployment")
app.add_typer(monitors.app, name="monitor")
app.add_typer(monitors.alerts, name="alert")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tidegauge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    url: Annotated[str | None, typer.Option(help="Address of the server; default: TIDEGAUGE_URL.")] = None,
    token: Annotated[str | None, typer.Option(help="Token; default: TIDEGAUGE_TOKEN.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that every command over HTTP reads (see output.connect)."""


def run() -> None:
    """Run a command; errors become one sentence on standard error and an exit code that means something."""
    try:
        app()
    except TidegaugeError as error:
        sys.exit(_report(error))
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)


def _report(error: TidegaugeError) -> int:
    console = Console(stderr=True)
    console.print(f"[red]{escape(error.message)}[/red]", soft_wrap=True)
    if len(error.errors) > 1:
        for item in error.errors:
            console.print(f"  {escape(item.field)}: {escape(item.message)}", soft_wrap=True)
    return next((_EXIT_CODES[cls] for cls in type(error).__mro__ if cls in _EXIT_CODES), 1)
